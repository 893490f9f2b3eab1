//! A server that does what a test tells it to, right or wrong.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_core::address::Address;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What is done on each connection, one after the other; then it is closed.
#[derive(Clone, Debug)]
pub(crate) enum Do {
    /// Takes a whole request.
    Read,
    Send(String),
    /// Sends this, again and again.
    Pour(&'static str),
    /// One byte at a time, with this in between.
    Drip(&'static str, Duration),
    /// Nothing, for ever.
    Hang,
}

/// Answers with a status line's end (`403 Forbidden`) and a body.
pub(crate) fn answer(status: &str, body: &str) -> Vec<Do> {
    let length = body.len();
    vec![Do::Read, Do::Send(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"))]
}

/// Stops when dropped.
pub(crate) struct Server {
    pub(crate) address: Address,
    heard: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(script: Vec<Do>) -> Self {
        Self::run(script, None).await
    }

    pub(crate) async fn start_tls(script: Vec<Do>, acceptor: TlsAcceptor) -> Self {
        Self::run(script, Some(acceptor)).await
    }

    async fn run(script: Vec<Do>, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").into();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log, acceptor) = (script.clone(), Arc::clone(&log), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => play(stream, script, &log).await,
                        // A client that does not trust us is gone by then.
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => play(stream, script, &log).await,
                            Err(_) => Ok(()),
                        },
                    }
                });
            }
        });
        Self { address, heard, task }
    }

    /// The requests so far, as they came.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A port at which nobody listens.
pub(crate) async fn nobody() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound").into()
}

async fn play(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Vec<Do>,
    heard: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    for step in script {
        match step {
            Do::Read => {
                let request = request(&mut stream).await?;
                heard.lock().push(request);
            }
            Do::Send(text) => stream.write_all(text.as_bytes()).await?,
            Do::Pour(text) => loop {
                stream.write_all(text.as_bytes()).await?;
            },
            Do::Drip(text, pause) => {
                for byte in text.bytes() {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Do::Hang => std::future::pending().await,
        }
        stream.flush().await?;
    }
    stream.shutdown().await
}

async fn request(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Ok(text);
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(text);
        }
    }
}
