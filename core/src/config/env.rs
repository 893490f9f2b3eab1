//! `${NAME}` and `${NAME:-default}` in string values.
//!
//! What is put in is not looked at again. `$${` stands for a literal `${`. As in a shell, `:-` also
//! takes the place of a variable that is set and empty.

/// Reads a variable of the environment.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// All expansions of a file together may be this long, so that a short file stays cheap.
const MOST_BYTES: usize = 16 << 20;

/// Puts the environment into strings.
pub(super) struct Expander<'a> {
    env: Env<'a>,
    left: usize,
}

/// A mistake in a reference, and what to do about it.
pub(super) type Mistake = (String, Option<String>);

impl<'a> Expander<'a> {
    pub(super) fn new(env: Env<'a>) -> Self {
        Self { env, left: MOST_BYTES }
    }

    /// `text` with every reference replaced.
    pub(super) fn expand(&mut self, text: &str) -> Result<String, Mistake> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if let Some(before) = rest[..start].strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            out.push_str(&rest[..start]);
            let Some(length) = rest[start..].find('}') else {
                return Err((
                    format!("`{}` has no closing brace", &rest[start..]),
                    Some("write `$${` for a literal `${`".into()),
                ));
            };
            let value = self.value(&rest[start + 2..start + length])?;
            self.left = self
                .left
                .checked_sub(value.len())
                .ok_or_else(|| ("the environment's values are too long".to_owned(), None))?;
            out.push_str(&value);
            rest = &rest[start + length + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, reference: &str) -> Result<String, Mistake> {
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !good {
            return Err((
                format!("`${{{reference}}}` does not name an environment variable"),
                Some("write `$${` for a literal `${`".into()),
            ));
        }
        match ((self.env)(name), default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err((
                format!("the environment variable `{name}` is not set"),
                Some(format!("set it, or write `${{{name}:-default}}`")),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("10.0.0.1".into()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".into()),
            _ => None,
        }
    }

    #[test]
    fn references_are_replaced() {
        for (text, expanded) in [
            ("${HOST}:80", "10.0.0.1:80"),
            ("${PORT:-80}", "80"),
            ("${HOST:-x}${PORT:-}", "10.0.0.1"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NESTED}", "${HOST}"),
            ("$${HOST}", "${HOST}"),
            ("$HOST $ {", "$HOST $ {"),
            ("^/x$", "^/x$"),
        ] {
            assert_eq!(Expander::new(&env).expand(text), Ok(expanded.to_owned()), "{text}");
        }
    }

    #[test]
    fn bad_references_are_told() {
        for (text, message) in [
            ("${PORT}", "the environment variable `PORT` is not set"),
            ("x ${HOST", "`${HOST` has no closing brace"),
            ("${}", "`${}` does not name an environment variable"),
            ("${9A:-x}", "`${9A:-x}` does not name an environment variable"),
        ] {
            assert_eq!(Expander::new(&env).expand(text).expect_err(text).0, message, "{text}");
        }
    }

    #[test]
    fn expansion_is_bounded() {
        let long = |_: &str| Some("x".repeat(1 << 20));
        assert!(Expander::new(&long).expand(&"${X}".repeat(100)).is_err());
    }
}
