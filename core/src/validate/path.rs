//! Paths into a configuration, as problems show them: `routes[2].matches[0].path`, `pools.stable`.
//!
//! A key that holds more than letters, digits, `-` and `_` is quoted (`pools."app.v1"`), so that a
//! path has one meaning.

/// The path of `name` in the table at `base`.
pub(crate) fn key(base: &str, name: &str) -> String {
    let segment = segment(name);
    if base.is_empty() { segment } else { format!("{base}.{segment}") }
}

/// How `name` is written in a path.
pub(crate) fn segment(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { name.to_owned() } else { format!("{name:?}") }
}

/// The path of the element `index` of the list at `base`.
pub(crate) fn index(base: &str, index: usize) -> String {
    format!("{base}[{index}]")
}

/// Whether `inner` is `outer`, or lies within it.
pub(crate) fn covers(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| {
        outer.is_empty() || rest.is_empty() || rest.starts_with('.') || rest.starts_with('[')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_in_the_contract() {
        assert_eq!(key(&index(&key("", "routes"), 2), "name"), "routes[2].name");
        assert_eq!(key("pools", "app.v1"), "pools.\"app.v1\"");
        assert_eq!(key("pools", ""), "pools.\"\"");
    }

    #[test]
    fn a_path_covers_what_is_within() {
        for (outer, inner, covered) in [
            ("pools.a", "pools.a", true),
            ("pools.a", "pools.a.health", true),
            ("pools.a", "pools.ab", false),
            ("routes", "routes[1].name", true),
            ("routes[1]", "routes[10]", false),
            ("", "routes", true),
            ("routes[1].name", "routes[1]", false),
        ] {
            assert_eq!(covers(outer, inner), covered, "{outer} {inner}");
        }
    }
}
