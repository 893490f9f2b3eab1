//! pingora's callbacks, each a few lines that delegate.
//!
//! The order in which pingora calls them: `new_ctx`, `request_filter` (decide; answer what needs no
//! upstream), then for each try `upstream_peer`, `connected_to_upstream`, `upstream_request_filter`,
//! `request_body_filter`*, `upstream_response_filter`, `response_filter`, and at its failure `fail_to_connect` or
//! `error_while_proxy`, which say whether there is another; at the end `fail_to_proxy` (answer an
//! error) and `logging`. Stage before: [`crate::listen`]; next: the upstream.

mod admit;
mod complain;
mod grpc;
mod hold;
mod last_hop;
mod own;
mod plain;
mod rescue;
mod retry;
mod rewrite;
mod upgrade;

use std::os::fd::RawFd;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use tidegate_admin::Control;
use tidegate_core::http1;
use tidegate_core::record::{Failure, Outcome};

use crate::context::{CLIENT_GONE, CLIENT_GONE_CODE, Context};
use crate::express::Handed;
use crate::failure::{self, Answer, Cause, classify, code_of, status_of};
use crate::headers;
use crate::listen::Exchange;
use crate::mirror::Mirror;
use crate::peer::{GaveWay, begin_use};
use crate::shutdown::Drain;
use crate::telemetry::AccessLog;
pub(crate) use admit::{Asked, Refusal};
use complain::Complaints;
pub(crate) use plain::own;
use retry::Ask;
pub(crate) use retry::{connect_limit, instead_of, try_limit};

/// The data plane's application.
#[derive(Clone)]
pub(crate) struct Gateway {
    control: Arc<Control>,
    drain: Arc<Drain>,
    access: Arc<AccessLog>,
    mirror: Arc<Mirror>,
    complaints: Arc<Complaints>,
}

impl Gateway {
    pub(crate) fn new(
        control: Arc<Control>,
        drain: Arc<Drain>,
        access: Arc<AccessLog>,
        mirror: Mirror,
    ) -> Self {
        Self { control, drain, access, mirror: Arc::new(mirror), complaints: Arc::default() }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.control.clock().mono_ms()
    }

    /// Ends a try, and lets its endpoint be ejected for it.
    fn end_try(&self, context: &mut Context, outcome: Outcome) {
        let (Some(endpoint), Some(pool)) = (context.end_try(outcome), context.pool()) else { return };
        if outcome == Outcome::Ok {
            pool.observe(&endpoint, false, self.now_ms());
            return;
        }
        // Whether it may be ejected depends on the others as they are now, not as they were when the
        // request began.
        let table = self.control.live().snapshot();
        let Some(pool) = table.pool_named(&pool.name) else { return };
        if let Some(ms) = pool.observe(&endpoint, true, self.now_ms()) {
            crate::probe::tell_ejected(&self.control, &pool.name, &endpoint, ms);
        }
    }

    /// Answers with an error of Tidegate's own.
    async fn answer(
        &self,
        session: &mut Session,
        context: &mut Context,
        status: u16,
        code: &'static str,
        detail: &str,
    ) -> Result<()> {
        context.error_code = Some(code);
        if context.is_grpc {
            return grpc::answer(session, context, status, code, detail).await;
        }
        let mut answer = failure::answer(session.req_header(), status, code, detail)?;
        if let Some(seconds) = context.retry_after_s {
            answer.head.insert_header(http::header::RETRY_AFTER, seconds)?;
        }
        // After a request that was not understood, what follows might not be one either.
        if matches!(status, 400 | 408 | 413) {
            session.set_keepalive(None);
        }
        self.send(session, context, answer).await
    }

    /// Sends an answer that was made here.
    async fn send(&self, session: &mut Session, context: &mut Context, mut answer: Answer) -> Result<()> {
        context.status = answer.head.status.as_u16();
        if self.finish_answer(context, &mut answer.head)? {
            session.set_keepalive(None);
        }
        let has_body = session.req_header().method != http::Method::HEAD && !answer.body.is_empty();
        let body = has_body.then_some(answer.body);
        session.write_response_header(Box::new(answer.head), body.is_none()).await?;
        if let Some(body) = body {
            session.write_response_body(Some(body), true).await?;
        }
        Ok(())
    }

    /// What every answer gets, wherever it comes from; whether the client's connection is to end with it.
    pub(crate) fn finish_answer(&self, context: &Context, head: &mut ResponseHeader) -> Result<bool> {
        if head.version == http::Version::HTTP_10 {
            // The version is that of whoever speaks (RFC 9110, 6.2).
            head.set_version(http::Version::HTTP_11);
        }
        admit::assign_id(context, head)?;
        if let Some(route) = context.route() {
            headers::edit_answer(head, &route.response_headers)?;
        }
        Ok(self.is_closing())
    }

