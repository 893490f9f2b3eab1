//! An upstream that plays the script of a case, and keeps every request to the byte.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::case::Then;
use crate::message::{Kind, Message, Parsed, parse};
use crate::notation::shown;

/// The path of requests that belong to no case: they ask whether a connection is still of use.
pub(crate) const PROBE: &str = "/probe";
const PROBE_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nprobe";

/// What to do with a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Play {
    pub(crate) at_once: Vec<u8>,
    pub(crate) answer: Vec<u8>,
    pub(crate) then: Then,
}

/// What came over a connection.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The connection's number.
    pub(crate) connection: usize,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Request(Message),
    /// The connection ended within a request: its bytes.
    Cut(Vec<u8>),
    /// Bytes that are no request, and why.
    Broken(String, Vec<u8>),
}

/// A running upstream. Dropping it closes everything.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    play: Mutex<Play>,
    seen: Mutex<Vec<Seen>>,
    total: AtomicUsize,
}

impl Upstream {
    /// Listening on a port of the system's choosing.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(Shared::default()));
        let (theirs, mut accepting) = (Arc::clone(&shared), JoinSet::new());
        accepting.spawn(async move {
            let (mut connections, mut number) = (JoinSet::new(), 0);
            while let Ok((stream, _)) = listener.accept().await {
                number += 1;
                connections.spawn(serve(stream, number, Arc::clone(&theirs)));
            }
        });
        Self { address, shared, _accepting: accepting }
    }

    /// Begin another case: forget what was seen.
    pub(crate) fn begin(&self, play: Play) {
        *self.shared.play.lock() = play;
        self.shared.seen.lock().clear();
    }

    /// How much has been seen since the start.
    pub(crate) fn total(&self) -> usize {
        self.shared.total.load(Ordering::SeqCst)
    }

    /// What has been seen since the case began.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Request(request) => write!(f, "{request}"),
            What::Cut(bytes) => write!(f, "a part: {}", shown(bytes)),
            What::Broken(why, bytes) => write!(f, "{why} in {}", shown(bytes)),
        }
    }
}

impl Seen {
    pub(crate) fn is_probe(&self) -> bool {
        matches!(&self.what, What::Request(request) if request.target() == PROBE)
    }
}

/// Serves a connection; what comes over it is kept, whatever becomes of it.
async fn serve(mut stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    // A small write must not wait for the last one's acknowledgement.
    let _ = stream.set_nodelay(true);
    let keep = |what| {
        shared.seen.lock().push(Seen { connection, what });
        shared.total.fetch_add(1, Ordering::SeqCst);
    };
    let mut bytes = Vec::new();
    let mut answered_at_once = false;
    loop {
        match parse(&bytes, Kind::Request) {
            Parsed::Whole(request, length) => {
                bytes.drain(..length);
                let play = play_for(&request, &shared);
                keep(What::Request(request));
                let early = if std::mem::take(&mut answered_at_once) { &[] } else { &*play.at_once };
                if stream.write_all(&[early, &play.answer].concat()).await.is_err()
                    || !stay(&stream, play.then)
                {
                    return;
                }
            }
            Parsed::Broken(why) => return keep(What::Broken(why, bytes)),
            Parsed::Part(head) => {
                if head.is_some() && !answered_at_once {
                    answered_at_once = true;
                    let early = shared.play.lock().at_once.clone();
                    // A proxy that has gone is met again by the next read.
                    let _ = stream.write_all(&early).await;
                }
                match stream.read_buf(&mut bytes).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) if bytes.is_empty() => return,
                    Ok(_) | Err(_) => return keep(What::Cut(bytes)),
                }
            }
        }
    }
}

fn play_for(request: &Message, shared: &Shared) -> Play {
    if request.target() == PROBE {
        return Play { answer: PROBE_ANSWER.to_vec(), ..Play::default() };
    }
    shared.play.lock().clone()
}

/// Whether another request is waited for.
fn stay(stream: &TcpStream, then: Then) -> bool {
    if then == Then::Reset {
        let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
    }
    then == Then::Stay
}
