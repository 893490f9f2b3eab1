//! A configuration file: whatever it says, it becomes a table, or every problem is told with its place.

use std::sync::Arc;

use tidegate_core::compile::{Input, Reuse, compile};
use tidegate_core::config::read::read;
use tidegate_core::state::State;

/// Reads, validates and compiles.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let env = |name: &str| name.starts_with('A').then(|| name.to_owned());
    match read(text, &env) {
        Ok(config) => {
            let config = Arc::new(config);
            let input = Input { config: &config, state: &State::default(), generation: 1 };
            let table = compile(input, Reuse::Cells(None));
            // The same file again takes all cells over, and makes the same of them.
            let again = compile(Input { generation: 2, ..input }, Reuse::Cells(Some(&table)));
            assert_eq!(table.routes.len(), again.routes.len());
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "a refusal says why");
            let lines = text.matches('\n').count() + 1;
            for problem in problems {
                let fits = problem.line.is_none_or(|line| (1..=lines).contains(&(line as usize)));
                assert!(fits && !problem.message.is_empty(), "{problem:?}");
            }
        }
    }
}
