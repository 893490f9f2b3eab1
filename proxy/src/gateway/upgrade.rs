//! Upgrades (RFC 9110, 7.8): which requests may ask for one, and what becomes of a connection that got one.
//!
//! An upgrade is of one connection to the next, so it is asked for anew upstream, with the one protocol
//! that the client named. HTTP/2 is no upgrade (RFC 9113, 3.1), and neither is a request with a body: where
//! the body ends and the new protocol begins is what two parsers could see in two ways. Such requests are
//! served as if they had not asked. Next: [`crate::listen::tunnel`].

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Version};
use pingora_proxy::Session;

use super::Gateway;
use crate::context::Context;
use crate::listen::{Opened, Tunnels};
use crate::peer;

/// Notes what the client asks for, or has it forgotten.
pub(super) fn look(session: &mut Session, context: &mut Context) {
    let head = session.req_header();
    if !head.headers.contains_key(UPGRADE) {
        return;
    }
    let asked = (head.version == Version::HTTP_11).then(|| asked_for(&head.headers)).flatten();
    if asked.is_none() {
        session.req_header_mut().remove_header(&UPGRADE);
    }
    context.upgrade = asked;
}

/// The protocol that may be upgraded to.
fn asked_for(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(UPGRADE).iter();
    let (Some(protocol), None) = (lines.next(), lines.next()) else { return None };
    let name = protocol.to_str().ok()?;
    let is_http = ["h2c", "h2"].iter().any(|no| name.eq_ignore_ascii_case(no))
        || name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("http/"));
    let is_one = !name.is_empty() && !name.contains([',', ' ']);
    let nominated = headers.get_all(CONNECTION).iter().any(|line| {
        line.as_bytes().split(|b| *b == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    (is_one && !is_http && nominated && !has_body).then(|| protocol.clone())
}

/// The upstream has agreed: from here on bytes pass, until either side ends or a drain's time is over.
pub(super) fn opened(gateway: &Gateway, session: &mut Session, context: &mut Context) {
    let (Some(protocol), Some(pool)) = (&context.upgrade, context.pool()) else { return };
    let cut = context.endpoint().map(peer::cut);
    context.exchange.clear_deadlines();
    context.exchange.open_tunnel(Opened {
        is_websocket: protocol.as_bytes().eq_ignore_ascii_case(b"websocket"),
        idle: pool.timeouts.tunnel_idle,
        cuts: cut.into_iter().chain([gateway.drain.cut()]).collect(),
        counted: Tunnels::count(&pool.cell),
    });
    // Either side may be silent for as long as the tunnel may idle.
    session.set_read_timeout(None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_protocol_that_is_not_http_and_no_body() {
        for (headers, asked) in [
            (&[("upgrade", "websocket"), ("connection", "Upgrade")][..], Some("websocket")),
            (&[("upgrade", "WebSocket"), ("connection", "keep-alive, upgrade")], Some("WebSocket")),
            (
                &[("upgrade", "spdy/3.1"), ("connection", "upgrade"), ("content-length", "0")],
                Some("spdy/3.1"),
            ),
            (&[("upgrade", "websocket")], None),
            (&[("upgrade", "websocket"), ("connection", "close")], None),
            (&[("upgrade", "h2c"), ("connection", "upgrade, http2-settings")], None),
            (&[("upgrade", "HTTP/2.0"), ("connection", "upgrade")], None),
            (&[("upgrade", "websocket, h2c"), ("connection", "upgrade")], None),
            (&[("upgrade", "websocket"), ("upgrade", "x"), ("connection", "upgrade")], None),
            (&[("upgrade", "websocket"), ("connection", "upgrade"), ("content-length", "5")], None),
            (&[("upgrade", "websocket"), ("connection", "upgrade"), ("transfer-encoding", "chunked")], None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(
                asked_for(&map).as_ref().map(HeaderValue::as_bytes),
                asked.map(str::as_bytes),
                "{headers:?}"
            );
        }
    }
}
