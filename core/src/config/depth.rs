//! How deeply a text nests, found without recursion and before anything recursive sees it.
//!
//! The TOML parser bounds brackets and dotted keys apart, but not together: a small text could
//! still make a tree thousands of levels deep, and every walk over it costs stack.

/// The configuration itself needs about ten levels.
const MOST_LEVELS: usize = 64;

/// The first line (from 1) on which `text` nests too deeply, if any.
pub(super) fn too_deep(text: &str) -> Option<u32> {
    let bytes = text.as_bytes();
    // Dots since the last comma or line end, for each open bracket and the document itself.
    let mut dots: Vec<usize> = vec![0];
    let mut total = 0;
    let mut line = 1;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let mut next = at + 1;
        match byte {
            b'\n' => {
                line += 1;
                if dots.len() == 1 {
                    total = 0;
                    dots[0] = 0;
                }
            }
            b'#' => next = end_of_line(bytes, at),
            b'"' | b'\'' => {
                next = end_of_string(bytes, at);
                line += lines_in(&bytes[at..next]);
            }
            b'[' | b'{' => dots.push(0),
            b']' | b'}' if dots.len() > 1 => total -= dots.pop().unwrap_or_default(),
            b',' => {
                if let Some(here) = dots.last_mut() {
                    total -= std::mem::take(here);
                }
            }
            b'.' => {
                total += 1;
                if let Some(here) = dots.last_mut() {
                    *here += 1;
                }
            }
            _ => {}
        }
        if total + dots.len() > MOST_LEVELS {
            return Some(line);
        }
        at = next;
    }
    None
}

fn lines_in(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |lines, byte| lines + u32::from(*byte == b'\n'))
}

fn end_of_line(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |length| from + length)
}

/// Behind the string that starts at `from`. One that is not closed ends with its line.
pub(super) fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let quote = bytes[from];
    let long = bytes[from..].starts_with(&[quote; 3]);
    let closing: &[u8] = if long { &[quote; 3] } else { &[quote] };
    let mut at = from + closing.len();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 1,
            b'\n' if !long => return at,
            _ if bytes[at..].starts_with(closing) => return at + closing.len(),
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::too_deep;

    #[test]
    fn ordinary_files_are_not_deep() {
        let steps = "0.5, ".repeat(1_000);
        for text in [
            "a = [[[[1]]]]\n",
            "# [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
            "a = \"................................................................\"\n",
            "a = '[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[['\n",
            &format!("a = [{steps}]"),
            &"a.b.c = 1.5\n".repeat(100),
            &"[[a.b]]\n".repeat(100),
        ] {
            assert_eq!(too_deep(text), None, "{text}");
        }
    }

    #[test]
    fn deep_files_are_found_by_line() {
        let dotted = "a.".repeat(20);
        for text in [
            format!("\na = {}", "[".repeat(10_000)),
            format!("\n{}a = 1", "a.".repeat(10_000)),
            format!("\n{}", format!("{{ x = 1, {dotted}a = ").repeat(10)),
            format!("#\n\"\\\"#\".a = {}", "{a=".repeat(10_000)),
        ] {
            assert_eq!(too_deep(&text), Some(2), "{text:.60}");
        }
    }
}
