//! Failures: what an error of the machinery means, and how it is told.
//!
//! One table from pingora's errors to the contract's words ([`Failure`], a status, an
//! `x-tidegate-error` code), and the answers that Tidegate makes itself.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::{Error, ErrorSource, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use tidegate_core::record::Failure;

/// The header that names a failure in answers that Tidegate makes.
pub(crate) const ERROR_HEADER: &str = "x-tidegate-error";
/// What pingora calls a chunk that breaks the grammar; the name is its own, and not exported.
pub(crate) const INVALID_CHUNK: ErrorType = ErrorType::new("InvalidChunk");
/// The methods that are sure to be served, for answers that must name some; others pass, too.
pub(crate) const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// What ended an exchange, or one try of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The upstream failed. The second says whether it did so by taking too long.
    Upstream(Failure, bool),
    /// The client went away.
    ClientGone,
    /// The client broke the rules; answer this.
    Client(u16),
    /// A limit of ours, or a fault of ours; answer this.
    Ours(u16),
}

/// What an error means; `head_seen` says whether the upstream's answer had begun.
pub(crate) fn classify(error: &Error, head_seen: bool) -> Cause {
    use ErrorType as E;
    match (error.esource(), error.etype()) {
        (_, E::HTTPStatus(status)) if *status < 500 => Cause::Client(*status),
        (_, E::HTTPStatus(status)) => Cause::Ours(*status),
        (ErrorSource::Downstream, E::ReadError | E::WriteError | E::ConnectionClosed | E::WriteTimedout) => {
            Cause::ClientGone
        }
        (ErrorSource::Downstream, E::ReadTimedout) => Cause::Client(408),
        (ErrorSource::Downstream, _) => Cause::Client(400),
        // No descriptor or port was left for a connection.
        (ErrorSource::Upstream, E::InternalError) if !head_seen => Cause::Ours(503),
        (ErrorSource::Upstream, kind) => Cause::Upstream(of_upstream(kind, head_seen), is_timeout(kind)),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Cause::Ours(500),
    }
}

fn is_timeout(kind: &ErrorType) -> bool {
    use ErrorType as E;
    matches!(kind, E::ConnectTimedout | E::TLSHandshakeTimedout | E::ReadTimedout | E::WriteTimedout)
}

fn of_upstream(kind: &ErrorType, head_seen: bool) -> Failure {
    use ErrorType as E;
    match kind {
        E::ConnectTimedout
        | E::ConnectRefused
        | E::ConnectNoRoute
        | E::ConnectError
        | E::BindError
        | E::SocketError
        | E::TLSHandshakeFailure
        | E::TLSHandshakeTimedout
        | E::InvalidCert
        | E::HandshakeError => Failure::Connect,
        E::ReadTimedout | E::WriteTimedout => Failure::Timeout,
        E::InvalidHTTPHeader | E::H1Error | E::InvalidH2 => Failure::Protocol,
        kind if *kind == INVALID_CHUNK => Failure::Protocol,
        _ if head_seen => Failure::Truncated,
        _ => Failure::Reset,
    }
}

/// The status and the code for a failure that ends an exchange.
pub(crate) fn status_of(failure: Failure, timed_out: bool) -> (u16, &'static str) {
    match failure {
        _ if timed_out => (504, "upstream_timeout"),
        Failure::NoEndpoint => (503, "no_endpoint"),
        Failure::Connect => (502, "connect_failed"),
        Failure::Timeout => (504, "upstream_timeout"),
        Failure::Protocol => (502, "upstream_protocol"),
        Failure::Reset | Failure::Truncated | Failure::Status5xx | Failure::Grpc => (502, "upstream_reset"),
    }
}

/// The code for an answer that is not the upstream's doing.
pub(crate) fn code_of(status: u16) -> &'static str {
    match status {
        404 => "no_route",
        408 => "request_timeout",
        413 => "body_too_large",
        414 => "uri_too_long",
        421 => "misdirected",
        431 => "header_too_large",
        500 => "internal",
        503 => "overloaded",
        504 => "upstream_timeout",
        _ => "bad_request",
    }
}

/// An answer that Tidegate makes: head and body.
pub(crate) struct Answer {
    pub(crate) head: ResponseHeader,
    pub(crate) body: Bytes,
}

