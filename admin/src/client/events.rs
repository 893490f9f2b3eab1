//! The event stream as a client sees it: one event after the other, for as long as it lasts.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use super::sse::{Message, Parser};
use super::{ClientError, Target};

/// A stream that says nothing for so long is dead: Tidegate sends a comment every 15 s.
const SILENCE: Duration = Duration::from_mins(1);

/// An open event stream.
#[derive(Debug)]
pub struct Events {
    target: Target,
    body: Incoming,
    parser: Parser,
    ready: VecDeque<Message>,
}

impl Events {
    pub(super) fn new(target: Target, body: Incoming) -> Self {
        Self { target, body, parser: Parser::default(), ready: VecDeque::new() }
    }

    /// The next event, its kind (`change`, `health`, …) first; `None` when Tidegate ends the stream.
    ///
    /// Nothing is lost when the future is dropped before it is done.
    pub async fn next(&mut self) -> Result<Option<(String, Value)>, ClientError> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                let value = serde_json::from_str(&message.data)
                    .map_err(|error| self.strange(format!("an event is not JSON: {error}")))?;
                return Ok(Some((message.event, value)));
            }
            let Ok(frame) = tokio::time::timeout(SILENCE, self.body.frame()).await else {
                return Err(ClientError::Timeout { target: self.target.clone(), after: SILENCE });
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| ClientError::Unreachable {
                target: self.target.clone(),
                why: format!("the event stream broke off: {error}"),
            })?;
            if let Some(bytes) = frame.data_ref() {
                let ready = &mut self.ready;
                self.parser
                    .push(bytes, |message| ready.push_back(message))
                    .map_err(|_| self.strange("an event is too long".into()))?;
            }
        }
    }

    fn strange(&self, why: String) -> ClientError {
        ClientError::Strange { target: self.target.clone(), why }
    }
}
