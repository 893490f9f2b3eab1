//! How two processes talk: JSON in frames, and sockets beside them, over a Unix socket.
//!
//! Blocking, with one deadline for all that is said. A frame is its length in bytes (32 bits, big-endian)
//! and so many bytes of JSON. Sockets go in messages of their own, a few at a time, since the kernel
//! limits how many one message may carry.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A longer frame is not one of ours.
const MOST_BYTES: u32 = 256 << 20;
/// Sockets in one message; the kernel takes 253.
const AT_ONCE: usize = 64;
const SPACE: usize = rustix::cmsg_space!(ScmRights(AT_ONCE));

/// Not inherited by processes that this one may start.
#[cfg(target_os = "linux")]
const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const RECEIVE: RecvFlags = RecvFlags::empty();

/// A conversation.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    until: Instant,
}

impl Channel {
    /// A conversation that takes no longer than this.
    pub(super) fn new(stream: UnixStream, patience: Duration) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        Ok(Self { stream, until: Instant::now() + patience })
    }

    /// Says something.
    pub(super) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_vec(message)?;
        let length = u32::try_from(json.len()).ok().filter(|length| *length <= MOST_BYTES);
        let length = length.ok_or_else(|| io::Error::other("there is too much to hand over"))?;
        self.write_all(&length.to_be_bytes())?;
        self.write_all(&json)
    }

    /// Hears something.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut length = [0; 4];
        self.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > MOST_BYTES {
            return Err(io::Error::other("it does not speak as Tidegate does"));
        }
        let mut json = Vec::new();
        self.take(length.into()).read_to_end(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }

    /// Gives sockets away; they stay open here, too.
    pub(super) fn send_sockets(&mut self, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        for some in sockets.chunks(AT_ONCE) {
            self.stream.set_write_timeout(Some(self.left()?))?;
            let mut space = [MaybeUninit::uninit(); SPACE];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !beside.push(SendAncillaryMessage::ScmRights(some)) {
                return Err(io::Error::other("the sockets do not fit into their message"));
            }
            let byte = [IoSlice::new(&[0])];
            retry_on_intr(|| sendmsg(self.stream.as_fd(), &byte, &mut beside, SendFlags::empty()))?;
        }
        Ok(())
    }

    /// Takes so many sockets.
    pub(super) fn receive_sockets(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        let mut sockets = Vec::with_capacity(count);
        while sockets.len() < count {
            self.stream.set_read_timeout(Some(self.left()?))?;
            let mut space = [MaybeUninit::uninit(); SPACE];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let mut into = [IoSliceMut::new(&mut byte)];
            let received = retry_on_intr(|| recvmsg(self.stream.as_fd(), &mut into, &mut beside, RECEIVE))?;
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(some) = message {
                    sockets.extend(some);
                }
            }
            if received.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if received.flags.contains(ReturnFlags::CTRUNC) {
                return Err(io::Error::other("a socket got lost: is the limit of open files too low?"));
            }
        }
        Ok(sockets)
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Channel {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(into)
    }
}

impl Write for Channel {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// An error in words that say what has become of the other process.
pub(super) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "it does not answer".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            "it has gone away".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair(patience: Duration) -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().expect("a pair");
        let channel = |stream| Channel::new(stream, patience).expect("a channel");
        (channel(one), channel(other))
    }

    #[test]
    fn messages_and_more_sockets_than_fit_into_one() {
        let (mut one, mut other) = pair(Duration::from_secs(20));
        let listeners: Vec<TcpListener> =
            (0..=3 * AT_ONCE).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let long = "x".repeat(1 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                one.send(&long).expect("sent");
                let sockets: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
                one.send_sockets(&sockets).expect("given");
                one.send(&7).expect("sent");
            });
            assert_eq!(other.receive::<String>().expect("received"), long);
            let sockets = other.receive_sockets(listeners.len()).expect("taken");
            let addresses = sockets.into_iter().map(|fd| TcpListener::from(fd).local_addr().expect("one"));
            assert!(addresses.eq(listeners.iter().map(|l| l.local_addr().expect("one"))));
            assert_eq!(other.receive::<u32>().expect("received"), 7);
        });
    }

    #[test]
    fn one_that_says_nothing_and_one_that_is_gone() {
        let (mut one, other) = pair(Duration::from_millis(50));
        assert_eq!(in_words(&one.receive::<u32>().expect_err("silence")), "it does not answer");
        let (mut one_more, gone) = pair(Duration::from_secs(20));
        drop(gone);
        assert_eq!(in_words(&one_more.receive::<u32>().expect_err("nobody")), "it has gone away");
        assert_eq!(in_words(&one_more.receive_sockets(1).expect_err("nobody")), "it has gone away");
        drop(other);
    }
}
