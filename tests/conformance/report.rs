//! What the cases came to: a table to read, all failures at once, and the committed page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use crate::case::Level;

/// The committed page, seen from the crate that declares the test.
const PAGE: &str = "../docs/conformance.md";

/// One case's outcome.
#[derive(Clone)]
pub(crate) struct Outcome {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) what: String,
    pub(crate) rule: String,
    pub(crate) level: Level,
    /// Why the rule is not kept.
    pub(crate) unmet: Option<String>,
    pub(crate) wrong: Vec<String>,
}

impl Outcome {
    /// What makes the run fail, if anything does.
    fn failure(&self) -> Option<String> {
        let told = format!("{} {} ({} {:?}), {}", self.kind, self.id, self.rule, self.level, self.what);
        match (&self.unmet, self.wrong.is_empty()) {
            (Some(_), _) if self.level == Level::Must => Some(format!("{told}\n    a MUST cannot be unmet")),
            (Some(_), true) => Some(format!("{told}\n    is met: take `unmet` away")),
            (None, false) => Some(format!("{told}\n    {}", self.wrong.join("\n    "))),
            _ => None,
        }
    }
}

/// Prints the table; panics, with all of them, when there are failures.
pub(crate) fn conclude(outcomes: &[Outcome]) {
    let page = page(outcomes);
    println!("{page}");
    let mut ids: Vec<&str> = outcomes.iter().map(|outcome| outcome.id.as_str()).collect();
    ids.sort_unstable();
    let twice: Vec<&str> = ids.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
    assert!(twice.is_empty(), "ids that are not unique: {twice:?}");
    assert_kept(outcomes);
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        fs::write(PAGE, &page).unwrap();
    }
    let committed = fs::read_to_string(PAGE).unwrap_or_default();
    assert!(committed == page, "docs/conformance.md differs: run the test with TIDEGATE_BLESS=1");
}

/// Panics, with all of them, when there are failures.
pub(crate) fn assert_kept(outcomes: &[Outcome]) {
    let failures: Vec<String> = outcomes.iter().filter_map(Outcome::failure).collect();
    let (failed, all) = (failures.len(), outcomes.len());
    assert!(failures.is_empty(), "{failed} of {all} cases fail\n{}", failures.join("\n"));
}

const OPENING: &str = "\
# Conformance

What Tidegate makes of HTTP as it should not be, and of the finer points of HTTP as it should. The cases are
files in [`tests/conformance/cases`](../tests/conformance/cases): bytes as they go over the wire, and what they must
come to for the client, for the upstream and for the pool's account. They run against the real process with
`cargo test -p tidegate --test conformance`, which compares this page with what it finds (`TIDEGATE_BLESS=1` writes it
again).

A rule is a section of an RFC, or of Tidegate's own contract. MAY marks what a rule allows or leaves open: the case
then holds Tidegate to what it chose, which is the stricter way wherever two readers could differ.

Requests and answers are played twice: as pingora proxies them, which is what the tables below are of, and in the express
lane, where nothing is left that is not kept.

After each request case, and beside each upstream case, the pool's charges are compared too: what a client does never
counts against a pool.
";

fn page(outcomes: &[Outcome]) -> String {
    let mut page = OPENING.to_owned();
    let mut rules: BTreeMap<(&str, &str), [usize; 4]> = BTreeMap::new();
    for outcome in outcomes {
        let row = rules.entry((outcome.kind, &outcome.rule)).or_default();
        row[outcome.level as usize] += 1;
        row[3] += usize::from(outcome.unmet.is_some());
    }
    let kinds: std::collections::BTreeSet<&str> = outcomes.iter().map(|outcome| outcome.kind).collect();
    for kind in kinds {
        let of_kind = outcomes.iter().filter(|outcome| outcome.kind == kind).count();
        let _ = write!(
            page,
            "\n## {kind}: {of_kind} cases\n\n| rule | MUST | SHOULD | MAY | not kept |\n|---|---|---|---|---|\n"
        );
        for ((_, rule), [must, should, may, unmet]) in rules.iter().filter(|((of, _), _)| *of == kind) {
            let _ = writeln!(page, "| {rule} | {must} | {should} | {may} | {unmet} |");
        }
    }
    let unmet: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.unmet.is_some()).collect();
    page.push_str("\n## What is not kept, and why\n\n");
    if unmet.is_empty() {
        page.push_str("Nothing.\n");
    }
    for outcome in unmet {
        let why = outcome.unmet.as_deref().unwrap_or_default();
        let _ = writeln!(
            page,
            "- `{}` ({} {:?}): {}. {why}.",
            outcome.id, outcome.rule, outcome.level, outcome.what
        );
    }
    page
}
