//! Plans that come with a call: what starts, what is refused, and how it is told.

use serde_json::{Value, json};

use super::harness::{Admin, config};

const ROLLOUT: &str = "/v1/splits/checkout/rollout";
const FILES: &str = "[splits.checkout.rollout]\nbaseline = \"stable\"\ncandidate = \"canary\"\n\
                     steps = [{ percent = 10 }]\nbake = \"7m\"";

fn plan(more: Value) -> String {
    let mut plan = json!({ "baseline": "stable", "candidate": "canary", "steps": [{ "percent": 5 }] });
    let (Some(fields), Value::Object(more)) = (plan.as_object_mut(), more) else { panic!("objects") };
    fields.extend(more);
    plan.to_string()
}

#[tokio::test]
async fn a_plan_starts_and_is_shown_with_its_defaults() {
    let admin = Admin::start(&config(""));
    let body = plan(
        json!({ "reason": "release 7", "bake": "10m", "steps": [{ "percent": 0.5, "hold": "2m" }, { "percent": 100 }] }),
    );
    let shown = admin.post(ROLLOUT, &body).await.ok();
    assert_eq!(shown["started"]["why"], "release 7");
    let plan = &shown["plan"];
    assert_eq!(
        (&plan["bake"], &plan["min_requests"], &plan["strategy"]),
        (&json!("10m"), &json!(200), &json!("canary"))
    );
    assert_eq!(plan["steps"], json!([{ "percent": 0.5, "hold": "2m" }, { "percent": 100.0, "hold": "0s" }]));
    assert_eq!(plan.get("reason"), None, "it is the call's, not the plan's");
    // What is shown can be sent again.
    admin.post(&format!("{ROLLOUT}/abort"), "{}").await.ok();
    assert_eq!(admin.post(ROLLOUT, &plan.to_string()).await.ok()["plan"], *plan);
}

#[tokio::test]
async fn no_plan_is_the_files() {
    for body in [None, Some(""), Some("{}"), Some(r#"{"reason":null}"#), Some(r#"{"reason":"go"}"#)] {
        let admin = Admin::start(&config(FILES));
        let shown = admin.call("POST", ROLLOUT, &[], body).await.ok();
        assert_eq!(shown["plan"]["bake"], "7m", "{body:?}");
    }
    let admin = Admin::start(&config(""));
    let problem = admin.post(ROLLOUT, "{}").await.refused(422);
    assert_eq!(problem["problems"][0]["message"], "split `checkout` has no plan in the file");
}

#[tokio::test]
async fn all_mistakes_are_told_at_once() {
    let admin = Admin::start(&config(""));
    let body = plan(json!({
        "candidate": "green",
        "steps": [{ "percent": 5, "hold": "-1s" }, { "percent": 5 }, { "percent": 50, "gate": "automatic" }],
        "guard": { "latency": { "quantile": 99, "max": "1s" } },
        "hooks": [{ "on": "start", "url": "http://me:secret@ops/" }],
    }));
    let problem = admin.post(ROLLOUT, &body).await.refused(422);
    let problems = problem["problems"].as_array().cloned().unwrap_or_default();
    let mut paths: Vec<_> = problems.iter().filter_map(|p| p["path"].as_str()).collect();
    paths.sort_unstable();
    let expected = [
        "candidate",
        "guard.latency.quantile",
        "hooks[0].url",
        "steps[0].hold",
        "steps[1].percent",
        "steps[2].gate",
    ];
    assert_eq!(paths, expected, "{problem}");
    assert!(!problem.to_string().contains("secret"), "{problem}");
    assert!(problems.iter().all(|p| p.get("line").is_none()), "a call has no lines: {problem}");
    admin.get(ROLLOUT).await.refused(404);
}

#[tokio::test]
async fn what_cannot_be_read_at_all() {
    let admin = Admin::start(&config(FILES));
    for (body, status) in [
        ("[]", 400),
        ("null", 400),
        ("{", 400),
        (r#"{"baseline":"stable","baseline":"canary"}"#, 400),
        (r#"{"reason":5}"#, 422),
        (r#"{"baseline":5}"#, 422),
        (&*plan(json!({ "steps": [{ "percent": 5, "percent_": 6 }] })), 400),
        (&*plan(json!({ "stepz": [], "bake": -1 })), 400),
    ] {
        admin.post(ROLLOUT, body).await.refused(status);
    }
    let problem = admin.post(ROLLOUT, &plan(json!({ "stepz": [], "bake": -1 }))).await.refused(400);
    assert_eq!(problem["detail"], "stepz: unknown field `stepz`");
    assert_eq!(problem["problems"][0]["hint"], "did you mean `steps`?");
    let problem = admin.post("/v1/splits/chekout/rollout", &plan(json!({}))).await.refused(404);
    assert_eq!(problem["detail"], "there is no split `chekout`; did you mean `checkout`?");
    assert_eq!(admin.get("/v1/splits/checkout").await.ok()["generation"], 1, "nothing was applied");
}

#[tokio::test]
async fn users_need_a_key_of_the_split() {
    let by_user = plan(json!({ "guard": { "unit": "user" } }));
    let keyed = Admin::start(&config(""));
    keyed.post(ROLLOUT, &by_user).await.ok();
    let keyless = config("").replace("key = [\"header:x-user-id\", \"cookie:uid\"]\n", "");
    let problem = Admin::start(&keyless).post(ROLLOUT, &by_user).await.refused(422);
    assert_eq!(problem["problems"][0]["path"], "guard.unit");
}
