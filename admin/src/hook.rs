//! One call of a rollout's hook: another system is asked, or told, and 2xx is its consent.
//!
//! Everything else is a refusal, in words that say which hook, where, and what was seen: they become
//! `held.why` of the rollout, so nothing secret is in them, and nothing that the other side could
//! forge a log line with. Redirects are not followed, since the token would go where nobody said.
//!
//! Called by the controller, which decides when to try again; [`tidegate_core::backoff`] says how long to wait.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use serde_json::Value;
use tidegate_core::config::Hook;
use tidegate_core::validate::url::Url;

use crate::ask::{self, Limits, Trust};

/// Of an answer no more is read.
const MOST_ANSWER_BYTES: usize = 4 << 10;
/// Of an answer no more is told.
const MOST_TOLD_CHARS: usize = 200;
const MOST_TOKEN_BYTES: u64 = 8 << 10;

/// Calls a hook.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    hook: Hook,
    /// Where the bearer token is.
    token: Option<PathBuf>,
    trust: Trust,
}

impl Caller {
    /// `resolve` gives the place of a file that a plan names.
    pub(crate) fn new(hook: &Hook, resolve: impl FnOnce(&str) -> PathBuf) -> Self {
        let token = hook.token_file.as_deref().map(resolve);
        Self { hook: hook.clone(), token, trust: Trust::default() }
    }

    #[cfg(test)]
    fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// Makes one call, with `body` as JSON. An error says what came of it instead of consent.
    pub(crate) async fn call(&self, body: &Value) -> Result<(), String> {
        let on = self.hook.on.as_str();
        let url: Url =
            self.hook.url.parse().map_err(|_| format!("hook {on} has no URL that can be called"))?;
        self.ask(&url, body).await.map_err(|why| format!("hook {on} {url} {why}"))
    }

    async fn ask(&self, url: &Url, body: &Value) -> Result<(), String> {
        let mut request = Request::post(url.target.as_str())
            .header(HOST, url.authority.as_str())
            .header(USER_AGENT, concat!("tidegate-hook/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close");
        if let Some(path) = &self.token {
            request = request.header(AUTHORIZATION, bearer(path).await?);
        }
        let request = request
            .body(Bytes::from(body.to_string()))
            .map_err(|error| format!("cannot be asked: {error}"))?;
        let limits = Limits { within: self.hook.timeout.0, body_bytes: MOST_ANSWER_BYTES };
        let seen = ask::url(url, &self.trust, request, limits).await.map_err(|error| error.to_string())?;
        if seen.status.is_success() {
            // Half an answer is no consent.
            return seen.broken.map_or(Ok(()), |error| Err(error.to_string()));
        }
        Err(refusal(seen.status, &ask::printable(&seen.body, MOST_TOLD_CHARS)))
    }
}

fn refusal(status: StatusCode, said: &str) -> String {
    let status = status.as_u16();
    match said {
        _ if (300..400).contains(&status) => format!("answered {status}: redirects are not followed"),
        "" => format!("answered {status}"),
        said => format!("answered {status}: {said}"),
    }
}

/// The header with the token that `path` holds now: a renewed one counts from the next call on.
async fn bearer(path: &Path) -> Result<HeaderValue, String> {
    let file = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_token(&file)).await;
    read.unwrap_or_else(|error| Err(error.to_string()))
        .map_err(|why| format!("was not called: token_file {} {why}", path.display()))
}

fn read_token(path: &Path) -> Result<HeaderValue, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "is not there".to_owned(),
        std::io::ErrorKind::PermissionDenied => "cannot be read: permission denied".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    // Looked at before it is opened: opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a file".into());
    }
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MOST_TOKEN_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    let token = text.trim();
    let is_token = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    let value = HeaderValue::from_str(&format!("Bearer {token}")).ok();
    let is_short = text.len() as u64 <= MOST_TOKEN_BYTES;
    let mut value = value.filter(|_| is_token && is_short).ok_or("holds no token of one line")?;
    value.set_sensitive(true);
    Ok(value)
}
