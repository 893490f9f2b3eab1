//! A WebSocket server that says back what it hears, and notes how each client said goodbye.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use super::{PATIENCE, within};

/// A running server. Dropping it ends it.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    pub(crate) goodbyes: Arc<Mutex<Vec<Option<u16>>>>,
    accepting: JoinHandle<()>,
}

impl Echo {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let goodbyes = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&goodbyes);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&noted)));
            }
        });
        Self { address, goodbyes, accepting }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, goodbyes: Arc<Mutex<Vec<Option<u16>>>>) {
    let Ok(mut socket) = accept_async(stream).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Close(frame) => goodbyes.lock().push(frame.map(|frame| frame.code.into())),
            said @ (Message::Text(_) | Message::Binary(_)) => {
                let Ok(()) = socket.send(said).await else { return };
            }
            _ => {}
        }
    }
}

/// A client's end.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// A WebSocket to whatever is at this address.
pub(crate) async fn connect(address: SocketAddr) -> Result<Socket, Error> {
    let stream = TcpStream::connect(address).await.map_err(Error::Io)?;
    let shaking = client_async(format!("ws://{address}/chat"), stream);
    Ok(within(PATIENCE, "a WebSocket's handshake", shaking).await?.0)
}
