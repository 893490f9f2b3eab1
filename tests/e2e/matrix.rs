//! Each protocol that clients speak to each that endpoints speak: large bodies and slow ones, both ways at once.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::harness::authority::{Authority, name};
use crate::harness::{Modern, Tidegate, config, within};

const PATIENCE: Duration = Duration::from_mins(1);

/// What a client speaks.
#[derive(Clone, Copy, Debug)]
enum Down {
    Http1,
    H2c,
    Http1Tls,
    H2,
}

const DOWN: [Down; 4] = [Down::Http1, Down::H2c, Down::Http1Tls, Down::H2];
/// The pools, by what their endpoints speak.
const UP: [&str; 5] = ["http1", "h2c", "http1-tls", "h2", "auto"];

struct Setting {
    authority: Authority,
    tidegate: Tidegate,
    _folder: TempDir,
    _upstreams: [Modern; 2],
}

async fn setting() -> Setting {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    authority.issue(&["shop.test"]).write(folder.path(), "shop");
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let plain = Modern::plain().await;
    let pair = authority.issue(&["app.internal"]);
    let secure = Modern::tls(authority.server(&pair, &["h2", "http/1.1"], false)).await;
    let tls = "tls = { sni = \"app.internal\", ca = \"ca.pem\" }";
    let mut rest = "[[listeners]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n\
                    tls = { certificates = [{ cert = \"shop.pem\", key = \"shop.key\" }] }\n"
        .to_owned();
    for pool in UP {
        let (upstream, keys) = match pool {
            "http1" => (&plain, String::new()),
            "h2c" => (&plain, "protocol = \"h2\"".to_owned()),
            "http1-tls" => (&secure, tls.to_owned()),
            protocol => (&secure, format!("{tls}\nprotocol = \"{protocol}\"")),
        };
        rest += &config::pool_at(pool, &[upstream.address], &keys);
        rest += "[[routes]]\n";
        rest += &[
            "name = \"",
            pool,
            "\"\nmatches = [{ path = { exact = \"/",
            pool,
            "\" } }]\npool = \"",
            pool,
            "\"\n",
        ]
        .concat();
    }
    let tidegate = Tidegate::start_in(folder.path(), &config::with(&rest)).await;
    Setting { authority, tidegate, _folder: folder, _upstreams: [plain, secure] }
}

type Body = StreamBody<tokio_stream::wrappers::ReceiverStream<Result<Frame<Bytes>, std::io::Error>>>;

impl Setting {
    fn address(&self, down: Down) -> SocketAddr {
        match down {
            Down::Http1 | Down::H2c => self.tidegate.web(),
            Down::Http1Tls | Down::H2 => self.tidegate.listener("tls"),
        }
    }

    /// Posts a body that comes piece by piece; the answer's head, with its body still to come.
    async fn post(&self, down: Down, up: &str, body: Body) -> Response<Incoming> {
        let stream = TcpStream::connect(self.address(down)).await.unwrap();
        match down {
            Down::Http1 | Down::H2c => send(stream, down, up, body).await,
            Down::Http1Tls | Down::H2 => {
                let protocol = if matches!(down, Down::H2) { "h2" } else { "http/1.1" };
                let connector = self.authority.client(&[protocol], None);
                let tls = connector.connect(name("shop.test"), stream).await.unwrap();
                send(tls, down, up, body).await
            }
        }
    }
}

async fn send<S>(stream: S, down: Down, up: &str, body: Body) -> Response<Incoming>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::post(up_uri(down, up)).header("host", "shop.test").body(body).unwrap();
    match down {
        Down::Http1 | Down::Http1Tls => {
            let (mut sender, driving) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(driving);
            sender.send_request(request).await.unwrap()
        }
        Down::H2c | Down::H2 => {
            let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let (mut sender, driving) = builder.handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(driving);
            sender.send_request(request).await.unwrap()
        }
    }
}

fn up_uri(down: Down, up: &str) -> String {
    match down {
        Down::Http1 | Down::Http1Tls => format!("/{up}"),
        Down::H2c => format!("http://shop.test/{up}"),
        Down::H2 => format!("https://shop.test/{up}"),
    }
}

/// A body of these pieces, one each so often.
fn body(pieces: Vec<Bytes>, every: Duration) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for piece in pieces {
            tokio::time::sleep(every).await;
            if sender.send(Ok(Frame::data(piece))).await.is_err() {
                return;
            }
        }
    });
    StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver))
}

/// Reads a body, waiting so long after each piece.
async fn read(answer: Response<Incoming>, every: Duration) -> Vec<u8> {
    let (mut body, mut got) = (answer.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        got.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
        tokio::time::sleep(every).await;
    }
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mebibyte_there_and_back() {
    let setting = setting().await;
    let whole: Vec<u8> = (0..1 << 20).map(|at: u32| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    for down in DOWN {
        for up in UP {
            let pieces = whole.chunks(60_000).map(Bytes::copy_from_slice).collect();
            let what = format!("{down:?} to {up}");
            let exchange = async {
                let answer = setting.post(down, up, body(pieces, Duration::ZERO)).await;
                assert_eq!(answer.status(), 200, "{what}");
                read(answer, Duration::ZERO).await
            };
            assert!(within(PATIENCE, &what, exchange).await == whole, "{what}: not what was sent");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slowly_both_ways() {
    let setting = setting().await;
    let pieces: Vec<Bytes> = (0..20_u8).map(|number| Bytes::from(vec![number; 100])).collect();
    for down in DOWN {
        for up in UP {
            let what = format!("{down:?} to {up}");
            let exchange = async {
                let body = body(pieces.clone(), Duration::from_millis(10));
                let answer = setting.post(down, up, body).await;
                assert_eq!(answer.status(), 200, "{what}");
                read(answer, Duration::from_millis(10)).await
            };
            assert!(within(PATIENCE, &what, exchange).await == pieces.concat(), "{what}: not what was sent");
        }
    }
}
