//! What a client does to an HTTP/2 connection, frame by frame, seen from outside the protocol.
//!
//! Frames that are cheap to send and cost work (resets, pings, settings, priorities, empty data, window
//! updates) are bounded by what comes of them: each takes from an allowance, which time, finished streams
//! and data give back to. An ordinary client never comes near its end, a flood meets it within a
//! millisecond, whatever the frame and however it is mixed: rapid reset (CVE-2023-44487), resets that the
//! client provokes (CVE-2025-8671), floods of PING and SETTINGS (CVE-2019-9512, 9515), of CONTINUATION
//! (CVE-2024-27316) and of empty frames (CVE-2019-9518).
//!
//! Beside that, what the protocol forbids and the `h2` crate passes over is noticed here: a connection that
//! does not begin with SETTINGS, and what [`Heads`] finds. All else is that crate's business.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use h2::Reason;
use parking_lot::Mutex;
use tidegate_admin::clock::Clock;
use tokio::sync::Notify;

use super::malformed::{Heads, Malformed};

/// The allowance of a new connection, and the most that it can save up.
const ALLOWANCE: i64 = 1_000;
/// What time gives back, each second.
const PER_SECOND: u64 = 100;
/// A stream that is reset costs a request's work.
const RESET: i64 = 3;
/// As many requests with a fragment wait to be taken as there may be streams.
const MAX_FRAGMENTS: usize = super::MAX_STREAMS as usize;

const HEADER: usize = 9;

/// What is known of a connection, beside what it says.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Clock,
    allowance: AtomicI64,
    refilled_ms: AtomicU64,
    /// Since when a head is under way that is not complete; 0 = none is.
    head_since_ms: AtomicU64,
    /// Streams whose request has a fragment in its path, until the request is taken.
    fragments: Mutex<Vec<u32>>,
    fault: OnceLock<Fault>,
    trip: Notify,
}

/// Why a connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The allowance is used up.
    Flood,
    /// It does not begin with SETTINGS (RFC 9113, 3.4).
    NoSettings,
    /// A pseudo-header came among trailers, or so many fragments that no request comes of them.
    Malformed,
}

impl Fault {
    /// What the client is told.
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Flood => Reason::ENHANCE_YOUR_CALM,
            Self::NoSettings | Self::Malformed => Reason::PROTOCOL_ERROR,
        }
    }
}

