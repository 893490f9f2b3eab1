//! A process that takes over, played by the test: it speaks as the new one does, and stops where it likes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::PATIENCE;

/// Between two things that it says.
pub(crate) struct Successor {
    stream: UnixStream,
}

impl Successor {
    /// Be at this path from now on; the future waits for the old process's hello.
    pub(crate) fn meet(path: &Path) -> impl Future<Output = Self> {
        let (listener, path) = (UnixListener::bind(path).unwrap(), path.to_owned());
        async move {
            let (stream, _) =
                super::within(PATIENCE, "the old process comes", listener.accept()).await.unwrap();
            std::fs::remove_file(path).unwrap();
            let stream = stream.into_std().unwrap();
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut this = Self { stream };
            assert_eq!(this.hear().await["protocol"], 1);
            this
        }
    }

    pub(crate) fn welcome(&mut self) {
        self.say(&json!({ "Welcome": { "protocol": 1, "version": "test", "pid": 1 } }));
    }

    /// Everything that the old process gives; its sockets are left in the channel.
    pub(crate) async fn estate(&mut self) -> Value {
        self.hear().await
    }

    /// Drop the sockets, and say that none of them was wanted.
    pub(crate) fn serve(&mut self) {
        // Read without room for what comes beside the byte, which is closed then.
        self.stream.read_exact(&mut [0]).unwrap();
        self.say(&json!({ "Serving": { "taken": [] } }));
    }

    pub(crate) fn say(&mut self, message: &Value) {
        let json = message.to_string().into_bytes();
        self.stream.write_all(&u32::try_from(json.len()).unwrap().to_be_bytes()).unwrap();
        self.stream.write_all(&json).unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Value {
        let mut stream = self.stream.try_clone().unwrap();
        let heard = tokio::task::spawn_blocking(move || {
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut json = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
            stream.read_exact(&mut json).unwrap();
            serde_json::from_slice(&json).unwrap()
        });
        heard.await.unwrap()
    }
}
