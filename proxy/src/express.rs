//! The express lane: plain exchanges, moved by hand.
//!
//! Most requests are plain: HTTP/1.1 in and out, a body with a length, in chunks or none, an endpoint without
//! TLS. For them pingora's machinery does more than is needed. Here the same functions as in the gateway
//! admit the request, ready its head and the answer's, and record what became of it; only the bytes are moved
//! in another way ([`relay`]): by the connection's own task, through two buffers, over connections to
//! endpoints that are kept beside the endpoint ([`crate::peer`]).
//!
//! The lane makes one try. Nothing is taken from the client's stream until the answer's head is there, or
//! more has been sent than is kept for another try. So whatever the lane does not know, and whatever goes
//! wrong, is handed to the gateway together with what is known by then ([`Handed`]), as if it had been there
//! from the beginning: retries, rescues, queues and errors are in one place. `server.express = false` turns
//! the lane off; nothing else may change by that.
//!
//! Stage before: [`crate::listen`]; next: the endpoint, or [`crate::gateway`].

mod answer;
mod relay;
mod request;
mod stop;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::{Method, StatusCode};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tidegate_core::address::Address;
use tidegate_core::config::Protocol;
use tidegate_core::decide::KeyOrigin;
use tidegate_core::http1::framing::Framing;
use tidegate_core::http1::head::Head;
use tidegate_core::pool::Timeouts;

use crate::context::Context;
use crate::gateway::{Gateway, Refusal, connect_limit, instead_of, note_answer, note_status, own, try_limit};
use crate::headers::back;
use crate::listen::ClientStream;
use crate::peer::{Link, keep, open, take_kept};
use answer::{Begun, Parsed, Simple};
use relay::{Limits, Relay};
use request::Came;
use stop::Stop;

/// How far a request has come that the gateway is to go on with.
#[derive(Debug)]
pub(crate) enum Handed {
    /// It was admitted, or refused.
    Admitted(Result<(), Refusal>),
    /// A try has failed, and there is to be another.
    TriedAgain,
    /// A try has failed, and with it the request.
    Failed(Box<Error>),
}

/// What has become of a request.
pub(crate) enum Served {
    /// It was answered, and the connection may be used again.
    Kept,
    /// The connection is over.
    Over,
    /// It is the gateway's, with what is known of it, if anything is.
    Handed(Option<Box<Context>>),
}

/// Serves a request whose head lies at the beginning of what the client has sent.
pub(crate) async fn serve(
    client: &mut ClientStream,
    head: &Head,
    gateway: &Gateway,
    idle: Duration,
) -> Served {
    let Some(came) = Came::read(&client.unread[..head.length], head) else { return Served::Handed(None) };
    let mut context = Box::new(gateway.new_context(Arc::clone(client.exchange())));
    let admitted = gateway.admit(&came.asked(), &mut context);
    let goes_on = admitted.is_ok() && is_plain(&context, head.body) && context.enter(gateway.now_ms());
    if !goes_on {
        context.handed = Some(Handed::Admitted(admitted));
        return Served::Handed(Some(context));
    }
    if let Some(pool) = context.pool() {
        pool.cell.budget.request(context.arrived_ms);
    }
    let passes_answers = context.route().is_some_and(|route| route.response_headers.is_empty())
        && !matches!(context.decision.and_then(|decision| decision.key), Some(KeyOrigin::Assigned(_)));
    let closes = came.closes;
    let mut exchange = Exchange { gateway, context, came, closes, passes_answers };
    match exchange.run(client, head, idle).await {
        Ok(()) if exchange.closes => {
            client.close().await;
            Served::Over
        }
        Ok(()) => Served::Kept,
        Err(Ended::Broken) => Served::Over,
        Err(Ended::Unanswered(handed)) => {
            exchange.context.handed = Some(handed);
            Served::Handed(Some(exchange.context))
        }
    }
}

/// Whether the lane knows all that the request's route and pool ask for.
fn is_plain(context: &Context, body: Framing) -> bool {
    let (Some(route), Some(pool), Some(cell)) = (context.route(), context.pool(), context.endpoint()) else {
        return false;
    };
    let is_tcp = matches!(cell.address, Address::Tcp(_));
    // A body that is copied must be here in whole in the end; any other is gathered by the gateway.
    let is_copied_easily = match body {
        Framing::Done => true,
        Framing::Length(length) => route.mirrors.is_empty() || length <= relay::MAX_REPEATED as u64,
        Framing::Chunked(_) | Framing::Rest => route.mirrors.is_empty(),
    };
    is_tcp && pool.protocol != Protocol::H2 && pool.tls.is_none() && is_copied_easily
}

