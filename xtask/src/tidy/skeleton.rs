//! Rust source with comments, strings and character literals blanked out, line breaks kept.
//!
//! What is left can be searched for braces and words without a parser. It knows nested block comments, raw
//! strings, byte strings and lifetimes; it does not expand macros, and need not.

/// Blank out what is not code.
pub(crate) fn of(source: &str) -> String {
    let mut blanker = Blanker { rest: source, out: String::with_capacity(source.len()) };
    while let Some(next) = blanker.rest.chars().next() {
        blanker.one(next);
    }
    blanker.out
}

struct Blanker<'a> {
    rest: &'a str,
    out: String,
}

impl Blanker<'_> {
    fn one(&mut self, next: char) {
        if self.rest.starts_with("//") {
            self.blank(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.blank(block_comment(self.rest));
        } else if let Some(length) = raw_string(self.rest).filter(|_| !self.inside_a_word()) {
            self.blank(length);
        } else if next == '"' {
            self.blank(quoted(self.rest, '"'));
        } else if next == '\'' && !is_lifetime(self.rest) {
            self.blank(quoted(self.rest, '\''));
        } else {
            self.out.push(next);
            self.rest = &self.rest[next.len_utf8()..];
        }
    }

    fn blank(&mut self, length: usize) {
        let (gone, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.out.extend(gone.chars().map(|character| if character == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }

    fn inside_a_word(&self) -> bool {
        self.out.ends_with(|last: char| last.is_alphanumeric() || last == '_')
    }
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of a raw string (`r"…"`, `br#"…"#`) at the start, if there is one.
fn raw_string(text: &str) -> Option<usize> {
    let after =
        text.strip_prefix("br").or_else(|| text.strip_prefix("cr")).or_else(|| text.strip_prefix('r'))?;
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let closed = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + closed)
}

/// The length of a literal that ends at the first `mark` without a backslash.
fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == mark {
            return at + mark.len_utf8();
        }
    }
    text.len()
}

/// `'a` that is not `'a'`.
fn is_lifetime(text: &str) -> bool {
    let mut after = text.chars().skip(1);
    let first = after.next();
    first.is_some_and(|first| first.is_alphabetic() || first == '_') && after.next() != Some('\'')
}

#[cfg(test)]
mod tests {
    //! Each kind of literal and comment, with code on both sides.
    use super::of;

    #[test]
    fn keeps_code_and_lines_only() {
        assert_eq!(of("a // {\nb"), "a     \nb");
        assert_eq!(of("a /* { /* } */ { */ b"), "a                   b");
        assert_eq!(of(r#"f("}\"{") + 1"#), "f(      ) + 1");
        assert_eq!(of("let r = r#\"{\"}\"# ;"), "let r =          ;");
        assert_eq!(of("match c { '{' => 1, '\\'' => 2 }"), "match c {     => 1,      => 2 }");
        assert_eq!(of("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
        assert_eq!(of("for\"x\""), "for   ");
    }
}
