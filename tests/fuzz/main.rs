//! The fuzz targets as ordinary tests: the corpus once more, and the corpus damaged.
//!
//! cargo-fuzz, which looks at what the code does with each input, needs a nightly compiler; see `fuzz/`.
//! What it finds goes into the corpus and is replayed here from then on.

#[path = "../../fuzz/bodies/admin.rs"]
mod admin;
#[path = "../../fuzz/bodies/config.rs"]
mod config;
#[path = "../../fuzz/bodies/head.rs"]
mod head;
#[path = "../../fuzz/bodies/routes.rs"]
mod routes;

use std::fs;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Where the corpus is, seen from the crate that declares the test.
const CORPUS: &str = "../fuzz/corpus";

/// The inputs of a target, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{CORPUS}/{target}");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} has nothing in it");
    files.iter().map(|file| fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))).collect()
}

/// Each input as it is, and `times` of them with pieces cut out, put in and repeated.
fn play(target: &str, times: u32, pieces: &'static [&'static [u8]], run: impl Fn(&[u8])) {
    let corpus = corpus(target);
    for input in &corpus {
        run(input);
    }
    let piece = prop_oneof![
        3 => prop::sample::select(pieces).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    let cut = (any::<prop::sample::Index>(), 0_usize..16, piece);
    let damaged = (prop::sample::select(corpus), prop::collection::vec(cut, 1..5)).prop_map(damage);
    let config = ProptestConfig { cases: times, failure_persistence: None, ..ProptestConfig::default() };
    let played = TestRunner::new(config).run(&damaged, |input| {
        run(&input);
        Ok(())
    });
    played.unwrap_or_else(|failure| panic!("{target}: {failure}"));
}

type Cut = (prop::sample::Index, usize, Vec<u8>);

fn damage((mut input, cuts): (Vec<u8>, Vec<Cut>)) -> Vec<u8> {
    for (at, length, piece) in cuts {
        let from = at.index(input.len() + 1);
        let to = (from + length).min(input.len());
        input.splice(from..to, piece);
    }
    input
}

#[test]
fn heads() {
    const PIECES: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"\r\n\r\n",
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"chunked",
        b"HTTP/1.0",
        b"GET ",
        b"/../",
        b"%2e",
        b"%00",
        b"http://a",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
        b",",
        b"\xff",
    ];
    play("head", 3_000, PIECES, head::run);
}

#[test]
fn tables_and_requests() {
    play("routes", 1_000, &[b"\0", b"\x01", b"\x02\x02", b"\xff"], routes::run);
}

#[test]
fn configuration_files() {
    const PIECES: &[&[u8]] = &[
        b"[",
        b"]",
        b"{",
        b"}",
        b"=",
        b"\"",
        b"\n",
        b"'''",
        b"${A}",
        b"${",
        b"[[routes]]\n",
        b"[splits.s]\n",
        b"-1",
        b"1e400",
        b"\"10s\"",
        b"nan",
        b"\xef\xbb\xbf",
        b"\0",
        b"pool = \"stable\"\n",
        b"weights = { a = 0 }\n",
    ];
    play("config", 400, PIECES, config::run);
}

#[test]
fn bodies_of_the_admin_api() {
    const PIECES: &[&[u8]] = &[
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b",",
        b":",
        b"null",
        b"-1",
        b"1e400",
        b"0.5",
        b"\\u0000",
        b"\xff",
        b"{}",
        b"\"stable\"",
        b"\"canary\"",
        b"\"reason\":\"x\",",
        b"\"ttl\":\"1s\",",
        b"\"weights\":{\"stable\":1}",
    ];
    play("admin", 400, PIECES, admin::run);
}