/// How an exchange ended that was not completed.
enum Ended {
    /// The client has seen nothing of an answer.
    Unanswered(Handed),
    /// In the middle of an answer.
    Broken,
}

/// An exchange that the lane carries.
struct Exchange<'a> {
    gateway: &'a Gateway,
    context: Box<Context>,
    came: Came,
    /// The client's connection ends with the answer.
    closes: bool,
    /// Nothing is to be added to answers, nor taken from them.
    passes_answers: bool,
}

impl Exchange<'_> {
    /// Carries it to its end.
    async fn run(&mut self, client: &mut ClientStream, head: &Head, idle: Duration) -> Result<(), Ended> {
        let (mut link, was_kept) = match self.connect().await {
            Ok(connected) => connected,
            Err(mut error) => {
                if let Some(request) = self.came.head() {
                    self.gateway.after_no_connection(&request, &mut self.context, &mut error);
                }
                return Err(Ended::Unanswered(handed(error)));
            }
        };
        let answers_head = *self.came.method() == Method::HEAD;
        let is_chunked = matches!(head.body, Framing::Chunked(_));
        let has_body = !head.body.is_done();
        let sent = match self.ready_request(is_chunked, has_body) {
            Ok(sent) => sent,
            Err(error) => return Err(Ended::Unanswered(Handed::Failed(error))),
        };
        let mut relay = Relay::new(client, &mut link.socket, head, sent, self.limits(idle));
        let copied = if has_body { self.copy_body(&mut relay, head).await } else { Ok(()) };
        let answered = match copied {
            Ok(()) => self.answer(&mut relay, answers_head).await,
            stopped => stopped,
        };
        if let Err(stop) = answered {
            self.context.body_bytes = relay.body_bytes();
            let is_whole = relay.give_back(self.came.bytes(), head.body);
            return Err(self.unanswered(stop, is_whole, was_kept));
        }
        let rest = relay.rest().await;
        self.context.body_bytes = relay.body_bytes();
        let (sent_bytes, is_reusable) = (relay.sent_bytes(), relay.is_reusable());
        relay.finish();
        match rest {
            Ok(()) => self.gateway.complete(&mut self.context),
            Err(stop) => {
                let error = stop.into_error(&self.context);
                self.gateway.broke_off(&error, &mut self.context);
                self.log(sent_bytes);
                return Err(Ended::Broken);
            }
        }
        if is_reusable {
            keep(link, self.gateway.now_ms());
        }
        self.log(sent_bytes);
        Ok(())
    }

    /// Writes the exchange's line in the access log.
    fn log(&mut self, sent_bytes: u64) {
        self.gateway.log(|| self.came.asked(), sent_bytes, &mut self.context);
    }

    /// A connection to the endpoint, and whether it was kept.
    async fn connect(&mut self) -> Result<(Link, bool)> {
        let (gateway, context) = (self.gateway, &mut *self.context);
        let (Some(cell), Some(pool)) = (context.begin_try(gateway.now_ms()), context.pool().cloned()) else {
            return Error::e_explain(ErrorType::HTTPStatus(503), "no usable endpoint");
        };
        if let Some((link, in_use)) = take_kept(&cell, pool.timeouts.idle, context.tries.began_ms) {
            context.tries.connection = Some(in_use);
            return Ok((link, true));
        }
        let link = open(&pool, &cell, connect_limit(context)).await?;
        context.tries.connection = Some(link.first_use());
        Ok((link, false))
    }

    /// The request's head as it goes to the endpoint.
    fn ready_request(&mut self, is_chunked: bool, has_body: bool) -> Result<BytesMut> {
        if let Some(own) = own(&self.came.asked(), &self.context) {
            return Ok(self.came.written(&own, is_chunked));
        }
        let ready = |head: &mut RequestHeader| self.gateway.ready_request(head, has_body, &mut self.context);
        let written = self.came.written_with(is_chunked, ready)?;
        written.ok_or_else(|| Error::explain(ErrorType::InternalError, "a head cannot be read again"))
    }

    /// Where the request's route is mirrored: sends its body, and copies it once the endpoint has all of it.
    async fn copy_body(&mut self, relay: &mut Relay<'_>, head: &Head) -> Result<(), Stop> {
        if self.context.route().is_none_or(|route| route.mirrors.is_empty()) {
            return Ok(());
        }
        relay.upload().await?;
        if relay.is_request_sent()
            && let Some(body) = relay.body(head.length)
        {
            self.gateway.copy_body(body, &mut self.context);
        }
        Ok(())
    }

    fn limits(&self, idle: Duration) -> Limits {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let of_pool = |time: fn(&Timeouts) -> Duration| {
            self.context.pool().map_or(u64::MAX, |pool| ms(time(&pool.timeouts)))
        };
        Limits {
            client_ms: ms(idle),
            read_ms: of_pool(|timeouts| timeouts.read),
            write_ms: of_pool(|timeouts| timeouts.write),
            try_ms: try_limit(&self.context).map(ms),
            deadline_ms: self.context.deadline_ms,
            max_body: self.context.facts.as_ref().map_or(0, |facts| facts.max_body),
        }
    }

    /// Waits for the answer's head, and begins to send it.
    async fn answer(&mut self, relay: &mut Relay<'_>, answers_head: bool) -> Result<(), Stop> {
        loop {
            if self.answer_simply(relay, answers_head) {
                return Ok(());
            }
            let Some(Parsed { mut head, length }) = answer::parse(relay.unread()).map_err(Stop::Upstream)?
            else {
                relay.more_of_head().await?;
                continue;
            };
            relay.take_head(length);
            if head.status.is_informational() {
                relay.say(&interim(&mut head).map_err(Stop::Upstream)?).await?;
                continue;
            }
            let begun = self.begin_answer(&mut head, relay, answers_head).map_err(Stop::Upstream)?;
            relay.begin_answer(begun);
            return Ok(());
        }
    }

    /// Begins to send an answer with which nothing is to be done but to pass it on; whether it is one.
    fn answer_simply(&mut self, relay: &mut Relay<'_>, answers_head: bool) -> bool {
        if !self.passes_answers {
            return false;
        }
        let Some(answer) = Simple::read(relay.unread(), answers_head).filter(|answer| answer.status < 500)
        else {
            return false;
        };
        self.closes |= self.gateway.is_closing() || !relay.is_request_sent();
        note_status(answer.status, &mut self.context);
        self.context.status = answer.status;
        let (length, begun) = (answer.length, answer.ready(self.closes));
        drop(answer);
        relay.take_head(length);
        relay.begin_answer(begun);
        true
    }

    /// Readies the answer's head for the client; an error when it is not for the client.
    fn begin_answer(
        &mut self,
        head: &mut ResponseHeader,
        relay: &Relay<'_>,
        answers_head: bool,
    ) -> Result<Begun> {
        note_answer(head, &mut self.context)?;
        let is_kept = answer::keeps_connection(head);
        let status = head.status.as_u16();
        if status >= 500
            && let Some(request) = self.came.head()
            && self.gateway.repeats_5xx(&request, relay.is_whole(), &mut self.context)
        {
            return Err(instead_of(status));
        }
        back(head)?;
        self.context.status = status;
        let framing = answer::framing(head, answers_head);
        self.closes |= self.gateway.finish_answer(&self.context, head)? || !relay.is_request_sent();
        answer::tell(head, &framing, self.closes)?;
        Ok(Begun { bytes: answer::written(head), framing, is_kept })
    }

    /// Ends a try of which the client has seen nothing.
    fn unanswered(&mut self, stop: Stop, is_whole: bool, was_kept: bool) -> Ended {
        let mut error = stop.into_error(&self.context);
        if let Some(request) = self.came.head() {
            self.gateway.after_failure(&request, is_whole, was_kept, &mut self.context, &mut error);
        }
        Ended::Unanswered(handed(error))
    }
}

/// An interim answer as the client gets it.
fn interim(head: &mut ResponseHeader) -> Result<BytesMut> {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        // No upgrade was asked for: what follows would not be HTTP.
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, "unsolicited 101").into_up());
    }
    back(head)?;
    Ok(answer::written(head))
}

fn handed(error: Box<Error>) -> Handed {
    if error.retry() { Handed::TriedAgain } else { Handed::Failed(error) }
}