impl Watch {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            allowance: AtomicI64::new(ALLOWANCE),
            refilled_ms: AtomicU64::new(clock.mono_ms()),
            head_since_ms: AtomicU64::new(0),
            fragments: Mutex::new(Vec::new()),
            fault: OnceLock::new(),
            trip: Notify::new(),
        }
    }

    /// Takes from the allowance; false when it is used up.
    fn charge(&self, cost: i64) -> bool {
        self.allowance.fetch_sub(cost, Relaxed) >= cost || self.refill() || self.end(Fault::Flood)
    }

    /// The connection must end; always false, as nothing more is to be read.
    fn end(&self, fault: Fault) -> bool {
        if self.fault.set(fault).is_ok() {
            self.trip.notify_one();
        }
        false
    }

    /// Gives back what time has earned; whether anything is left then.
    fn refill(&self) -> bool {
        let now_ms = self.clock.mono_ms();
        let earned = now_ms.saturating_sub(self.refilled_ms.swap(now_ms, Relaxed)) * PER_SECOND / 1_000;
        self.credit(i64::try_from(earned).unwrap_or(ALLOWANCE));
        self.allowance.load(Relaxed) >= 0
    }

    /// Gives back to the allowance.
    pub(super) fn credit(&self, earned: i64) {
        let full = |left: i64| Some(left.saturating_add(earned).min(ALLOWANCE));
        // The closure always answers Some, so this cannot fail.
        let _ = self.allowance.fetch_update(Relaxed, Relaxed, full);
    }

    /// A stream has come to an end that is no fault of the client's.
    pub(super) fn finished(&self) {
        self.credit(RESET);
    }

    pub(super) fn is_tripped(&self) -> bool {
        self.fault.get().is_some()
    }

    /// Resolves when the connection must end.
    pub(super) async fn tripped(&self) -> Fault {
        loop {
            if let Some(fault) = self.fault.get() {
                return *fault;
            }
            self.trip.notified().await;
        }
    }

    /// Whether the path of this stream's request has a fragment. Asked once.
    pub(super) fn has_fragment(&self, stream: u32) -> bool {
        let mut fragments = self.fragments.lock();
        let at = fragments.iter().position(|other| *other == stream);
        at.map(|at| fragments.swap_remove(at)).is_some()
    }

    /// Whether a head has been under way for longer than this.
    pub(super) fn awaits_head_since(&self, limit: Duration) -> bool {
        let since_ms = self.head_since_ms.load(Relaxed);
        let waited_ms = self.clock.mono_ms().saturating_sub(since_ms);
        since_ms > 0 && u128::from(waited_ms) > limit.as_millis()
    }

    /// A frame has come. False when the connection has used its allowance up.
    fn received(&self, frame: Frame) -> bool {
        match frame.kind {
            Kind::Headers | Kind::Continuation => {
                let since_ms = if frame.ends_head() { 0 } else { self.clock.mono_ms().max(1) };
                if since_ms == 0 || frame.kind == Kind::Headers {
                    self.head_since_ms.store(since_ms, Relaxed);
                }
                frame.kind == Kind::Headers || self.charge(1)
            }
            Kind::Data if frame.length > 0 => {
                self.credit(1);
                true
            }
            Kind::Reset => self.charge(RESET),
            Kind::Data | Kind::Settings | Kind::Other => self.charge(1),
        }
    }

    /// A head or trailers have come that are malformed. False when that is the connection's end.
    fn malformed(&self, malformed: Malformed) -> bool {
        let Malformed::Fragment { stream } = malformed else { return self.end(Fault::Malformed) };
        let mut fragments = self.fragments.lock();
        if fragments.len() == MAX_FRAGMENTS {
            return self.end(Fault::Malformed);
        }
        fragments.push(stream);
        true
    }

    /// A frame was sent: data that somebody reads is worth an acknowledgement and a measurement, and a reset
    /// is one that the client has provoked, unless [`Self::finished`] says otherwise.
    fn sent(&self, frame: Frame) {
        match frame.kind {
            Kind::Data if frame.length > 0 => self.credit(3),
            Kind::Reset => drop(self.charge(RESET)),
            _ => {}
        }
    }
}

/// Which way frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Reset,
    Settings,
    Continuation,
    Other,
}

/// What the header of a frame says (RFC 9113, 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    flags: u8,
    pub(super) stream: u32,
    pub(super) length: usize,
}

impl Frame {
    fn of(header: [u8; HEADER]) -> Self {
        let kind = match header[3] {
            0 => Kind::Data,
            1 => Kind::Headers,
            3 => Kind::Reset,
            4 => Kind::Settings,
            9 => Kind::Continuation,
            _ => Kind::Other,
        };
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let stream = u32::from_be_bytes([header[5] & 0x7f, header[6], header[7], header[8]]);
        Self { kind, flags: header[4], stream, length: length as usize }
    }

    fn is_acknowledgement(self) -> bool {
        self.flags & 0x1 != 0
    }

    pub(super) fn ends_head(self) -> bool {
        self.flags & 0x4 != 0
    }

    pub(super) fn is_padded(self) -> bool {
        self.flags & 0x8 != 0
    }

    pub(super) fn has_priority(self) -> bool {
        self.flags & 0x20 != 0
    }
}

/// Follows the frames of one direction through whatever pieces they come in.
#[derive(Debug)]
pub(super) struct Scan {
    way: Way,
    /// Bytes that come before the next header.
    left: usize,
    header: [u8; HEADER],
    have: usize,
    is_first: bool,
    heads: Heads,
}

