//! JSON in, text out.

use serde_json::json;

use super::*;
use crate::cli::Paint;

fn read(answer: &Value) -> Rollout {
    answers::read(answer).expect("a rollout")
}

fn of_split(more: &Value) -> Rollout {
    let mut answer = json!({
        "split": "shop", "id": 12, "generation": 14, "strategy": "canary", "baseline": "stable",
        "candidate": "canary", "state": "running", "step": 2,
        "steps": [
            { "percent": 1.0, "hold": "10s", "gate": null }, { "percent": 5.0, "hold": "20s", "gate": null },
            { "percent": 12.5, "hold": "20s", "gate": "manual" }, { "percent": 100.0, "hold": "0s", "gate": null },
        ],
        "percent": 5.0, "share": 0.05, "held": null, "paused": null, "ended": null,
        "started": { "by": "alice", "why": "release 7", "at": "2026-03-01T11:59:00Z" },
        "elapsed": "8s", "time_left": "12s", "step_requests": 123, "min_requests": 200,
        "evidence": {
            "unit": "user",
            "candidate": { "requests": 1_234, "failures": 3, "failure_rate": 0.002_431, "interval": [0.000_4, 0.008],
                "users": 90, "failed_users": 3, "p50_ms": 1.2, "p99_ms": 9.5 },
            "baseline": { "requests": 23_456, "failures": 0, "failure_rate": 0.0, "interval": [0.0, 0.000_5],
                "users": 900, "failed_users": 0, "p50_ms": 1.25, "p99_ms": null },
            "excluded": { "override": 7, "client_gone": 1, "own_limit": 0 }, "unwatched": 0,
            "tests": [
                { "name": "failure_ratio", "log10_e": 1.98, "log10_boundary": 3.3, "crossed": false, "waits_for_keys": false },
                { "name": "max_failure_rate", "log10_e": 4.0, "log10_boundary": 3.3, "crossed": true, "waits_for_keys": true },
                { "name": "overall_ratio", "log10_e": -0.4, "log10_boundary": 3.3, "crossed": false, "waits_for_keys": false },
                { "name": "failure_budget", "failures": 3, "budget": 20, "crossed": false, "waits_for_keys": false },
            ],
            "failures": [
                { "time": "2026-03-01T11:59:30Z", "route": "all", "status": 502, "reason": "connect",
                  "endpoint": null, "request_id": "0a1b" },
                { "time": "2026-03-01T11:59:40Z", "route": "all", "status": 500, "reason": "status",
                  "endpoint": "127.0.0.1:9002", "request_id": "2c3d" },
            ],
        },
        "verdicts": [{ "time": "2026-03-01T11:59:10Z", "generation": 13, "action": "pass", "by": "plan",
            "why": "step 1 has passed: 210 requests of `canary` in 10s", "step": 1, "percent": 1.0 }],
        "plan": { "bake": "30s" },
    });
    for (key, value) in more.as_object().expect("an object") {
        answer[key] = value.clone();
    }
    read(&answer)
}

fn of_pool(more: &Value) -> Rollout {
    let mut answer = json!({
        "pool": "stable", "id": 20, "generation": 21, "strategy": "rolling", "state": "running",
        "held": null, "paused": null, "ended": null,
        "started": { "by": "alice", "why": null, "at": "2026-03-01T11:59:57Z" },
        "endpoints": [
            { "address": "127.0.0.1:9001", "state": "replaced" }, { "address": "127.0.0.1:9002", "state": "draining" },
            { "address": "127.0.0.1:9003", "state": "waiting" },
        ],
        "waiting_requests": 0, "elapsed": "3s", "plan": {},
    });
    for (key, value) in more.as_object().expect("an object") {
        answer[key] = value.clone();
    }
    read(&answer)
}

fn page(rollout: &Rollout) -> String {
    page::render(rollout, &Clock::fixed(), Paint::plain())
}

#[test]
fn a_rollout_on_a_page() {
    let held = json!({ "held": { "by": "evidence", "why": "123 of 200 requests of `canary` so far" } });
    let expected = "\
rollout 12 of shop  canary  stable → canary  running
  started   1m0s ago by alice: release 7
  now       step 2 of 4, canary at 5.0 %
  time      8s so far, at least 12s left
  requests  123 of 200 of canary in this step
  held      by evidence: 123 of 200 requests of `canary` so far
  excluded  1 client_gone, 7 override
  verdict   pass by plan, 50s ago: step 1 has passed: 210 requests of `canary` in 10s

  1 % ━━━━━ 5 % ━━─── 12.5 % ───── 100 % ───── bake ─────

pool    requests  failed    rate  95 % interval    users  failed  p50 ms  p99 ms
canary     1,234       3  0.24 %  0.04 % – 0.80 %     90       3     1.2     9.5
stable    23,456       0  0.00 %  0.00 % – 0.05 %    900       0     1.2       –

guard             evidence
failure_ratio     ━━━━━━━━━━━━────────  10^2.0 of 10^3.3
max_failure_rate  ━━━━━━━━━━━━━━━━━━━━  10^4.0 of 10^3.3; reached, but too few users are behind it
overall_ratio     ────────────────────  10^-0.4 of 10^3.3
failure_budget    ━━━─────────────────  3 of 20 failed

canary's last failures  status  reason   endpoint        route  request id
11:59:40                   500  status   127.0.0.1:9002  all    2c3d
11:59:30                   502  connect  –               all    0a1b
";
    assert_eq!(page(&of_split(&held)), expected);
}

