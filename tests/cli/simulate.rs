//! `tidegate simulate`: figures that a script can rely on.

use serde_json::Value;

use super::{run, tidegate};

#[test]
fn json_has_a_row_for_each_rate_and_one_for_a_candidate_that_is_as_good() {
    let words = ["simulate", "--runs", "40", "--max-time", "20s", "--candidate-failures", "1"];
    let ran = run(&mut tidegate(&[&words[..], &["--candidate-failures", "0.1"]].concat()));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&ran.out).expect("JSON");
    let keys: Vec<&String> = found.as_object().expect("an object").keys().collect();
    assert_eq!(
        keys,
        [
            "rps",
            "baseline_failure_rate",
            "schedule",
            "unit",
            "users",
            "runs",
            "seed",
            "max_time",
            "guard",
            "rows",
            "as_good"
        ]
    );
    let rows = found["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    for (row, rate, within) in [(&rows[0], 1.0, 0.5), (&rows[1], 0.1, 3.0)] {
        assert_eq!(row["candidate_failure_rate"], rate);
        assert_eq!(row["aborted"], 1.0, "{row}");
        assert!(row["median_seconds"].as_f64().is_some_and(|seconds| seconds <= within), "{row}");
        assert_eq!(row["failed_users"], Value::Null);
    }
    let as_good = &found["as_good"];
    assert_eq!((&as_good["aborted"], &as_good["median_seconds"]), (&0.0.into(), &Value::Null));

    let again = run(&mut tidegate(&[&words[..], &["--candidate-failures", "0.1"]].concat()));
    assert_eq!(again.out, ran.out, "the same seeds, the same figures");
    let other = run(&mut tidegate(&[&words[..], &["--seed", "77"]].concat()));
    assert_ne!(other.out, ran.out);
}

#[test]
fn text_is_a_table_and_a_last_line() {
    let ran = run(&mut tidegate(&["simulate", "--text", "--runs", "10", "--max-time", "2s"]));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    for said in ["candidate fails", "100 %", "0.3 %", "as good as the baseline: stopped in 0 of 10 runs"] {
        assert!(ran.out.contains(said), "{said} in\n{}", ran.out);
    }
}

#[test]
fn what_cannot_be_simulated_is_refused() {
    for (words, why) in [
        (&["simulate", "--share", "0"][..], "above 0 and up to 100"),
        (&["simulate", "--rps=-1"], "requests a second"),
        (&["simulate", "--candidate-failures", "5"], "0.01 is one in a hundred"),
        (&["simulate", "--failure-ratio", "0.5"], "at least 1"),
        (&["simulate", "--runs", "0"], "1..="),
        (&["simulate", "--config", "x.toml"], "--split"),
    ] {
        let ran = run(&mut tidegate(words));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{words:?}");
        assert!(ran.err.contains(why), "{words:?}: {}", ran.err);
    }
    let ran = run(&mut tidegate(&["simulate", "--config", "/nowhere/x.toml", "--split", "shop"]));
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("/nowhere/x.toml cannot be read"), "{}", ran.err);
}
