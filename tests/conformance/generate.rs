//! Exchanges made by chance: mostly sound, often odd, sometimes broken, and the same again for the same seed.

use crate::case::Then;
use crate::harness::Dice;
use crate::upstream::Play;

/// What a client sends and what its upstream answers.
pub(crate) struct Made {
    pub(crate) request: Vec<u8>,
    pub(crate) play: Play,
}

/// The exchange of this number, with this host.
pub(crate) fn exchange(number: u64, host: &str) -> Made {
    let mut dice = Dice::new(number);
    let mut request = request(&mut dice, host);
    let mut answer = answer(&mut dice);
    if chance(&mut dice, 12) {
        damage(&mut dice, &mut request);
    }
    if chance(&mut dice, 12) {
        damage(&mut dice, &mut answer);
    }
    // No reset: what of an answer it destroys is a matter of time.
    let then = if chance(&mut dice, 10) { Then::Close } else { Then::Stay };
    Made { request, play: Play { at_once: Vec::new(), answer, then } }
}

/// Whether something happens that does so in so many of a hundred cases.
fn chance(dice: &mut Dice, percent: u64) -> bool {
    dice.below(100) < percent
}

fn number(dice: &mut Dice, end: u64) -> usize {
    usize::try_from(dice.below(end)).unwrap()
}