impl Scan {
    /// From the beginning of a direction; `preface` bytes come before its first frame.
    pub(super) fn new(way: Way, preface: usize) -> Self {
        Self { way, left: preface, header: [0; HEADER], have: 0, is_first: true, heads: Heads::new() }
    }

    /// Looks at the next bytes; false when the connection must end.
    pub(super) fn look(&mut self, mut bytes: &[u8], watch: &Watch) -> bool {
        loop {
            let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= payload.len();
            self.heads.read(payload);
            if self.left == 0 && self.heads.end().is_some_and(|malformed| !watch.malformed(malformed)) {
                return false;
            }
            let (header, rest) = rest.split_at((HEADER - self.have).min(rest.len()));
            self.header[self.have..self.have + header.len()].copy_from_slice(header);
            self.have += header.len();
            bytes = rest;
            if self.have < HEADER {
                return true;
            }
            let frame = Frame::of(self.header);
            (self.have, self.left) = (0, frame.length);
            match self.way {
                Way::Out => watch.sent(frame),
                Way::In => {
                    if !self.begin(frame, watch) {
                        return false;
                    }
                }
            }
        }
    }

    /// A frame of the client's begins.
    fn begin(&mut self, frame: Frame, watch: &Watch) -> bool {
        if std::mem::take(&mut self.is_first) && (frame.kind != Kind::Settings || frame.is_acknowledgement())
        {
            return watch.end(Fault::NoSettings);
        }
        self.heads.begin(frame);
        watch.received(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// Looks at what a client sends after its SETTINGS.
    fn after_settings(watch: &Watch) -> Scan {
        let mut scan = Scan::new(Way::In, 0);
        assert!(scan.look(&frame(4, 0, &[]), watch));
        scan
    }

    /// How many of these frames, sent at once, a new connection lets pass; at most 100,000.
    fn passes(frames: &[Vec<u8>]) -> usize {
        let watch = Watch::new(Clock::start());
        let mut scan = after_settings(&watch);
        let all = (0..100_000).take_while(|at| scan.look(&frames[at % frames.len()], &watch));
        all.count()
    }

    #[test]
    fn floods_meet_the_end_of_the_allowance() {
        let head = || frame(1, 0x5, b"\x90");
        for (name, frames) in [
            ("ping", vec![frame(6, 0, &[0; 8])]),
            ("settings", vec![frame(4, 0, &[])]),
            ("priority", vec![frame(2, 0, &[0; 5])]),
            ("window update", vec![frame(8, 0, &[0, 0, 0, 1])]),
            ("empty data", vec![frame(0, 0, &[])]),
            ("unknown", vec![frame(200, 0, &[1, 2, 3])]),
            ("continuation", vec![frame(9, 0, &[])]),
            ("rapid reset", vec![head(), frame(3, 0, &[0, 0, 0, 8])]),
        ] {
            let passed = passes(&frames);
            assert!((600..1_100).contains(&passed), "{name}: {passed} frames passed");
        }
    }

    #[test]
    fn resets_that_a_client_provokes_are_its_own() {
        let watch = Watch::new(Clock::start());
        let mut out = Scan::new(Way::Out, 0);
        let reset = frame(3, 0, &[0, 0, 0, 1]);
        let count = (0..10_000).take_while(|_| out.look(&reset, &watch) && !watch.is_tripped()).count();
        assert!((300..400).contains(&count), "{count} resets");
    }

    #[test]
    fn work_that_is_done_is_not_counted_against_a_client() {
        assert_eq!(passes(&[frame(0, 0, b"data"), frame(6, 0, &[0; 8])]), 100_000, "an upload that measures");
        let watch = Watch::new(Clock::start());
        let (mut up, mut down) = (after_settings(&watch), Scan::new(Way::Out, 0));
        for _ in 0..50_000 {
            assert!(down.look(&frame(0, 0, b"x"), &watch));
            assert!(up.look(&frame(8, 0, &[0, 0, 0, 1]), &watch), "each piece is acknowledged");
            assert!(up.look(&frame(8, 0, &[0, 0, 0, 1]), &watch), "for the connection as well");
        }
    }

    #[test]
    fn frames_are_followed_through_any_pieces() {
        let bytes: Vec<u8> = [
            frame(4, 0, &[]),
            frame(1, 0x4, b"head"),
            frame(0, 0, &[7; 300]),
            frame(6, 0, &[0; 8]),
            frame(0, 1, b""),
        ]
        .concat();
        for size in [1, 2, 7, 9, 10, bytes.len()] {
            let watch = Watch::new(Clock::start());
            let mut scan = Scan::new(Way::In, PREFACE_OF_TEST);
            assert!(scan.look(&[b'-'; PREFACE_OF_TEST], &watch));
            assert!(bytes.chunks(size).all(|piece| scan.look(piece, &watch)));
            assert_eq!(watch.allowance.load(Relaxed), ALLOWANCE - 2, "in pieces of {size}");
        }
    }

    const PREFACE_OF_TEST: usize = 24;

    #[test]
    fn a_head_under_way_is_noticed() {
        let watch = Watch::new(Clock::start());
        let mut scan = after_settings(&watch);
        assert!(scan.look(&frame(1, 0x1, b"part"), &watch));
        std::thread::sleep(Duration::from_millis(5));
        assert!(watch.awaits_head_since(Duration::from_millis(1)));
        assert!(scan.look(&frame(9, 0x4, b"rest"), &watch));
        assert!(!watch.awaits_head_since(Duration::ZERO));
    }

    const HEAD: &[u8] = b"\x82\x86\x44\x02/#";

    #[test]
    fn heads_are_found_behind_padding_and_in_pieces() {
        let rest = &HEAD[2..];
        for (name, frames) in [
            ("plain", vec![frame(1, 0x4, HEAD)]),
            ("padded", vec![frame(1, 0xc, &[&[3], HEAD, &[0; 3]].concat())]),
            ("with a priority", vec![frame(1, 0x24, &[&[0; 5], HEAD].concat())]),
            ("with both", vec![frame(1, 0x2c, &[&[1, 0, 0, 0, 0, 9], HEAD, &[0]].concat())]),
            ("continued", vec![frame(1, 0, &HEAD[..2]), frame(9, 0, b""), frame(9, 0x4, rest)]),
        ] {
            let bytes = frames.concat();
            for size in [1, 3, bytes.len()] {
                let watch = Watch::new(Clock::start());
                let mut scan = after_settings(&watch);
                assert!(bytes.chunks(size).all(|piece| scan.look(piece, &watch)), "{name}");
                assert!(watch.has_fragment(1) && !watch.has_fragment(1), "{name} in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_the_protocol_forbids_ends_the_connection() {
        let request = || frame(1, 0x4, b"\x82\x86\x84");
        for (name, frames, fault) in [
            ("a request and trailers", vec![request(), frame(1, 0x5, b"\x0f\x01\x01a")], None),
            ("a pseudo-header in trailers", vec![request(), frame(1, 0x5, b"\x82")], Some(Fault::Malformed)),
            ("a fragment", vec![frame(1, 0x4, HEAD)], None),
        ] {
            let watch = Watch::new(Clock::start());
            let mut scan = after_settings(&watch);
            assert_eq!(scan.look(&frames.concat(), &watch), fault.is_none(), "{name}");
            assert_eq!(watch.fault.get().copied(), fault, "{name}");
        }
        for first in [frame(6, 0, &[0; 8]), frame(4, 0x1, &[]), request()] {
            let watch = Watch::new(Clock::start());
            assert!(!Scan::new(Way::In, 0).look(&first, &watch));
            assert_eq!(watch.fault.get(), Some(&Fault::NoSettings));
        }
    }
}
