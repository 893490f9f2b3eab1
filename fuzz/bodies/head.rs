//! A request as it comes over the wire, up to the decision: refused, or read in one way only.
//!
//! What is let through is read once more here, by a reader that knows only lines, and must come to the
//! same; the path that is matched must be one that matching would not change again.

use std::net::IpAddr;
use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tidegate_core::compile::{Input, Reuse, compile};
use tidegate_core::config::read::read;
use tidegate_core::decide::decide;
use tidegate_core::http1::head::{check, find_end, has_bare_lf};
use tidegate_core::pick::Entropy;
use tidegate_core::request::{RequestView, normalise_host, normalise_path};
use tidegate_core::snapshot::Snapshot;
use tidegate_core::state::State;

const CONFIG: &str = include_str!("../../config/canary.toml");

/// Checks, follows the body, and decides.
pub(crate) fn run(bytes: &[u8]) {
    let mut bytes = bytes;
    while let Some(behind) = bytes.strip_prefix(b"\r\n") {
        // Empty lines in front are skipped by who reads.
        bytes = behind;
    }
    let end = find_end(bytes, 0);
    for from in 0..bytes.len().min(64) {
        // However the bytes came, the end is where it is.
        let known = end.is_none_or(|end| from < end);
        assert!(!known || find_end(bytes, from) == end, "looking from {from}");
    }
    let Some(end) = end else { return };
    let (head, rest) = bytes.split_at(end);
    let Ok(checked) = check(head) else { return };
    if has_bare_lf(head, 0) {
        // Refused while it is read, before it is checked.
        return;
    }
    assert_eq!(checked.length, head.len());
    let (line, fields) = lines(head);
    lengths_are_clear(&fields);
    body_ends_in_one_place(checked.body, rest);
    let parts: Vec<&str> = line.split(' ').collect();
    assert_eq!(parts.len(), 3, "{line}");
    decided(parts[0], parts[1], &fields);
}

/// The request line and the fields, by line ends and colons alone.
fn lines(head: &[u8]) -> (String, Vec<(String, Vec<u8>)>) {
    let head = &head[..head.len() - 4];
    assert!(!head.contains(&0), "a NUL was let through");
    let mut lines = Vec::new();
    for line in head.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.contains(&b'\r'), "a bare carriage return was let through");
        lines.push(line);
    }
    let mut fields = Vec::new();
    for line in &lines[1..] {
        let colon = line.iter().position(|byte| *byte == b':').expect("a line with a colon");
        let name = std::str::from_utf8(&line[..colon]).expect("a name of ASCII").to_ascii_lowercase();
        assert!(!name.is_empty() && !name.contains([' ', '\t']), "{name:?}");
        fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
    }
    (String::from_utf8(lines[0].to_vec()).expect("a request line of ASCII"), fields)
}

fn lengths_are_clear(fields: &[(String, Vec<u8>)]) {
    let count = |name: &str| fields.iter().filter(|(own, _)| own == name).count();
    assert!(count("host") <= 1, "two hosts");
    assert!(count("content-length") + count("transfer-encoding") <= 1, "two ways to end");
}

fn body_ends_in_one_place(body: tidegate_core::http1::framing::Framing, rest: &[u8]) {
    let (mut whole, mut single) = (body, body);
    let by_whole = whole.take(rest).ok().map(|taken| (taken, whole.is_done()));
    let mut taken = 0;
    let by_byte = rest.iter().try_for_each(|byte| {
        taken += single.take(std::slice::from_ref(byte))?;
        Ok::<_, tidegate_core::http1::framing::BadChunk>(())
    });
    assert_eq!(by_whole, by_byte.ok().map(|()| (taken, single.is_done())));
}

/// As the gateway does it.
fn decided(method: &str, target: &str, fields: &[(String, Vec<u8>)]) {
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), target.parse::<Uri>()) else { return };
    let Ok(path) = normalise_path(uri.path()) else { return };
    assert_eq!(normalise_path(&path).as_deref(), Ok(&*path), "a cleaned path is clean");
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    let view = RequestView {
        method: &method,
        host: &normalise_host(&host),
        path: &path,
        query: uri.query(),
        headers: (&headers).into(),
        client: IpAddr::from([192, 0, 2, 1]),
        trusted: false,
    };
    let table = table();
    let first = decide(table, &view, 0, &mut Entropy::new(1)).expect("a route for all");
    let again = decide(table, &view, 0, &mut Entropy::new(1)).expect("a route for all");
    assert_eq!(format!("{first:?}"), format!("{again:?}"), "a decision is a function");
}

fn table() -> &'static Snapshot {
    static TABLE: OnceLock<Snapshot> = OnceLock::new();
    TABLE.get_or_init(|| {
        let config = read(CONFIG, &|_| None).expect("a good file").into();
        compile(Input { config: &config, state: &State::default(), generation: 1 }, Reuse::Cells(None))
    })
}