fn request(dice: &mut Dice, host: &str) -> Vec<u8> {
    const METHODS: [&str; 12] =
        ["GET", "GET", "GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "BREW"];
    const TARGETS: [&str; 14] = [
        "/",
        "/",
        "/",
        "/a/b?c=d",
        "/%41?",
        "/a/../b",
        "/a/%2e%2e/b?x=/../y",
        "//a",
        "/a;b=c",
        "*",
        "/a b",
        "/%zz",
        "/ü",
        "/a#b",
    ];
    const VERSIONS: [&str; 10] = ["1.1", "1.1", "1.1", "1.1", "1.1", "1.1", "1.1", "1.1", "1.0", "1.2"];
    let method = dice.one_of(&METHODS);
    let target = match dice.below(12) {
        0 => format!("http://{host}/absolute?a=b"),
        _ => dice.one_of(&TARGETS).to_owned(),
    };
    let mut lines = vec![format!("{method} {target} HTTP/{}", dice.one_of(&VERSIONS))];
    match dice.below(16) {
        0 => {}
        1 => lines.extend([format!("Host: {host}"), format!("Host: {host}")]),
        2 => lines.push(format!("HOST:{}", host.to_uppercase())),
        3 => lines.push(format!("Host: {host}:8080")),
        _ => lines.push(format!("Host: {host}")),
    }
    let fields = dice.below(6);
    lines.extend((0..fields).map(|_| request_field(dice)));
    let body = body(dice, &mut lines, method != "GET" && method != "HEAD");
    message(&lines, &body)
}

fn request_field(dice: &mut Dice) -> String {
    const FIELDS: [&str; 32] = [
        "Accept: */*",
        "accept: application/json",
        "User-Agent: made by chance",
        "Cookie: a=b; c=d",
        "Cookie: e=f",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "x-forwarded-host: other.test",
        "X-Real-IP: 192.0.2.1",
        "Forwarded: for=192.0.2.1",
        "Via: 1.0 other",
        "X-Request-Id: of-the-client",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate: a=b",
        "Connection: keep-alive",
        "Connection: close",
        "Connection: x-named",
        "connection: Keep-Alive, X-Named",
        "X-Named: by the connection",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "Trailer: x-end",
        "Max-Forwards: 5",
        "Range: bytes=0-1",
        "Content-Type: text/plain",
        "X-Empty:",
        "X-Spaces:   a  b\t ",
        "x-odd_name!: \"'{}[]",
        "X-Twice: 1",
        "X-Twice: 2",
        "If-None-Match: \"a\"",
    ];
    match dice.below(60) {
        0 => format!("X-Long: {}", "long ".repeat(number(dice, 300))),
        1 => "X-Bytes: \u{e9}\u{fc}".to_owned(),
        2 => "Upgrade: websocket".to_owned(),
        3 => " folded: a".to_owned(),
        4 => "X Space: a".to_owned(),
        5 => "Transfer-Encoding: gzip".to_owned(),
        6 => "Content-Length: 3".to_owned(),
        _ => dice.one_of(&FIELDS).to_owned(),
    }
}

/// A body, and the fields that frame it.
fn body(dice: &mut Dice, lines: &mut Vec<String>, is_usual: bool) -> Vec<u8> {
    let kind = dice.below(if is_usual { 6 } else { 24 });
    let length = match dice.below(8) {
        0 => 0,
        1 => 70_000 + number(dice, 10_000),
        2 => number(dice, 20_000),
        _ => number(dice, 100),
    };
    let content: Vec<u8> = (0..length).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
    match kind {
        0 | 1 => {
            let short = chance(dice, 4);
            lines.push(format!("Content-Length: {}", content.len() + usize::from(short)));
            content
        }
        2 | 3 => {
            lines.push("Transfer-Encoding: chunked".to_owned());
            chunks(dice, &content)
        }
        _ => Vec::new(),
    }
}

fn chunks(dice: &mut Dice, mut content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !content.is_empty() {
        let (chunk, rest) = content.split_at(1 + number(dice, content.len() as u64));
        content = rest;
        let extension = if chance(dice, 5) { ";a=b" } else { "" };
        let size = if chance(dice, 20) { format!("{:X}", chunk.len()) } else { format!("{:x}", chunk.len()) };
        bytes.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(if chance(dice, 1) { b"\n" } else { b"\r\n" });
    }
    if chance(dice, 97) {
        let trailers = if chance(dice, 8) { "x-end: of chunks\r\n" } else { "" };
        bytes.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    }
    bytes
}

fn answer(dice: &mut Dice) -> Vec<u8> {
    const STATUSES: [&str; 16] = [
        "200 OK",
        "200 OK",
        "200 OK",
        "200 OK",
        "200 Fine",
        "201 Created",
        "204 No Content",
        "206 Partial Content",
        "301 Moved Permanently",
        "304 Not Modified",
        "404 Not Found",
        "418",
        "500 Internal Server Error",
        "503 Service Unavailable",
        "599 Odd",
        "299 ",
    ];
    const FIELDS: [&str; 18] = [
        "Server: made by chance",
        "Date: Tue, 01 Dec 2026 00:00:00 GMT",
        "Content-Type: text/html",
        "Set-Cookie: a=b; Path=/",
        "Set-Cookie: c=d",
        "ETag: \"a\"",
        "Cache-Control: no-store",
        "Connection: keep-alive",
        "Connection: close",
        "Connection: x-named",
        "X-Named: by the connection",
        "Keep-Alive: timeout=5",
        "Trailer: x-end",
        "Upgrade: h2c",
        "Proxy-Authenticate: Basic",
        "Via: 1.1 other",
        "Location: /a",
        "X-Empty:",
    ];
    let interim = match dice.below(20) {
        0 => "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        1 => "HTTP/1.1 100 Continue\r\n\r\n",
        _ => "",
    };
    let version = if chance(dice, 5) { "1.0" } else { "1.1" };
    let mut lines = vec![format!("HTTP/{version} {}", dice.one_of(&STATUSES))];
    let fields = dice.below(5);
    lines.extend((0..fields).map(|_| dice.one_of(&FIELDS).to_owned()));
    if chance(dice, 2) {
        lines
            .push(dice.one_of(&["Content-Length: 3", "Transfer-Encoding: chunked", "X Space: a"]).to_owned());
    }
    let body = body(dice, &mut lines, true);
    [interim.as_bytes(), &message(&lines, &body)].concat()
}

/// Characters stand for bytes, as far as they go.
fn message(lines: &[String], body: &[u8]) -> Vec<u8> {
    let head = lines.join("\r\n") + "\r\n\r\n";
    head.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).chain(body.iter().copied()).collect()
}

/// Changes, takes out or puts in a byte or two, near the beginning rather than far behind.
fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    const BYTES: [u8; 18] = *b"\r\n\t \0:;,/%#aZ09\x7f\x80\xff";
    for _ in 0..=dice.below(2) {
        let end = if chance(dice, 80) { bytes.len().min(400) } else { bytes.len() };
        let at = number(dice, end.max(1) as u64);
        match dice.below(3) {
            0 if at < bytes.len() => drop(bytes.remove(at)),
            1 if at < bytes.len() => bytes[at] = dice.one_of(&BYTES),
            _ => bytes.insert(at.min(bytes.len()), dice.one_of(&BYTES)),
        }
    }
}
