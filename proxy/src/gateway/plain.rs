//! What the express lane has of the gateway: each step of an exchange, without pingora's session.

use std::sync::Arc;

use http::Version;
use pingora_core::{Error, Result};
use pingora_http::RequestHeader;
use tidegate_core::record::Failure;

use super::retry::{self, Ask};
use super::{Asked, Gateway, Refusal, admit, rewrite};
use crate::context::Context;
use crate::entropy;
use crate::headers::Own;
use crate::listen::Exchange;

impl Gateway {
    /// The state of a request that has just come.
    pub(crate) fn new_context(&self, exchange: Arc<Exchange>) -> Context {
        Context::new(self.control.live().snapshot(), entropy::seed(), exchange)
    }

    /// Looks at a request's head and decides.
    pub(crate) fn admit(&self, asked: &Asked<'_>, context: &mut Context) -> Result<(), Refusal> {
        admit::admit(self, asked, context)
    }

    /// Readies a request's head for the endpoint, and copies it where the request's route is mirrored.
    pub(crate) fn ready_request(
        &self,
        request: &mut RequestHeader,
        has_body: bool,
        context: &mut Context,
    ) -> Result<()> {
        rewrite::set_target(request, context)?;
        rewrite::forward(request, context, Version::HTTP_11)?;
        rewrite::finish(request, context)?;
        self.mirror.begin(context, request, has_body);
        Ok(())
    }

    /// The whole body was sent, which the copies of the request have been waiting for.
    pub(crate) fn copy_body(&self, body: &[u8], context: &mut Context) {
        self.mirror.body(context, body, true);
    }

    /// A try was not connected; whether there is another is in the error.
    pub(crate) fn after_no_connection(&self, head: &RequestHeader, context: &mut Context, error: &mut Error) {
        let ask = Ask { head, is_unanswered: true, is_whole: true };
        retry::after_no_connection(self, &ask, context, error);
    }

    /// A try failed, of which the client has seen nothing; whether there is another is in the error.
    pub(crate) fn after_failure(
        &self,
        head: &RequestHeader,
        is_whole: bool,
        was_kept: bool,
        context: &mut Context,
        error: &mut Error,
    ) {
        let ask = Ask { head, is_unanswered: true, is_whole };
        retry::after_failure(self, &ask, context, error, was_kept);
    }

    /// Whether an answer that says 5xx is not to be seen by the client, but followed by another try.
    pub(crate) fn repeats_5xx(&self, head: &RequestHeader, is_whole: bool, context: &mut Context) -> bool {
        let ask = Ask { head, is_unanswered: true, is_whole };
        retry::is_tried_again(self, &ask, context, Failure::Status5xx)
    }

    /// An answer broke off of which the client has seen the beginning.
    pub(crate) fn broke_off(&self, error: &Error, context: &mut Context) {
        let (_, code) = self.ending(error, context);
        context.error_code = Some(code);
    }

    /// Writes the exchange's line in the access log.
    pub(crate) fn log<'a>(&self, asked: impl FnOnce() -> Asked<'a>, bytes: u64, context: &mut Context) {
        self.access.request(asked, bytes, context);
    }
}

/// What becomes of the fields of a request that Tidegate has the last word on; `None` where there is more to
/// do with its head than that, which [`Gateway::ready_request`] does.
pub(crate) fn own<'a>(asked: &Asked<'a>, context: &'a Context) -> Option<Own<'a>> {
    let facts = context.facts.as_ref().filter(|facts| facts.clean_path.is_none())?;
    let route = context.route()?;
    let edits_nothing = route.request_headers.is_empty()
        && route.rewrite.host.is_none()
        && route.rewrite.path.is_none()
        && route.mirrors.is_empty()
        && context.split()?.pool_header.is_none();
    edits_nothing.then(|| Own {
        fields: asked.fields,
        method: asked.method,
        origin: rewrite::origin(facts, context, Version::HTTP_11),
        ids: &facts.ids,
    })
}
