//! What a route answers by itself: a redirect, or something fixed.
//!
//! No upstream is asked and no pool is charged. A short body that the client still sends is read and
//! dropped after the answer, within a time, so that its connection can be used again; before a longer one,
//! or one that waits to be asked for, the connection is closed.

use http::header::{CONTENT_LENGTH, EXPECT, LOCATION};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tidegate_core::action::{Action, Came, Redirect, Respond};
use tidegate_core::request::Scheme;

use super::admit::{self, Refusal, refuse};
use crate::context::Context;
use crate::failure::Answer;
use crate::headers;

/// A longer body is not read to the end only to drop it.
const SHORT_BODY_BYTES: u64 = 64 << 10;

/// The answer of the request's route; `None` when the request goes to a pool.
pub(super) fn answer(session: &Session, context: &Context) -> Result<Option<Answer>, Refusal> {
    let Some(route) = context.route() else { return Ok(None) };
    let made = match &route.action {
        Action::Split(_) => return Ok(None),
        Action::Redirect(redirect) => {
            let location = location(redirect, session, context)
                .ok_or_else(|| refuse(400, "bad_request", "the request names no host to lead on from"))?;
            redirected(redirect.status, &location)
        }
        Action::Respond(respond) => responded(respond),
    };
    made.map(Some).map_err(|error| refuse(500, "internal", format!("the route's answer: {error}")))
}

/// Lets the connection be used again, although the request's body was not waited for.
pub(super) fn outlive_body(session: &mut Session) {
    let head = session.req_header();
    let waits = head.headers.contains_key(EXPECT);
    if !waits
        && headers::content_length((&head.headers).into()).is_some_and(|length| length <= SHORT_BODY_BYTES)
    {
        session.as_downstream_mut().set_close_on_response_before_downstream_finish(false);
    }
}

fn location(redirect: &Redirect, session: &Session, context: &Context) -> Option<String> {
    let (facts, head) = (context.facts.as_ref()?, session.req_header());
    let scheme = Scheme::of(context.exchange.scheme());
    redirect.location(&Came {
        scheme,
        host: &admit::host(head),
        port: context.exchange.listener.address.port().unwrap_or(scheme.port()),
        path: facts.clean_path.as_deref().unwrap_or(head.uri.path()),
        prefix_bytes: context.taken?.prefix_bytes,
        query: head.uri.query(),
    })
}

fn redirected(status: u16, location: &str) -> Result<Answer> {
    let mut head = ResponseHeader::build(status, Some(2))?;
    head.insert_header(LOCATION, location)?;
    head.insert_header(CONTENT_LENGTH, 0)?;
    Ok(Answer { head, body: bytes::Bytes::new() })
}

fn responded(respond: &Respond) -> Result<Answer> {
    let mut head = ResponseHeader::build(respond.status, Some(respond.headers.len() + 1))?;
    for (name, value) in &respond.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    if respond.has_length() {
        head.insert_header(CONTENT_LENGTH, respond.body.len())?;
    }
    Ok(Answer { head, body: respond.body.clone() })
}
