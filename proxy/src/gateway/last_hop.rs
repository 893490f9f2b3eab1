//! OPTIONS and TRACE that may go no further are answered here (RFC 9110, 7.6.2).
//!
//! OPTIONS learns that there is somebody. TRACE is refused rather than reflected: what came in between is
//! nobody's business but the operator's.

use http::Method;
use http::header::ALLOW;
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::context::Context;
use crate::failure::ALLOWED;
use crate::headers::max_forwards;

/// Answers a request whose Max-Forwards is used up; whether it was one.
pub(super) async fn answers(session: &mut Session, context: &mut Context) -> Result<bool> {
    let request = session.req_header();
    if max_forwards(&request.method, (&request.headers).into()) != Some(0) {
        return Ok(false);
    }
    let is_options = request.method == Method::OPTIONS;
    let mut answer = ResponseHeader::build(if is_options { 204 } else { 405 }, Some(2))?;
    answer.insert_header(ALLOW, ALLOWED)?;
    if !is_options {
        answer.insert_header(http::header::CONTENT_LENGTH, 0)?;
    }
    context.status = answer.status.as_u16();
    session.write_response_header(Box::new(answer), true).await?;
    Ok(true)
}