    /// Whether clients' connections are to end with their next answers.
    pub(crate) fn is_closing(&self) -> bool {
        self.drain.is_announced()
    }

    /// Ends an exchange whose answer was sent in full.
    pub(crate) fn complete(&self, context: &mut Context) {
        let outcome = match context.tries.upstream_status {
            Some(500..) => Outcome::Failed(Failure::Status5xx),
            Some(_) if context.is_grpc => grpc::outcome(context),
            _ => Outcome::Ok,
        };
        self.end_try(context, outcome);
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        let exchange = Exchange::current();
        exchange.take_begun().unwrap_or_else(|| self.new_context(exchange))
    }

    /// None: the default would build a compression module for every request.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        headers::forget_case(session.req_header_mut())?;
        if session.req_header().version == http::Version::HTTP_10 {
            // HTTP/1.0 knows no interim answers (RFC 9110, 15.2).
            session.set_ignore_info_resp(true);
        }
        if headers::asks_to_close(&session.req_header().headers) {
            session.set_keepalive(None);
        }
        if last_hop::answers(session, context).await? {
            return Ok(true);
        }
        upgrade::look(session, context);
        let mut admitted = match context.handed.take() {
            None => admit::admit(self, &session.req_header().into(), context),
            Some(Handed::Admitted(admitted)) => admitted,
            Some(Handed::TriedAgain) => return Ok(false),
            Some(Handed::Failed(error)) => return Err(error),
        };
        if admitted.is_ok() && !context.enter(self.now_ms()) {
            admitted = hold::hold(self, session, context).await?;
        }
        if let (Ok(()), Some(pool)) = (&admitted, context.pool()) {
            pool.cell.budget.request(context.arrived_ms);
        }
        match admitted.and_then(|()| own::answer(session, context)) {
            Ok(None) => Ok(false),
            Ok(Some(answer)) => {
                own::outlive_body(session);
                self.send(session, context, answer).await?;
                Ok(true)
            }
            Err(refusal) => {
                self.answer(session, context, refusal.status, refusal.code, &refusal.detail).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        context.begin_rescue();
        if hold::is_away(self, context)
            && let Err(refusal) = hold::hold(self, session, context).await?
        {
            return Error::e_explain(ErrorType::HTTPStatus(refusal.status), refusal.detail);
        }
        context.exchange.begin_try(retry::try_limit(context));
        let mut cell = context.begin_try(self.now_ms());
        // A failure after which there was another try may be followed by this one just as well.
        if let (None, Some(failure)) = (&cell, context.failure)
            && rescue::prepare(self, &Ask::of(session), context, failure, true)
        {
            context.begin_rescue();
            cell = context.begin_try(self.now_ms());
        }
        let Some(cell) = cell else {
            context.failure.get_or_insert(Failure::NoEndpoint);
            context.tries.found_none = true;
            return Error::e_explain(ErrorType::HTTPStatus(503), "no usable endpoint");
        };
        retry::await_turn(context, &cell).await;
        Ok(retry::peer(self, context, &cell))
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        was_kept: bool,
        _: &HttpPeer,
        _: RawFd,
        digest: Option<&Digest>,
        context: &mut Context,
    ) -> Result<()> {
        context.first_turn = None;
        context.tries.connection = begin_use(digest, was_kept).map_err(|GaveWay| {
            context.tries.gave_way = true;
            Error::explain(ErrorType::ConnectionClosed, "closed to make room for another").into_up()
        })?;
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        is_last: bool,
        context: &mut Context,
    ) -> Result<()> {
        let Some(facts) = &context.facts else { return Ok(()) };
        context.body_bytes += body.as_ref().map_or(0, |b| b.len() as u64);
        if facts.max_body > 0 && context.body_bytes > facts.max_body {
            return Err(
                Error::explain(ErrorType::HTTPStatus(413), "the request body is too large").into_down()
            );
        }
        self.mirror.body(context, body.as_deref().unwrap_or_default(), is_last);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        // A retry sends the body from its beginning.
        context.body_bytes = 0;
        rewrite::set_target(request, context)?;
        let version = session.req_header().version;
        if version == http::Version::HTTP_10 {
            request.remove_header(&http::header::EXPECT);
        }
        if let Some(endpoint) = context.endpoint()
            && !request.headers.contains_key(http::header::HOST)
        {
            let host = match admit::authority(session.req_header()) {
                "" => endpoint.address.host(),
                authority => authority.to_owned(),
            };
            request.insert_header(http::header::HOST, host)?;
        }
        rewrite::forward(request, context, version)?;
        headers::trailers(request, &session.req_header().headers)?;
        if let Some(protocol) = context.upgrade.as_ref().filter(|_| request.version == http::Version::HTTP_11)
        {
            headers::upgrade(request, protocol)?;
        }
        rewrite::finish(request, context)?;
        self.mirror.begin(context, request, !session.as_mut().is_body_empty());
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        let status = answer.status.as_u16();
        if status == 101 && context.upgrade.is_none() {
            // No upgrade was asked for: what follows would not be HTTP.
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, "unsolicited 101").into_up());
        }
        if status == 101 {
            context.tries.upstream_status = Some(status);
            context.status = status;
            upgrade::opened(self, session, context);
            return Ok(());
        }
        if status < 200 {
            return Ok(());
        }
        note_answer(answer, context)?;
        if status >= 500 && retry::is_tried_again(self, &Ask::of(session), context, Failure::Status5xx) {
            return Err(retry::instead_of(status));
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        headers::back(answer)?;
        // pingora closes after an answer that came before the request was whole; an interim one is none.
        session.set_close_on_response_before_downstream_finish(!answer.status.is_informational());
        if answer.status.is_informational() {
            return Ok(());
        }
        if session.req_header().version == http::Version::HTTP_10 {
            // HTTP/1.0 knows no chunks (RFC 9112, 6.1): the end of the connection ends the body.
            if answer.headers.contains_key(http::header::TRANSFER_ENCODING) {
                answer.remove_header(&http::header::TRANSFER_ENCODING);
                session.set_keepalive(None);
            }
        }
        context.status = answer.status.as_u16();
        if self.finish_answer(context, answer)? {
            session.set_keepalive(None);
        }
        Ok(())
    }

