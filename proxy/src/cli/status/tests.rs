//! JSON in, text out.

use super::*;

fn text(answer: &Value) -> String {
    let status = model::read(&answer["status"]).expect("a status");
    let splits = model::read(answer).expect("splits");
    let pools = model::read(answer).expect("pools");
    let rollouts: Vec<Rollout> = model::read(&answer["rollouts"]).unwrap_or_default();
    render((&status, &splits, &pools, &rollouts), &Clock::fixed(), Paint::plain())
}

#[test]
fn all_is_well() {
    let answer = json!({
        "status": {
            "version": "0.1.0", "uptime_seconds": 11_530.4, "generation": 17,
            "last_reload": { "at": "2026-03-01T11:00:00Z", "ok": true, "problems": [] },
            "listeners": [{ "name": "web", "address": "127.0.0.1:8080" }],
        },
        "splits": [{
            "name": "checkout", "generation": 16, "weights": { "canary": 50, "stable": 50 },
            "shares": { "canary": 0.5, "stable": 0.5 },
            "configured_weights": { "canary": 5, "stable": 95 },
            "source": "api",
            "override": { "actor": "alice", "reason": "try it", "expires_at": "2026-03-01T12:30:00Z" },
            "requests": { "stable": { "total": 12_345, "failed": 0 }, "canary": { "total": 678, "failed": 9 } },
        }, {
            "name": "search", "generation": 1, "weights": { "one": 1 }, "shares": { "one": 1.0 },
            "configured_weights": { "one": 1 }, "source": "file", "override": null, "requests": {},
        }],
        "pools": [{
            "name": "canary", "state": "draining",
            "endpoints": [{
                "address": "127.0.0.1:9002", "weight": 1, "state": "down", "in_flight": 3, "connections": 4,
                "last_check": { "at": "2026-03-01T11:59:58Z", "ok": false, "detail": "connection refused" },
            }],
        }, {
            "name": "one", "state": "ready", "endpoints": [],
        }, {
            "name": "stable", "state": "ready",
            "endpoints": [
                { "address": "127.0.0.1:9001", "weight": 2, "state": "up", "in_flight": 0, "connections": 12,
                  "last_check": { "at": "2026-03-01T11:59:59Z", "ok": true, "detail": "200" } },
                { "address": "127.0.0.1:9003", "weight": 1, "state": "up", "in_flight": 1, "connections": 1_200,
                  "last_check": null },
            ],
        }],
    });
    let expected = "\
tidegate 0.1.0  up 3h12m  generation 17
listens 127.0.0.1:8080  web

split     pool    weight    share  requests  failed  source
checkout  canary      50   50.0 %       678       9  api by alice, \"try it\"; file: canary=5 stable=95, returns in 30m0s
          stable      50   50.0 %    12,345       0
search    one          1  100.0 %         0       0  file

pool    state     endpoint        weight  state  in flight  connections  last check
canary  draining  127.0.0.1:9002       1  down           3            4  connection refused, 2s ago
one     ready     no endpoints
stable  ready     127.0.0.1:9001       2  up             0           12  ok, 1s ago
                  127.0.0.1:9003       1  up             1        1,200
";
    assert_eq!(text(&answer), expected);
}

#[test]
fn a_rollout_that_runs_has_a_line() {
    let answer = json!({
        "status": { "version": "0.1.0", "uptime_seconds": 5, "generation": 9 },
        "splits": [{
            "name": "shop", "generation": 9, "weights": { "canary": 5, "stable": 95 },
            "shares": { "canary": 0.05, "stable": 0.95 }, "configured_weights": { "stable": 1 },
            "source": "rollout",
            "override": { "actor": "rollout", "reason": "step 1 has passed", "expires_at": null },
            "rollout": { "id": 8, "state": "running" },
        }],
        "pools": [],
        "rollouts": [{
            "split": "shop", "id": 8, "strategy": "canary", "baseline": "stable", "candidate": "canary",
            "state": "running", "step": 2, "percent": 5.0,
            "steps": [{ "percent": 1.0 }, { "percent": 5.0 }, { "percent": 100.0 }],
            "held": { "by": "gate", "why": "step 2 has passed and waits for promote" },
        }],
    });
    let expected = "\
tidegate 0.1.0  up 5s  generation 9

split  pool    weight   share  requests  failed  source
shop   canary       5   5.0 %         0       0  rollout; file: stable=1
       stable      95  95.0 %         0       0

rollout               state
shop stable → canary  running  step 2 of 3, canary at 5.0 %; held by gate: step 2 has passed and waits for promote
";
    assert_eq!(text(&answer), expected);
}

#[test]
fn a_file_that_is_not_good_is_told_first() {
    let answer = json!({
        "status": {
            "version": "0.1.0", "uptime_seconds": 5, "generation": 1,
            "last_reload": {
                "at": "2026-03-01T11:59:00Z", "ok": false,
                "problems": [{ "path": "pools.x", "line": 3, "message": "is not known" }],
            },
        },
        "splits": [], "pools": [],
    });
    assert_eq!(
        text(&answer),
        "tidegate 0.1.0  up 5s  generation 1\n\
         the file is not good (1 problem, read 1m0s ago); what was in force stays\n  \
         line 3: pools.x: is not known\n"
    );
}
