//! The functions of a source skeleton, with their lengths from `fn` to the closing brace.
//!
//! A function inside another counts for both. One without a body (in a trait, or a pointer type) is none.

/// Where a function stands and how long it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first_line: usize,
    pub(crate) lines: usize,
}

/// Every function with a body. `skeleton` has no comments and no literals.
pub(crate) fn of(skeleton: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    for (at, _) in skeleton.match_indices("fn ") {
        let stands_alone = !skeleton[..at].ends_with(|last: char| last.is_alphanumeric() || last == '_');
        let name: String =
            skeleton[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !stands_alone || name.is_empty() {
            continue;
        }
        if let Some(end) = end_of_body(skeleton, at) {
            let first_line = line_of(skeleton, at);
            functions.push(Function { name, first_line, lines: line_of(skeleton, end) - first_line + 1 });
        }
    }
    functions
}

/// The closing brace of the body that belongs to the `fn` at `start`; none when a `;` comes first.
fn end_of_body(skeleton: &str, start: usize) -> Option<usize> {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (at, byte) in skeleton.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' if braces == 0 => brackets += 1,
            b')' | b']' if braces == 0 => brackets = brackets.saturating_sub(1),
            b';' if braces == 0 && brackets == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 && brackets == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    //! Bodies, declarations, and arrays in signatures.
    use super::of;

    fn found(source: &str) -> Vec<(String, usize, usize)> {
        of(source).into_iter().map(|f| (f.name, f.first_line, f.lines)).collect()
    }

    #[test]
    fn measures_from_fn_to_the_closing_brace() {
        assert_eq!(found("fn a() {}\n"), [("a".into(), 1, 1)]);
        assert_eq!(found("\npub fn b(x: [u8; 2])\n{\n if x { }\n}\n"), [("b".into(), 2, 4)]);
        assert_eq!(found("trait T { fn c(); fn d() { } }"), [("d".into(), 1, 1)]);
        assert_eq!(found("type F = fn (u8) -> u8;"), []);
    }

    #[test]
    fn an_inner_function_counts_for_both() {
        assert_eq!(found("fn a() {\nfn b() {\n}\n}"), [("a".into(), 1, 4), ("b".into(), 2, 2)]);
    }
}
