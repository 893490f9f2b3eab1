//! gRPC: how its calls end, and how Tidegate says that one could not be made.
//!
//! A call's status is in its trailers, or in its head when there is nothing else; HTTP's is nearly always
//! 200. What counts as a failure of the pool is the contract's list. An answer of Tidegate's own is a head
//! with the status and nothing behind it, as the protocol has it ("PROTOCOL-HTTP2.md", Trailers-Only).

use std::fmt::Write as _;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use tidegate_core::record::{Failure, Outcome};

use crate::context::Context;
use crate::failure::ERROR_HEADER;
use crate::headers;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Statuses that a server gives for faults of its own: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL,
/// UNAVAILABLE, DATA_LOSS.
const FAILURES: [u16; 6] = [2, 4, 12, 13, 14, 15];

/// Whether a request is a call. gRPC is spoken over HTTP/2 only.
pub(super) fn is_call(head: &RequestHeader) -> bool {
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    head.version == http::Version::HTTP_2
        && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Takes note of a status, in a head or in trailers.
pub(super) fn note(context: &mut Context, headers: &HeaderMap) {
    let Some(status) = headers.get(&STATUS).filter(|_| context.is_grpc) else { return };
    // What is no number is no good status either.
    context.grpc_status = Some(status.to_str().ok().and_then(|s| s.parse().ok()).unwrap_or(2));
}

/// What a call came to whose answer is complete; a call without a status has failed.
pub(super) fn outcome(context: &Context) -> Outcome {
    match context.grpc_status {
        Some(status) if !FAILURES.contains(&status) => Outcome::Ok,
        _ => Outcome::Failed(Failure::Grpc),
    }
}

/// The status that stands for an error of Tidegate's.
fn status_of(http_status: u16, code: &str) -> u16 {
    match (http_status, code) {
        (404, _) => 12,
        (413, _) => 8,
        (504, _) => 4,
        (502 | 503, _) => 14,
        (400..500, _) => 13,
        _ => 2,
    }
}

/// Answers a call with an error.
pub(super) async fn answer(
    session: &mut Session,
    context: &mut Context,
    http_status: u16,
    code: &'static str,
    detail: &str,
) -> Result<()> {
    let status = status_of(http_status, code);
    context.status = 200;
    context.grpc_status = Some(status);
    let mut head = ResponseHeader::build(200, Some(4))?;
    head.insert_header(CONTENT_TYPE, "application/grpc")?;
    head.insert_header(STATUS, status)?;
    head.insert_header(MESSAGE, escaped(detail))?;
    head.insert_header(ERROR_HEADER, code)?;
    if let Some(route) = context.route() {
        headers::edit_answer(&mut head, &route.response_headers)?;
    }
    match session.as_downstream_mut().as_custom_mut() {
        Some(stream) => stream.write_response_header(Box::new(head), true).await,
        None => Error::e_explain(ErrorType::InternalError, "a call that did not come by HTTP/2"),
    }
}

/// Percent-encoded as the protocol has it: visible ASCII passes, all but the percent sign.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_their_content_type() {
        for (version, kind, is) in [
            (http::Version::HTTP_2, "application/grpc", true),
            (http::Version::HTTP_2, "application/grpc+proto", true),
            (http::Version::HTTP_2, "application/grpc;x=y", true),
            (http::Version::HTTP_2, "application/grpc-web", false),
            (http::Version::HTTP_2, "text/plain", false),
            (http::Version::HTTP_11, "application/grpc", false),
        ] {
            let mut head = RequestHeader::build("POST", b"/a.B/C", None).expect("a request");
            head.set_version(version);
            head.insert_header(CONTENT_TYPE, kind).expect("a header");
            assert_eq!(is_call(&head), is, "{version:?} {kind}");
        }
    }

    #[test]
    fn messages_are_one_line_of_ascii() {
        assert_eq!(escaped("100 % of ü\n"), "100 %25 of %C3%BC%0A");
    }

    #[test]
    fn errors_have_a_status_that_clients_know() {
        for (http_status, status) in
            [(404, 12), (413, 8), (400, 13), (502, 14), (503, 14), (504, 4), (500, 2)]
        {
            assert_eq!(status_of(http_status, ""), status);
        }
    }
}
