//! A connection after an upgrade: bytes both ways, until someone ends it.
//!
//! Idling has a limit of its own, counted from the last byte either way. When a drain's time is over, or the
//! idle time is, a WebSocket is told so: both sides get a Close frame with 1001, "going away" (RFC 6455,
//! 7.4.1), where one fits between two frames. Anything else is closed without a word, for no word is known.
//! Stage before: [`crate::gateway`] takes the upstream's 101; [`super::client`] asks here for what to do.

mod frames;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::select_all;
use tidegate_core::cell::PoolCell;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use frames::Frames;

/// How long a frame under way may take to end, once the tunnel is to end behind it.
const LAST_FRAME: Duration = Duration::from_secs(1);

/// What a tunnel is, as the gateway opens it.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Whether its frames are known.
    pub(crate) is_websocket: bool,
    /// How long nothing may come either way.
    pub(crate) idle: Duration,
    /// Any of these ends it.
    pub(crate) cuts: Vec<CancellationToken>,
    /// Counts it for as long as it is open.
    pub(crate) counted: Tunnels,
}

/// Counts a tunnel of a pool for as long as it lives.
#[derive(Debug)]
pub(crate) struct Tunnels(Arc<PoolCell>);

impl Tunnels {
    pub(crate) fn count(pool: &Arc<PoolCell>) -> Self {
        pool.tunnel_opened();
        Self(Arc::clone(pool))
    }
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        self.0.tunnel_closed();
    }
}

/// A tunnel that is open.
pub(super) struct Tunnel {
    /// Frames on their way to the client, and from it; `None` = of an unknown protocol.
    frames: Option<(Frames, Frames)>,
    idle: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
    cut: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    /// Set once it is to end: when, at the latest.
    ending: Option<Instant>,
    said_to_client: bool,
    said_upstream: bool,
    #[expect(dead_code, reason = "held, and given back when the tunnel is over")]
    counted: Tunnels,
}

/// How a tunnel goes on.
pub(super) enum Next {
    /// As before.
    On,
    /// With these as the client's last words.
    Say(&'static [u8]),
    /// It is over.
    Over,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").field("ending", &self.ending).finish_non_exhaustive()
    }
}

impl Tunnel {
    pub(super) fn new(opened: Opened) -> Self {
        let Opened { is_websocket, idle, cuts, counted } = opened;
        let cuts: Vec<_> = cuts.into_iter().map(|token| Box::pin(token.cancelled_owned())).collect();
        Self {
            frames: is_websocket.then(Default::default),
            idle,
            last: Instant::now(),
            timer: Box::pin(tokio::time::sleep(idle)),
            cut: Box::pin(async {
                let _ = select_all(cuts).await;
            }),
            ending: None,
            said_to_client: false,
            said_upstream: false,
            counted,
        }
    }

    /// Bytes have come from the client.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        self.last = Instant::now();
        if let Some((_, from_client)) = &mut self.frames {
            from_client.look(bytes);
        }
    }

    /// How many of these bytes may go to the client, if it is to end: up to the end of a frame.
    pub(super) fn allowed(&self, bytes: &[u8]) -> usize {
        match (&self.frames, self.ending) {
            (Some((to_client, _)), Some(_)) if self.said_to_client || to_client.is_between() => 0,
            (Some((to_client, _)), Some(_)) => to_client.left_of_frame().min(bytes.len()),
            _ => bytes.len(),
        }
    }

    /// Bytes have gone to the client.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        self.last = Instant::now();
        if let Some((to_client, _)) = &mut self.frames {
            to_client.look(bytes);
        }
    }

    /// What the client is to be told before the end, once that is possible.
    pub(super) fn farewell(&mut self) -> Option<&'static [u8]> {
        let (to_client, _) = self.frames.as_ref()?;
        let now =
            self.ending.is_some() && !self.said_to_client && to_client.is_between() && !to_client.closed();
        now.then(|| {
            self.said_to_client = true;
            frames::GOING_AWAY
        })
    }

    /// Looks whether it is time to end. Called whenever the client's side is polled.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Next {
        if self.ending.is_none() && (self.cut.as_mut().poll(cx).is_ready() || self.has_idled(cx)) {
            let latest = Instant::now() + LAST_FRAME;
            self.ending = Some(latest);
            self.timer.as_mut().reset(latest);
        }
        let Some(latest) = self.ending else { return Next::On };
        let is_late = self.timer.as_mut().poll(cx).is_ready() && Instant::now() >= latest;
        let Some((to_client, from_client)) = &self.frames else { return Next::Over };
        let told = self.said_to_client || to_client.closed();
        if told && !self.said_upstream && from_client.is_between() && !from_client.closed() {
            self.said_upstream = true;
            return Next::Say(frames::GOING_AWAY_MASKED);
        }
        if told || is_late { Next::Over } else { Next::On }
    }

    fn has_idled(&mut self, cx: &mut Context<'_>) -> bool {
        while self.timer.as_mut().poll(cx) == Poll::Ready(()) {
            if self.last.elapsed() >= self.idle {
                return true;
            }
            let end = self.last + self.idle;
            self.timer.as_mut().reset(end);
        }
        false
    }
}