    async fn response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        context: &mut Context,
    ) -> Result<Option<Bytes>> {
        grpc::note(context, trailers);
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        retry::after_no_connection(self, &Ask::of(session), context, &mut error);
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        retry::after_failure(self, &Ask::of(session), context, &mut error, reused);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        let nothing_sent = session.response_written().is_none_or(|head| head.status.is_informational());
        let (status, code) = self.ending(error, context);
        if nothing_sent && status != CLIENT_GONE {
            context.exchange.clear_deadlines();
            session.set_keepalive(None);
            let detail = retry::detail(context, status, code);
            if let Err(error) = self.answer(session, context, status, code, &detail).await {
                tracing::debug!("an error could not be told to the client: {error}");
            }
        } else if nothing_sent {
            context.status = CLIENT_GONE;
        } else {
            context.error_code = Some(code);
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        if error.is_none() {
            self.complete(context);
        }
        let bytes = u64::try_from(session.body_bytes_sent()).unwrap_or(u64::MAX);
        self.access.request(|| session.req_header().into(), bytes, context);
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Context,
        _: &Error,
        _: pingora_proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

impl Gateway {
    /// The status and code of an exchange that an error ended; the pool is charged where it is to blame.
    fn ending(&self, error: &Error, context: &mut Context) -> (u16, &'static str) {
        let cause = cause(error, context);
        match cause {
            Cause::Upstream(failure, timed_out) => {
                self.end_try(context, Outcome::Failed(failure));
                status_of(failure, timed_out)
            }
            Cause::ClientGone => {
                self.end_try(context, context.outcome_without_client());
                (CLIENT_GONE, CLIENT_GONE_CODE)
            }
            Cause::Client(status) => {
                self.end_try(context, context.outcome_without_client());
                (status, code_of(status))
            }
            Cause::Ours(status) => {
                self.end_try(context, Outcome::Client);
                (status, if context.tries.found_none { "no_endpoint" } else { code_of(status) })
            }
        }
    }
}

/// Who or what ended a try or an exchange: the error alone does not tell, when a time was over.
fn cause(error: &Error, context: &Context) -> Cause {
    let exchange = &context.exchange;
    if exchange.bad_body() {
        return Cause::Client(400);
    }
    let cause = if exchange.timed_out() || exchange.try_timed_out() {
        Cause::Upstream(Failure::Timeout, true)
    } else {
        classify(error, context.tries.upstream_status.is_some())
    };
    match cause {
        Cause::Upstream(Failure::Timeout, _) if exchange.awaits_client() => Cause::Client(408),
        cause => cause,
    }
}

/// Takes note of the status of an upstream's answer.
pub(crate) fn note_status(status: u16, context: &mut Context) {
    context.tries.upstream_status = Some(status);
    context.grpc_status = None;
    context.exchange.answered();
}

/// Takes note of the head of an upstream's answer; an error is the upstream's fault.
pub(crate) fn note_answer(answer: &ResponseHeader, context: &mut Context) -> Result<()> {
    if let Err(why) = http1::answer::check(answer.version, answer.status, &answer.headers) {
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, why).into_up());
    }
    note_status(answer.status.as_u16(), context);
    grpc::note(context, &answer.headers);
    Ok(())
}
