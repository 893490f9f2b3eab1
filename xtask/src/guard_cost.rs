//! What a running guard costs: Tidegate's CPU time for each request, with and without it.
//!
//! One process, of the release build unless told otherwise, stands between a load of a fixed number of requests and an
//! upstream, both in this program. Rounds with a rollout at 50 % alternate with rounds of weights 50
//! to 50 (with, without, without, with, …, so that a drift of the machine falls on both), and the
//! process's CPU time is read from /proc before and after each. All of the guard's tests are on, and
//! every request has a key, so that it costs what it can cost; the access log is off, so that a
//! request costs no more than it must. `--null` runs no rollout in either: what it then finds between
//! the two is what the machine's noise makes of no difference.

mod http;
mod load;
mod tidegate;
mod upstream;

use std::path::{Path, PathBuf};

use crate::exec::{Result, cargo};
use crate::steps::Steps;
use tidegate::Tidegate;

/// What was asked for.
struct Plan {
    rounds: usize,
    requests: usize,
    connections: usize,
    is_null: bool,
    /// The program to measure, in place of a release build made for it.
    binary: Option<PathBuf>,
}

impl Plan {
    fn read(arguments: &[String]) -> Result<Self> {
        let mut plan = Self { rounds: 8, requests: 100_000, connections: 32, is_null: false, binary: None };
        let mut rest = arguments.iter().filter(|word| *word != "--");
        while let Some(word) = rest.next() {
            let target = match word.as_str() {
                "--rounds" => &mut plan.rounds,
                "--requests" => &mut plan.requests,
                "--connections" => &mut plan.connections,
                "--null" => {
                    plan.is_null = true;
                    continue;
                }
                "--binary" => {
                    plan.binary = Some(rest.next().ok_or("`--binary` needs a path")?.into());
                    continue;
                }
                _ => return Err(format!("`{word}` is no option of guard-cost")),
            };
            let number = rest.next().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
            *target = number.ok_or_else(|| format!("`{word}` needs a number above 0"))?;
        }
        Ok(plan)
    }
}

/// CPU time of one round, in microseconds for each request, and requests a second.
#[derive(Clone, Copy)]
struct Round {
    cpu_us: f64,
    rate: f64,
}

/// Build, measure, print.
pub(crate) fn run(steps: &mut Steps, arguments: &[String]) -> Result {
    let plan = Plan::read(arguments)?;
    let binary = if let Some(given) = &plan.binary {
        given.clone()
    } else {
        steps.run("release build", || cargo(&["build", "--release", "--package", "tidegate"]))?;
        tidegate::release_build()?
    };
    steps.run("CPU time for each request, with and without a guard", || measure(&plan, &binary))
}

fn measure(plan: &Plan, binary: &Path) -> Result {
    let pools = [upstream::start()?, upstream::start()?];
    let tidegate = Tidegate::start(binary, pools)?;
    println!("    {} requests a round over {} connections", plan.requests, plan.connections);
    // Connections, caches and the allocator are as warm in the first round as in the last.
    tidegate.even_weights()?;
    load::run(tidegate.web(), plan.connections, plan.requests / 4)?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    println!("    round   without              with");
    for round in 0..plan.rounds {
        let (off, on) = if round % 2 == 0 {
            let off = round_without(plan, &tidegate)?;
            (off, round_with(plan, &tidegate)?)
        } else {
            let on = round_with(plan, &tidegate)?;
            (round_without(plan, &tidegate)?, on)
        };
        println!(
            "    {:>5}   {:>6.2} us {:>6.0}/s   {:>6.2} us {:>6.0}/s",
            round + 1,
            off.cpu_us,
            off.rate,
            on.cpu_us,
            on.rate
        );
        without.push(off.cpu_us);
        with.push(on.cpu_us);
    }
    report(&mut without, &mut with, plan.is_null);
    Ok(())
}

fn round_without(plan: &Plan, tidegate: &Tidegate) -> Result<Round> {
    tidegate.even_weights()?;
    one_round(plan, tidegate)
}

fn round_with(plan: &Plan, tidegate: &Tidegate) -> Result<Round> {
    if plan.is_null {
        return round_without(plan, tidegate);
    }
    tidegate.start_rollout()?;
    let round = one_round(plan, tidegate)?;
    tidegate.end_rollout(plan.requests)?;
    Ok(round)
}

fn one_round(plan: &Plan, tidegate: &Tidegate) -> Result<Round> {
    let before = tidegate.cpu()?;
    let took = load::run(tidegate.web(), plan.connections, plan.requests)?;
    let cpu = tidegate.cpu()?.saturating_sub(before);
    let requests = plan.requests as f64;
    Ok(Round { cpu_us: cpu.as_secs_f64() * 1e6 / requests, rate: requests / took.as_secs_f64() })
}

fn report(without: &mut [f64], with: &mut [f64], is_null: bool) {
    let mut pairs: Vec<f64> = without.iter().zip(with.iter()).map(|(off, on)| on / off).collect();
    let spread = |sorted: &[f64]| (sorted[0], sorted[sorted.len() - 1]);
    let [off, on, pair] = [without, with, &mut pairs].map(|all| {
        all.sort_unstable_by(f64::total_cmp);
        (median(all), spread(all))
    });
    println!("    without: {:.2} us, {:.2} to {:.2}", off.0, off.1.0, off.1.1);
    println!("    with:    {:.2} us, {:.2} to {:.2}", on.0, on.1.0, on.1.1);
    let percent = |ratio: f64| (ratio - 1.0) * 100.0;
    println!(
        "    a guard costs {:+.2} % (ratio of medians); by pairs of rounds {:+.2} %, {:+.2} % to {:+.2} %",
        percent(on.0 / off.0),
        percent(pair.0),
        percent(pair.1.0),
        percent(pair.1.1)
    );
    if is_null {
        println!("    no rollout ran in either: all of that is noise");
    }
}

/// The middle of what is sorted.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!((median(&[1.0, 2.0, 9.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[1.0, 2.0, 4.0, 9.0]) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn arguments() {
        let read = |words: &str| Plan::read(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let plan = read("-- --rounds 3 --null --requests 10").expect("good arguments");
        assert_eq!((plan.rounds, plan.requests, plan.connections, plan.is_null), (3, 10, 32, true));
        for bad in ["--rounds", "--rounds 0", "--rounds x", "--what 1", "5"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