/// Makes an answer, as `text/plain` or, where the request accepts it, as a problem (RFC 9457).
pub(crate) fn answer(
    request: &RequestHeader,
    status: u16,
    code: &'static str,
    detail: &str,
) -> Result<Answer, Box<Error>> {
    let as_problem = accepts_problem(request);
    let body = if as_problem {
        let title = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
        let problem = serde_json::json!({
            "type": format!("urn:tidegate:error:{code}"),
            "title": title.unwrap_or("Error"),
            "status": status,
            "detail": detail,
        });
        Bytes::from(problem.to_string())
    } else {
        Bytes::from(format!("{detail}\n"))
    };
    let mut head = ResponseHeader::build(status, Some(4))?;
    let kind = if as_problem { "application/problem+json" } else { "text/plain; charset=utf-8" };
    head.insert_header(CONTENT_TYPE, kind)?;
    head.insert_header(CONTENT_LENGTH, body.len())?;
    head.insert_header(ERROR_HEADER, code)?;
    Ok(Answer { head, body })
}

/// `q=0`, with as many decimals as may be, says what is not accepted (RFC 9110, 12.4.2).
fn is_zero_quality(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    name.trim_ascii_end().eq_ignore_ascii_case("q") && value.trim_ascii_start().parse() == Ok(0.0)
}

fn accepts_problem(request: &RequestHeader) -> bool {
    request.headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).any(|accept| {
        accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_json =
                parts.next().is_some_and(|k| k == "application/problem+json" || k == "application/json");
            is_json && !parts.any(is_zero_quality)
        })
    })
}

/// An answer for a request that never reached the gateway, as bytes; the connection closes after it.
pub(crate) fn raw_answer(status: u16, code: &str, detail: &str) -> Vec<u8> {
    let reason =
        http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error");
    let allow = if status == 405 { format!("allow: {ALLOWED}\r\n") } else { String::new() };
    let date = get_cached_date();
    format!(
        "HTTP/1.1 {status} {reason}\r\ndate: {}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\n{allow}{ERROR_HEADER}: {code}\r\nconnection: close\r\n\r\n{detail}\n",
        date.to_str().unwrap_or_default(),
        detail.len() + 1
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_become_the_contracts_words() {
        use ErrorType as E;
        let up = |kind| Error::new_up(kind);
        for (error, head_seen, cause) in [
            (up(E::ConnectRefused), false, Cause::Upstream(Failure::Connect, false)),
            (up(E::ConnectTimedout), false, Cause::Upstream(Failure::Connect, true)),
            (up(E::ReadTimedout), false, Cause::Upstream(Failure::Timeout, true)),
            (up(E::ConnectionClosed), false, Cause::Upstream(Failure::Reset, false)),
            (up(E::ConnectionClosed), true, Cause::Upstream(Failure::Truncated, false)),
            (up(E::InvalidHTTPHeader), false, Cause::Upstream(Failure::Protocol, false)),
            (up(INVALID_CHUNK), true, Cause::Upstream(Failure::Protocol, false)),
            (Error::new_down(E::ConnectionClosed), false, Cause::ClientGone),
            (Error::new_down(E::InvalidHTTPHeader), false, Cause::Client(400)),
            (Error::new_down(E::HTTPStatus(413)), false, Cause::Client(413)),
            (Error::new(E::HTTPStatus(503)), false, Cause::Ours(503)),
            (Error::new(E::InternalError), false, Cause::Ours(500)),
        ] {
            assert_eq!(classify(&error, head_seen), cause, "{error}");
        }
    }

    #[test]
    fn statuses() {
        assert_eq!(status_of(Failure::Connect, true), (504, "upstream_timeout"));
        assert_eq!(status_of(Failure::Connect, false), (502, "connect_failed"));
        assert_eq!(status_of(Failure::NoEndpoint, false), (503, "no_endpoint"));
        assert_eq!(status_of(Failure::Truncated, false), (502, "upstream_reset"));
    }

    #[test]
    fn problems_only_where_they_are_accepted() {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        for (accept, kind) in [
            ("*/*", "text/plain; charset=utf-8"),
            ("text/html", "text/plain; charset=utf-8"),
            ("text/html, application/problem+json;q=0.9", "application/problem+json"),
            ("application/json", "application/problem+json"),
            ("application/json;q=0, text/plain", "text/plain; charset=utf-8"),
            ("application/problem+json; charset=utf-8; Q=0.000", "text/plain; charset=utf-8"),
            ("application/json;q=0, application/problem+json;q=0.001", "application/problem+json"),
        ] {
            request.insert_header(ACCEPT, accept).expect("a header");
            let answer = answer(&request, 503, "no_endpoint", "x").expect("an answer");
            assert_eq!(answer.head.headers[CONTENT_TYPE], kind, "{accept}");
        }
    }
}
