//! Regular expressions as written in conditions: linear-time, bounded in size, for the whole value.

use regex::bytes::{Regex, RegexBuilder};

/// A compiled expression may take this many bytes. A configuration can hold thousands of them.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// An expression that matches only a whole value, as every `regex` of the configuration does.
pub fn whole(text: &str) -> Result<Regex, String> {
    // On its own first: `a)(b` is a mistake that the group below would hide.
    compile(text)?;
    compile(&format!(r"\A(?:{text})\z"))
}

fn compile(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(MAX_COMPILED_BYTES).dfa_size_limit(MAX_COMPILED_BYTES).build().map_err(
        |error| match error {
            regex::Error::CompiledTooBig(_) => format!("`{text}` is too large a regular expression"),
            // The first lines of a syntax error draw the expression; the last one says what is wrong.
            other => {
                let shown = other.to_string();
                let reason = shown.lines().last().unwrap_or_default();
                format!("`{text}` is not a regular expression: {}", reason.trim_start_matches("error: "))
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn the_whole_value_must_match() {
        let regex = whole("a|bc").expect("good");
        assert!(regex.is_match(b"a") && regex.is_match(b"bc"));
        assert!(!regex.is_match(b"ab") && !regex.is_match(b"xbc") && !regex.is_match(b"a\n"));
        assert!(whole("^/items/[0-9]+$").expect("good").is_match(b"/items/12"));
    }

    #[test]
    fn bad_expressions_are_refused() {
        for text in ["(", "a)(b", "[z-a]", "(?=x)", r"\1", "((a{1000}){1000}){1000}"] {
            assert!(whole(text).is_err(), "{text} must be refused");
        }
        assert_eq!(whole("(").expect_err("unclosed"), "`(` is not a regular expression: unclosed group");
    }
}