#[test]
fn a_rollout_that_has_seen_nothing() {
    let nothing = json!({
        "step": 0, "percent": 0.0, "time_left": null, "elapsed": "0s", "step_requests": 0, "verdicts": [],
        "held": { "by": "check", "why": "1 check(s) and 0 hook(s) are being asked" },
        "evidence": { "unit": "request" }, "plan": { "bake": "0s" },
    });
    let expected = "\
rollout 12 of shop  canary  stable → canary  running
  started   1m0s ago by alice: release 7
  now       before its first step, canary at 0.0 %
  time      0s so far
  requests  0 of 200 of canary in this step
  held      by check: 1 check(s) and 0 hook(s) are being asked

  1 % ──────── 5 % ──────── 12.5 % ──────── 100 % ────────

pool    requests  failed  rate  95 % interval  p50 ms  p99 ms
canary         0       0     –  –                   –       –
stable         0       0     –  –                   –       –
";
    assert_eq!(page(&of_split(&nothing)), expected);
}

#[test]
fn steps_that_do_not_fit_are_left_out() {
    let steps: Vec<Value> = (1..=12).map(|n| json!({ "percent": n, "hold": "0s" })).collect();
    let rollout = of_split(&json!({ "steps": steps, "step": 7, "step_requests": 1_000 }));
    let bar = bar::steps(&rollout, Paint::plain());
    assert!(bar.starts_with("… 5 % ━━━━━ 6 % ━━━━━ 7 % ━━━━━ 8 % ───── "), "{bar}");
    assert!(bar.ends_with(" 12 % ───── …"), "{bar}");
}

#[test]
fn a_pools_rollout_on_a_page() {
    let expected = "\
rollout 20 of stable  rolling  running
  started  3s ago by alice
  now      1 of 3 endpoints replaced, 1 draining
  time     3s so far

endpoint
127.0.0.1:9001  replaced
127.0.0.1:9002  draining
127.0.0.1:9003  waiting
";
    assert_eq!(page(&of_pool(&json!({}))), expected);
    let ended = of_pool(&json!({
        "state": "aborted", "waiting_requests": 2, "endpoints": [{ "address": "127.0.0.1:9001", "state": "failed" }],
        "ended": { "by": "rollout", "why": "127.0.0.1:9001 was not healthy within 5m", "at": "2026-03-01T11:59:59Z" },
    }));
    let expected = "\
rollout 20 of stable  rolling  aborted
  started  3s ago by alice
  now      0 of 1 endpoints replaced, 1 failed
  waiting  2 requests wait for the pool
  ended    1s ago by rollout: 127.0.0.1:9001 was not healthy within 5m

endpoint
127.0.0.1:9001  failed
";
    assert_eq!(page(&ended), expected);
}

#[test]
fn an_order_is_answered_in_two_lines() {
    let paused = json!({ "by": "alice", "why": "lunch", "at": "2026-03-01T11:59:00Z" });
    let told = |rollout: &Rollout| told::render(rollout, false, Paint::plain());
    for (rollout, expected) in [
        (
            of_split(&json!({})),
            "rollout 12 of shop is running, step 2 of 4, canary at 5.0 %; at least 12s left\n  \
             → `tidegate rollout watch shop` follows it, `tidegate rollout abort shop` stops it\n",
        ),
        (
            of_split(&json!({ "state": "paused", "paused": paused })),
            "rollout 12 of shop is paused, step 2 of 4, canary at 5.0 %; by alice: lunch\n  \
             → `tidegate rollout resume shop` goes on, `tidegate rollout abort shop` gives canary's share back \
             to stable\n",
        ),
        (
            of_split(&json!({ "held": { "by": "gate", "why": "step 2 has passed and waits for promote" } })),
            "rollout 12 of shop is running, step 2 of 4, canary at 5.0 %; held by gate: step 2 has passed and \
             waits for promote\n  → `tidegate rollout promote shop` enters the next step\n",
        ),
        (
            of_split(&json!({ "state": "baking", "percent": 100.0 })),
            "rollout 12 of shop is baking, canary at 100.0 %; at least 12s left\n  \
             → `tidegate revert shop` brings stable back at once\n",
        ),
        (
            of_split(
                &json!({ "state": "aborted", "percent": 0.0, "ended": { "by": "guard", "why": "it fails" } }),
            ),
            "rollout 12 of shop was aborted, canary at 0.0 %; by guard: it fails\n  \
             → `tidegate rollout status shop` shows what was seen\n",
        ),
        (
            of_pool(&json!({})),
            "rollout 20 of stable is running, 1 of 3 endpoints replaced, 1 draining\n  \
             → `tidegate rollout watch --pool stable` follows it, \
             `tidegate rollout abort --pool stable` stops it\n",
        ),
    ] {
        assert_eq!(told(&rollout), expected);
    }
    assert_eq!(
        told::render(&of_split(&json!({})), true, Paint::plain()),
        "rollout 12 of shop would be running, step 2 of 4, canary at 5.0 %; nothing was done\n"
    );
}

#[test]
fn a_landmark_is_not_a_number_that_grows() {
    let held = |why: &str| of_split(&json!({ "held": { "by": "evidence", "why": why }, "elapsed": "9s" }));
    assert_eq!(held("1 of 200").landmark(), held("2 of 200").landmark());
    assert_ne!(held("1 of 200").landmark(), of_split(&json!({})).landmark());
    let paused = |at: &str| of_split(&json!({ "state": "paused", "paused": { "by": "a", "at": at } }));
    assert_ne!(paused("2026-03-01T11:59:00Z").landmark(), paused("2026-03-01T11:59:09Z").landmark());
}
