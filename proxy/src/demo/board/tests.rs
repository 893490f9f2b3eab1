//! What was seen in, lines out.

use std::time::Duration;

use super::super::tally::Outcome;
use super::*;

fn sample() -> Vec<Row> {
    let seen = |share, per_second, errors| Seen { share, per_second, errors, p50_us: 3_400, p99_us: 10_250 };
    let row = |pool: &str, asked, drains, seen| Row { pool: pool.into(), asked, drains, rollout: None, seen };
    vec![
        row("stable", Some(0.95), false, seen(0.948, 284.2, 0)),
        row("canary", Some(0.05), true, seen(0.052, 15.8, 0)),
        Row {
            rollout: Some("rollout: step 1 of 4".into()),
            ..row("green", Some(0.0), false, Seen::default())
        },
        row("(no pool)", None, false, seen(0.0, 1.0, 5)),
    ]
}

#[test]
fn a_line_for_each_pool() {
    let expected = "\
pool       share asked  share seen  requests/s  errors  p50 ms  p99 ms
stable          95.0 %      94.8 %         284       0     3.4    10.2
canary           5.0 %       5.2 %          16       0     3.4    10.2  drains: its visitors go to the other
green            0.0 %       0.0 %           0       0       –       –  rollout: step 1 of 4
(no pool)            –       0.0 %           1       5     3.4    10.2
";
    assert_eq!(table(&sample()).render(Paint::plain()), expected);
    // Not continued with a backslash, which would eat the first spaces.
    let expected = "   7s  stable     asked   95.0 %  seen   94.8 %   284 requests/s    0 errors  p50   3.4 ms  p99  10.2 ms
   7s  canary     asked    5.0 %  seen    5.2 %    16 requests/s    0 errors  p50   3.4 ms  p99  10.2 ms  drains
   7s  green      asked    0.0 %  seen    0.0 %     0 requests/s    0 errors  p50     – ms  p99     – ms  rollout: step 1 of 4
   7s  (no pool)  asked        –  seen    0.0 %     1 requests/s    5 errors  p50   3.4 ms  p99  10.2 ms
";
    assert_eq!(lines(7, &sample()), expected);
}

#[test]
fn the_summary_says_what_was_lost() {
    let began = Instant::now();
    let mut tally = Tally::new(began);
    let answer = |version: &str| Some(Outcome { status: 200, version: Some(version.into()) });
    for visitor in 0..1_200 {
        tally.add(visitor, 1, answer("stable"), began + Duration::from_millis(1));
    }
    assert_eq!(
        summary(&tally, Paint::plain()),
        "\n1,200 requests, no response was lost, 0 errors\nstable 1,200; every visitor kept one version\n"
    );
    tally.add(0, 1, answer("canary"), began);
    tally.add(1, 1, None, began);
    assert_eq!(
        summary(&tally, Paint::plain()),
        "\n1,202 requests, 1 response was lost, 0 errors\n\
         stable 1,200, canary 1; visitors were moved to the other version 1 time\n"
    );
}
