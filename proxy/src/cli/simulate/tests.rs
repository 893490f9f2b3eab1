//! What was typed, and what is printed of it.

use clap::Parser;

use super::super::paint::Paint;
use super::*;

#[derive(Debug, Parser)]
struct Typed {
    #[command(flatten)]
    arguments: Arguments,
}

fn typed(words: &str) -> Arguments {
    Typed::parse_from(format!("simulate {words}").split_whitespace()).arguments
}

fn rows(arguments: &Arguments, plan: &Plan, rates: &[f64]) -> Vec<Row> {
    let hidden = ProgressBar::hidden();
    let of = |candidate_failures: &f64| {
        let scenario = Scenario { candidate_failures: *candidate_failures, ..plan.scenario.clone() };
        let outcomes = outcomes(&scenario, arguments.seed, arguments.runs, &hidden);
        Row { candidate_failures: *candidate_failures, summary: Summary::of(&outcomes) }
    };
    rates.iter().map(of).collect()
}

#[test]
fn the_same_flags_give_the_same_figures_on_however_many_threads() {
    let arguments = typed("--runs 50 --seed 7 --max-time 5s");
    let plan = Plan::of(&arguments).expect("a plan");
    let here: Vec<_> =
        (7..57).map(|seed| Scenario { candidate_failures: 0.1, ..plan.scenario.clone() }.run(seed)).collect();
    let found = rows(&arguments, &plan, &[0.1]);
    assert_eq!(found[0].summary, Summary::of(&here));
}

#[test]
fn a_table_has_a_row_for_each_candidate_and_a_last_line_for_the_good_one() {
    let arguments = typed("--runs 20 --max-time 3s --failure-ratio 1");
    let plan = Plan::of(&arguments).expect("a plan");
    let text = show::text(&arguments, &plan, &rows(&arguments, &plan, &[1.0, 0.003, 0.001]), Paint::plain());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "1000 requests a second, candidate at 5 %, baseline fails 0.1 %; 20 runs each, up to 3s"
    );
    assert!(
        lines[1]
            .starts_with("compared by request, failure_ratio 1, false_alarm 0.001; tests: failure_ratio, ")
    );
    assert!(lines[3].starts_with("candidate fails "), "{text}");
    let words: Vec<&str> = lines[4].split_whitespace().collect();
    assert_eq!(words[..6], ["100", "%", "0.1", "s", "0.2", "s"], "{text}");
    assert!(lines[5].contains("not seen"), "{text}");
    assert!(lines[7].starts_with("as good as the baseline: stopped in 0 of 20 runs"), "{text}");
    assert!(lines[7].ends_with("(0 %; 0.1 % allowed)"), "{text}");
}

#[test]
fn users_have_columns_of_their_own() {
    let arguments = typed("--runs 5 --max-time 2s --users 1000 --rps 200 --share 50");
    let plan = Plan::of(&arguments).expect("a plan");
    let rows = rows(&arguments, &plan, &[1.0, 0.001]);
    assert!(show::text(&arguments, &plan, &rows, Paint::plain()).contains("failed users"));
    let json = show::json(&arguments, &plan, &rows);
    assert_eq!((&json["unit"], &json["users"]), (&"user".into(), &1000.into()));
    assert!(json["rows"][0]["failed_users"]["median"].as_u64().is_some_and(|users| users > 0), "{json}");
}

#[test]
fn a_plan_in_a_file_brings_its_steps_and_its_guard() {
    let text = "[[listeners]]\nname = 'web'\naddress = '127.0.0.1:8080'\n[pools.a]\nendpoints = []\n[pools.b]\nendpoints = []\n\
                [splits.shop]\nweights = { a = 100, b = 0 }\nkey = ['header:x-user']\n\
                [splits.shop.rollout]\nbaseline = 'a'\ncandidate = 'b'\n\
                steps = [{ percent = 1, hold = '2m' }, { percent = 50, hold = '3m' }]\n\
                [splits.shop.rollout.guard]\nfailure_ratio = 2\nfailure_budget = 9\n\
                [[routes]]\nname = 'r'\nsplit = 'shop'\n";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.toml");
    std::fs::write(&file, text).expect("written");
    let of = |words: &str| Plan::of(&typed(&format!("--config {} {words}", file.display())));

    let plan = of("--split shop --false-alarm 0.01").expect("a plan");
    let shares: Vec<f64> = plan.scenario.schedule.iter().map(|stage| stage.share).collect();
    assert_eq!(shares, [0.01, 0.5]);
    assert_eq!((plan.max_time, plan.scenario.max_ms), (Span::secs(300), 300_000));
    let settings = &plan.scenario.settings;
    assert!(settings.by_user && settings.failure_budget == 9);
    assert!((settings.failure_ratio - 2.0).abs() < 1e-12 && (settings.false_alarm - 0.01).abs() < 1e-12);

    let plan = of("--split shop --share 10 --max-time 1m").expect("a plan");
    assert_eq!((plan.scenario.schedule.len(), plan.scenario.max_ms), (1, 60_000));

    let failure = of("--split shpo").expect_err("no such split").render(Paint::plain());
    assert!(failure.contains("no rollout for a split `shpo`") && failure.contains("shop"), "{failure}");
}
