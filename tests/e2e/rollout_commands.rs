//! `tidegate rollout` against a running process: what each verb does, what it says, how it ends.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader, Lines};
use tokio::process::Child;

use crate::harness::tidegate::{BINARY, stderr, stdout};
use crate::harness::upstream::refusing;
use crate::harness::{PATIENCE, Tidegate, Upstream, config, within};

/// Steps that no test waits for: nothing passes without requests.
const PLAN: &str = "rollout = { baseline = \"stable\", candidate = \"canary\", bake = \"0s\", \
                    steps = [{ percent = 10, hold = \"1m\" }, { percent = 50 }, { percent = 100 }] }";

async fn shop() -> (Upstream, Upstream, Tidegate) {
    let (stable, canary) = (Upstream::start("stable").await, Upstream::start("canary").await);
    let rest = config::canary_rest(&[&stable], &[&canary], [100, 0], "", PLAN);
    let tidegate = Tidegate::start(&config::with(&rest)).await;
    (stable, canary, tidegate)
}

impl Tidegate {
    /// Run a command that must end with this code; what it wrote to stdout and stderr.
    #[track_caller]
    fn says(&self, code: i32, words: &[&str]) -> impl Future<Output = (String, String)> {
        let at = std::panic::Location::caller();
        async move {
            let output = self.command(words).await;
            let (out, err) = (stdout(&output), stderr(&output));
            assert_eq!(output.status.code(), Some(code), "{at}: {words:?}\nstdout: {out}\nstderr: {err}");
            (out, err)
        }
    }

    /// A command that goes on, with its output in hand.
    fn follow(&self, words: &[&str]) -> Child {
        let mut command = tokio::process::Command::new(BINARY);
        command.args(words).env("TIDEGATE_ADMIN", format!("http://{}", self.admin()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().unwrap()
    }

    async fn rollout(&self) -> Value {
        self.api().get("/v1/splits/shop/rollout").await.ok()
    }
}

async fn line_with(lines: &mut Lines<impl AsyncBufRead + Unpin>, text: &str) -> Option<String> {
    let find = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(text) {
                return Some(line);
            }
        }
        None
    };
    within(PATIENCE, text, find).await
}

