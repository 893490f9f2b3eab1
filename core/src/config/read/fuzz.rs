//! Whatever the text, reading it ends, says why it is refused, and never panics.

use proptest::prelude::*;

use super::{MAX_FILE_BYTES, read};

const FULL: &str = include_str!("../../../../config/full.toml");

fn never_panics(text: &str) {
    let env = |name: &str| name.len().is_multiple_of(2).then(|| name.to_owned());
    match read(text, &env) {
        Ok(config) => assert!(!config.listeners.is_empty(), "a good file has a listener"),
        Err(problems) => {
            assert!(!problems.is_empty(), "a refusal says why");
            let lines = text.matches('\n').count() + 1;
            for problem in problems {
                assert!(
                    problem.line.is_none_or(|line| (1..=lines).contains(&(line as usize))),
                    "{problem:?}"
                );
                assert!(
                    !problem.message.starts_with("cannot be read"),
                    "the schema and serde differ: {problem:?}"
                );
            }
        }
    }
}

/// What files are made of, so that random texts come near to meaning something.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "\"",
        "\"\"\"",
        "'''",
        "#",
        "\\",
        "\0",
        "\r\n",
        " ",
        "${",
        "}",
        "listeners",
        "pools",
        "splits",
        "routes",
        "server",
        "name",
        "address",
        "weights",
        "endpoints",
        "health",
        "matches",
        "path",
        "\"a\"",
        "1",
        "-1",
        "1.5",
        "nan",
        "true",
        "1979-05-27",
        "\"10s\"",
        "\"${X}\"",
        "a",
        "b",
        "[[listeners]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n",
        "[pools.a]\n",
        "[splits.s]\n",
        "[[routes]]\n",
        " = ",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in any::<String>()) {
        never_panics(&text);
    }

    #[test]
    fn any_pieces(text in pieces()) {
        never_panics(&text);
    }

    #[test]
    fn the_full_file_damaged(cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..30, pieces()), 1..4)) {
        let mut text = FULL.to_owned();
        for (at, length, piece) in cuts {
            let from = text.floor_char_boundary(at.index(text.len()));
            let to = text.ceil_char_boundary((from + length).min(text.len()));
            text.replace_range(from..to, &piece);
        }
        never_panics(&text);
    }

    #[test]
    fn the_full_file_truncated(length in any::<prop::sample::Index>()) {
        never_panics(&FULL[..FULL.floor_char_boundary(length.index(FULL.len()))]);
    }
}

#[test]
fn long_files_are_refused_unread() {
    never_panics(&"=\n".repeat(MAX_FILE_BYTES));
}
