//! Copies of requests for other pools: gathered while a request is sent, sent on by a thread of their own.
//!
//! A copy is what the first try sends upstream: its head as the route rewrote it, and its body up to
//! [`MOST_BODY_BYTES`]. It is begun once for a request, whatever is tried after that, and handed over
//! when the whole of it is there; a request that does not come in whole has no copy. A worker only
//! clones the head and copies the body. Everything else, and all waiting, is on the mirror's runtime
//! ([`lane`]), and what is kept for it is bounded ([`budget`]): a copy that finds no room is dropped.
//!
//! Copies touch nothing that requests are decided or judged by: no in-flight count, no turn of a
//! balance, no ejection, no charge. A drain does not wait for them.
//!
//! Stage before: [`crate::gateway`]; next: [`lane`].

mod budget;
mod lane;

use std::sync::Arc;

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use pingora_http::RequestHeader;
use tidegate_admin::Control;
use tidegate_core::mirror::Outcome;
use tidegate_core::pool::Pool;
use tokio::runtime::Handle;

use crate::context::Context;
use crate::headers::content_length;
use budget::{Budget, Reserved};
use lane::{Lane, Order};

/// A longer body is left out of the copy.
const MOST_BODY_BYTES: usize = 1 << 20;
/// Told to who gets a copy; a request that has it is a copy already, and is not copied again.
const MIRROR: HeaderName = HeaderName::from_static("x-tidegate-mirror");
/// Told with a copy whose body was too long.
const MIRROR_BODY: HeaderName = HeaderName::from_static("x-tidegate-mirror-body");

/// Makes copies and hands them over.
pub(crate) struct Mirror {
    control: Arc<Control>,
    /// Where copies are sent from.
    runtime: Handle,
    budget: Arc<Budget>,
}

/// How far a request's copy is.
#[derive(Debug, Default)]
pub(crate) enum Mirroring {
    /// Nothing has been sent upstream yet.
    #[default]
    NotBegun,
    /// The body is on its way.
    Gathering(Box<Gathered>),
    /// Handed over, or there is none.
    Over,
}

/// A copy that is not whole yet.
#[derive(Debug)]
pub(crate) struct Gathered {
    head: Parts,
    body: BytesMut,
    targets: Vec<Arc<Pool>>,
    reserved: Reserved,
}

impl Mirror {
    pub(crate) fn new(control: Arc<Control>, runtime: Handle) -> Self {
        Self { control, runtime, budget: Arc::new(Budget::default()) }
    }

    /// A try sends this head. The first one begins the copy; a later one sends the body anew.
    pub(crate) fn begin(&self, context: &mut Context, head: &RequestHeader, has_body: bool) {
        match &mut context.mirroring {
            Mirroring::NotBegun => {}
            Mirroring::Gathering(copy) => return copy.begin_again(),
            Mirroring::Over => return,
        }
        context.mirroring = Mirroring::Over;
        let targets = targets(context);
        if targets.is_empty() || context.is_grpc || !can_be_copied(head) {
            return;
        }
        let Some(copy) = Gathered::new(head, targets.clone(), &self.budget) else {
            return drop_all(&targets);
        };
        let length = content_length((&head.headers).into()).and_then(|length| usize::try_from(length).ok());
        if has_body && !copy.is_too_long(length.unwrap_or(0)) {
            context.mirroring = Mirroring::Gathering(Box::new(copy));
        } else {
            self.hand_over(copy, has_body);
        }
    }

    /// A piece of the body is sent.
    pub(crate) fn body(&self, context: &mut Context, piece: &[u8], is_last: bool) {
        let Mirroring::Gathering(copy) = &mut context.mirroring else { return };
        let is_too_long = copy.is_too_long(piece.len());
        let has_room = is_too_long || copy.add(piece);
        if has_room && !is_last && !is_too_long {
            return;
        }
        if let Mirroring::Gathering(copy) = std::mem::replace(&mut context.mirroring, Mirroring::Over) {
            if has_room { self.hand_over(*copy, is_too_long) } else { drop_all(&copy.targets) }
        }
    }

    /// Gives a copy to the lane of each pool. Never waits.
    fn hand_over(&self, mut copy: Gathered, without_body: bool) {
        if without_body {
            copy.leave_body_out();
        }
        let Gathered { head, body, targets, reserved } = copy;
        let (body, reserved) = (body.freeze(), Arc::new(reserved));
        for pool in targets {
            let Some(place) = Lane::of(&pool.cell).and_then(Lane::place) else {
                pool.cell.copies.add(Outcome::Dropped);
                continue;
            };
            let order =
                Order { head: head.clone(), body: body.clone(), reserved: Arc::clone(&reserved), place };
            self.runtime.spawn(lane::carry_out(order, pool, Arc::clone(&self.control)));
        }
    }
}

/// The pools that get a copy of this request, as drawn.
fn targets(context: &mut Context) -> Vec<Arc<Pool>> {
    let mut entropy = context.entropy;
    let mirrors = context.route().map_or(&[][..], |route| &route.mirrors);
    let taken = mirrors.iter().filter(|mirror| mirror.takes(entropy.next_u64()));
    let targets = taken.map(|mirror| Arc::clone(context.snapshot.pool(mirror.pool))).collect();
    context.entropy = entropy;
    targets
}

fn drop_all(targets: &[Arc<Pool>]) {
    for pool in targets {
        pool.cell.copies.add(Outcome::Dropped);
    }
}

/// Not copied: what is a copy, what asks for another protocol than HTTP, and what has no path. (Nor are gRPC
/// calls, which are made over HTTP/2 only.)
fn can_be_copied(head: &RequestHeader) -> bool {
    !head.headers.contains_key(MIRROR)
        && !head.headers.contains_key(UPGRADE)
        && head.raw_path().starts_with(b"/")
        && head.raw_path_is_utf8()
}

impl Gathered {
    /// A copy of a head; `None` when there is no room for it.
    fn new(head: &RequestHeader, targets: Vec<Arc<Pool>>, budget: &Arc<Budget>) -> Option<Self> {
        let lines = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        let mut reserved = Reserved::none(budget);
        if !reserved.grow(lines.sum::<usize>() + head.raw_path().len()) {
            return None;
        }
        let mut head = head.as_owned_parts();
        head.version = http::Version::HTTP_11;
        head.headers.insert(MIRROR, HeaderValue::from_static("1"));
        Some(Self { head, body: BytesMut::new(), targets, reserved })
    }

    /// Whether so many bytes more are too many.
    fn is_too_long(&self, more_bytes: usize) -> bool {
        self.body.len().saturating_add(more_bytes) > MOST_BODY_BYTES
    }

    /// Adds to the body; false when there is no room for it.
    fn add(&mut self, piece: &[u8]) -> bool {
        let has_room = self.reserved.grow(piece.len());
        if has_room {
            self.body.extend_from_slice(piece);
        }
        has_room
    }

    /// The body is sent from its beginning. What was reserved stays so, until the copy is gone.
    fn begin_again(&mut self) {
        self.body.clear();
    }

    fn leave_body_out(&mut self) {
        self.body = BytesMut::new();
        self.head.headers.remove(CONTENT_LENGTH);
        self.head.headers.remove(TRANSFER_ENCODING);
        self.head.headers.insert(MIRROR_BODY, HeaderValue::from_static("none"));
    }
}