fn out_of(child: &mut Child) -> Lines<impl AsyncBufRead + Unpin + use<>> {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

fn err_of(child: &mut Child) -> Lines<impl AsyncBufRead + Unpin + use<>> {
    BufReader::new(child.stderr.take().unwrap()).lines()
}

async fn code_of(child: &mut Child) -> Option<i32> {
    within(PATIENCE, "the end", child.wait()).await.unwrap().code()
}

#[tokio::test]
async fn a_rollout_is_ordered_about() {
    let (_stable, _canary, tidegate) = shop().await;
    let (_, err) = tidegate.says(1, &["rollout", "status", "shop"]).await;
    assert!(err.contains("there is no rollout of split `shop`"), "{err}");
    let (out, _) = tidegate.says(0, &["rollout", "start", "shop", "--dry-run", "--text"]).await;
    assert!(out.contains("nothing was done"), "{out}");
    tidegate.says(1, &["rollout", "status", "shop"]).await;

    let (out, _) = tidegate.says(0, &["rollout", "start", "shop", "--reason", "release 7", "--text"]).await;
    assert!(out.contains("is running, step 1 of 3, canary at 10.0 %"), "{out}");
    assert!(out.contains("`tidegate rollout watch shop` follows it"), "{out}");
    assert_eq!(tidegate.api().weights("shop").await, json!({ "stable": 90, "canary": 10 }));
    assert_eq!(tidegate.rollout().await["started"]["why"], "release 7");
    let (_, err) = tidegate.says(1, &["rollout", "start", "shop"]).await;
    assert!(err.contains("abort it first"), "{err}");
    let (_, err) = tidegate.says(1, &["shift", "shop", "canary=50"]).await;
    assert!(err.contains("--force"), "{err}");
    let (out, _) = tidegate.says(0, &["status", "--text"]).await;
    assert!(out.contains("shop stable → canary  running  step 1 of 3, canary at 10.0 %"), "{out}");

    let (out, _) = tidegate.says(0, &["rollout", "pause", "shop", "--reason", "lunch", "--text"]).await;
    assert!(out.contains("is paused") && out.contains(": lunch"), "{out}");
    let (out, _) = tidegate.says(0, &["rollout", "status", "shop", "--text"]).await;
    for said in ["stable → canary  paused", "release 7", "lunch", "failure_ratio", "95 % interval"] {
        assert!(out.contains(said), "{said} in\n{out}");
    }
    let (out, _) = tidegate.says(0, &["rollout", "resume", "shop"]).await;
    let answer: Value = serde_json::from_str(&out).expect("the API's answer, where nobody watches");
    assert_eq!(answer["state"], "running");
    let (out, _) = tidegate.says(0, &["rollout", "promote", "shop", "--text"]).await;
    assert!(out.contains("step 2 of 3, canary at 50.0 %"), "{out}");
    let (out, _) = tidegate.says(0, &["rollout", "promote", "shop", "--full", "--text"]).await;
    assert!(
        out.contains("has succeeded, canary at 100.0 %") && out.contains("tidegate revert shop"),
        "{out}"
    );
    let (out, _) = tidegate.says(0, &["rollout", "abort", "shop", "--text"]).await;
    assert!(out.contains("was aborted, canary at 0.0 %"), "{out}");
    let (_, err) = tidegate.says(1, &["rollout", "resume", "shop"]).await;
    assert!(err.contains("has ended"), "{err}");
    let (out, _) = tidegate.says(0, &["history", "--text"]).await;
    for said in ["rollout start", "rollout promote", "in step 2 at 50.0 %", "paused", "rollout abort"] {
        assert!(out.contains(said), "{said} in\n{out}");
    }
}

#[tokio::test]
async fn a_plan_can_be_in_a_file_of_its_own() {
    let (_stable, _canary, tidegate) = shop().await;
    let folder = tempfile::TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = "baseline = \"stable\"\ncandidate = \"canary\"\n[[steps]]\npercent = 25\nhold = \"1m\"\n";
    for (name, text, said) in [
        (
            "typo.toml",
            good.replace("hold", "hodl"),
            "typo.toml:5: steps[0].hodl: unknown key `hodl`; did you mean",
        ),
        ("much.toml", good.replace("25", "101"), "much.toml:4: steps[0].percent: must be"),
        ("who.toml", good.replace("canary", "nobody"), "who.toml:2: candidate: "),
        (
            "typo.json",
            "{\n\"baseline\": \"stable\",\n\"candidat\": 1 }".into(),
            "typo.json:3: unknown field `candidat`",
        ),
    ] {
        let plan = file(name, &text);
        let (_, err) = tidegate.says(1, &["rollout", "start", "shop", "--plan", &plan]).await;
        assert!(err.contains(said), "{said} in\n{err}");
    }
    let (_, err) = tidegate.says(1, &["rollout", "start", "shop", "--plan", "/nowhere/plan.toml"]).await;
    assert!(err.contains("/nowhere/plan.toml"), "{err}");
    let plan = file("plan.toml", good);
    let (out, _) = tidegate.says(0, &["rollout", "start", "shop", "--plan", &plan, "--text"]).await;
    assert!(out.contains("step 1 of 1, canary at 25.0 %"), "{out}");
    tidegate.says(0, &["shift", "shop", "stable=3", "canary=1", "--force"]).await;
    assert_eq!(tidegate.rollout().await["state"], "aborted");
    let json =
        json!({ "baseline": "stable", "candidate": "canary", "steps": [{ "percent": 5, "hold": "1m" }] });
    let plan = file("plan.json", &json.to_string());
    let (out, _) = tidegate.says(0, &["rollout", "start", "shop", "--plan", &plan, "--text"]).await;
    assert!(out.contains("step 1 of 1, canary at 5.0 %"), "{out}");
    tidegate.says(0, &["cutover", "shop", "canary", "--bake", "1h", "--force"]).await;
    let rollout = tidegate.rollout().await;
    assert_eq!(
        (&rollout["state"], &rollout["strategy"]),
        (&json!("baking"), &json!("blue_green")),
        "{rollout}"
    );
}

#[tokio::test]
async fn a_pools_rollout_is_ordered_about() {
    let (one, two) = (Upstream::start("one").await, Upstream::start("two").await);
    let deployer = Upstream::start("deployer").await;
    let pool = config::pool("app", &[&one, &two], config::QUICK_HEALTH);
    let route = "[[routes]]\nname = \"all\"\npool = \"app\"\n";
    let tidegate = Tidegate::start(&config::with(&(pool + route))).await;
    let folder = tempfile::TempDir::new().unwrap();
    let plan = folder.path().join("plan.toml");
    let write = |hook: SocketAddr| {
        let hook = format!("[[hooks]]\non = \"replace\"\nurl = \"http://{hook}/replace\"\n");
        std::fs::write(&plan, format!("strategy = \"rolling\"\n{hook}")).unwrap();
    };
    let start = ["rollout", "start", "--pool", "app", "--plan", plan.to_str().unwrap(), "--text"];
    write(refusing().await);
    let (out, _) = tidegate.says(0, &start).await;
    assert!(out.contains("of app is running, 0 of 2 endpoints replaced"), "{out}");
    assert!(out.contains("`tidegate rollout watch --pool app` follows it"), "{out}");
    let order = |verb| ["rollout", verb, "--pool", "app", "--text"];
    let (out, _) = tidegate.says(0, &order("pause")).await;
    assert!(out.contains("is paused"), "{out}");
    let (out, _) = tidegate.says(0, &order("resume")).await;
    assert!(out.contains("is running"), "{out}");
    let (out, _) = tidegate.says(0, &order("status")).await;
    assert!(out.contains(&one.address().to_string()), "{out}");
    let (out, _) = tidegate.says(0, &order("abort")).await;
    assert!(out.contains("was aborted"), "{out}");
    let (_, err) = tidegate.says(1, &order("watch")).await;
    assert!(err.contains("of app was aborted by "), "{err}");
    write(deployer.address());
    let (out, _) = tidegate.says(0, &[&start[..], &["--watch", "--interval", "100ms"]].concat()).await;
    assert!(out.contains("has succeeded, 2 of 2 endpoints replaced"), "{out}");
}

#[tokio::test]
async fn a_watched_rollout_ends_the_watch() {
    let (_stable, _canary, tidegate) = shop().await;
    let mut start = tidegate.follow(&["rollout", "start", "shop", "--watch", "--interval", "100ms"]);
    let mut lines = out_of(&mut start);
    line_with(&mut lines, "running, step 1 of 3, canary at 10.0 %").await.expect("a line for where it is");
    let mut json = tidegate.follow(&["rollout", "watch", "shop", "--interval", "100ms", "--json"]);
    let mut looks = out_of(&mut json);
    let look = line_with(&mut looks, "shop").await.expect("a line for each look");
    assert_eq!(serde_json::from_str::<Value>(&look).expect("JSON")["state"], "running");
    tidegate.says(0, &["rollout", "promote", "shop", "--full"]).await;
    line_with(&mut lines, "succeeded").await.expect("how it ended");
    assert_eq!((code_of(&mut start).await, code_of(&mut json).await), (Some(0), Some(0)));

    // All of the traffic is where the plan would move it.
    tidegate.says(0, &["revert", "shop"]).await;
    tidegate.says(0, &["rollout", "start", "shop"]).await;
    let mut watch = tidegate.follow(&["rollout", "watch", "shop", "--interval", "100ms"]);
    let (mut lines, mut complaints) = (out_of(&mut watch), err_of(&mut watch));
    line_with(&mut lines, "running").await.expect("a line for where it is");
    tidegate.says(0, &["rollout", "abort", "shop", "--reason", "it smells"]).await;
    let said = line_with(&mut complaints, "error:").await.expect("how it ended");
    assert!(said.contains("was aborted by ") && said.contains("it smells"), "{said}");
    assert_eq!(code_of(&mut watch).await, Some(1));
}

#[tokio::test]
async fn a_watch_outlives_silence_and_leaves_the_rollout_alone() {
    let (_stable, _canary, tidegate) = shop().await;
    tidegate.says(0, &["rollout", "start", "shop"]).await;
    let mut watch = tidegate.follow(&["rollout", "watch", "shop", "--interval", "100ms"]);
    let (mut lines, mut complaints) = (out_of(&mut watch), err_of(&mut watch));
    line_with(&mut lines, "step 1 of 3").await.expect("a line for where it is");
    tidegate.signal("STOP");
    line_with(&mut complaints, "no answer").await.expect("silence is told");
    tidegate.signal("CONT");
    line_with(&mut lines, "step 1 of 3").await.expect("it is there again");
    let interrupt = format!("kill -INT {}", watch.id().expect("it runs"));
    assert!(std::process::Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let said = line_with(&mut complaints, "goes on without you").await.expect("what becomes of it");
    assert!(said.contains("tidegate rollout abort shop"), "{said}");
    assert_eq!(code_of(&mut watch).await, Some(130));
    assert_eq!(tidegate.rollout().await["state"], "running");
}
