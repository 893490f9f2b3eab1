//! What every change has beside its body: who, whether only to try, and against which generation.
//!
//! Making a change is the same for all of them: [`Call::make`] tries or applies, and tells a stale
//! caller what is in force.

use axum::Json;
use axum::extract::{FromRequestParts, Path};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{ETAG, IF_MATCH};
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tidegate_core::change::{Change, Request};
use tidegate_core::config::Config;
use tidegate_core::live::{Applied, View};
use tidegate_core::snapshot::Snapshot;
use tidegate_core::state::State;
use tidegate_core::units::Span;

use crate::control::{By, Reloaded};
use crate::error::{Failure, etag};
use crate::router::App;
use crate::{pools, splits};

/// No entity tag names generation 0, so it stands for one that can match nothing.
const NEVER: u64 = 0;
const MOST_REASON_CHARS: usize = 1_024;
const MOST_ACTOR_BYTES: usize = 64;
/// Names that stand for Tidegate itself in the history.
const OURS: [&str; 7] = ["drain", "file", "guard", "health", "restart", "rollout", "ttl"];

/// The part of a change that is not in its body.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) dry_run: bool,
    pub(crate) actor: String,
    if_match: Option<u64>,
}

impl FromRequestParts<App> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        Ok(Self {
            dry_run: dry_run(parts.uri.query().unwrap_or_default())?,
            actor: actor(&parts.headers),
            if_match: if_match(&parts.headers)?,
        })
    }
}

impl Call {
    /// Makes a change, or tries it.
    pub(crate) async fn make(
        &self,
        app: &App,
        change: Change,
        reason: Option<String>,
    ) -> Result<Applied, Failure> {
        check_reason(reason.as_deref())?;
        let request = Request { change, actor: self.actor.clone(), reason, if_match: self.if_match };
        let subject = request.change.clone();
        let made =
            if self.dry_run { app.control.dry_run(request).await } else { app.control.apply(request).await };
        match made {
            Ok(applied) => Ok(applied),
            Err(rejected) => {
                let view = app.control.view().await;
                Err(Failure::from(rejected).with_current(current(Table::of_view(&view, app), &subject)))
            }
        }
    }

    /// Has the file read again, or tries it.
    pub(crate) async fn reload(&self, app: &App, reason: Option<String>) -> Result<Reloaded, Failure> {
        check_reason(reason.as_deref())?;
        let by = By { actor: self.actor.clone(), reason, if_match: self.if_match };
        let made =
            if self.dry_run { app.control.dry_reload(by).await } else { app.control.reload_as(by).await };
        made.map_err(|rejected| {
            Failure::from(rejected).with_current(Some(whole(app.control.live().peek().generation)))
        })
    }
}

/// What is in force of the thing that a change is about, with its generation.
fn current(table: Table<'_>, change: &Change) -> Option<(Value, u64)> {
    match change {
        Change::SetWeights { split, .. }
        | Change::Cutover { split, .. }
        | Change::Revert { split }
        | Change::StartRollout { split, .. }
        | Change::Rollout { split, .. } => {
            let split = splits::show(table, table.snapshot.split_named(split)?);
            Some((serde_json::to_value(&split).ok()?, split.generation))
        }
        Change::SetEndpoints { pool, .. }
        | Change::StartPoolRollout { pool, .. }
        | Change::PoolRollout { pool, .. }
        | Change::Drain { pool, .. }
        | Change::Undrain { pool, .. } => {
            let pool = pools::show(table, table.snapshot.pool_named(pool)?);
            Some((serde_json::to_value(&pool).ok()?, pool.generation))
        }
        Change::Restore { .. } | Change::Reload(_) => Some(whole(table.snapshot.generation)),
        Change::Expire => None,
    }
}

/// What is in force as a whole is told by its generation only.
fn whole(generation: u64) -> (Value, u64) {
    (json!({ "generation": generation }), generation)
}

/// What is in force, or would be after a dry run: all that is needed to show a split or a pool.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) config: &'a Config,
    pub(crate) state: &'a State,
    pub(crate) mono_ms: u64,
}

impl<'a> Table<'a> {
    pub(crate) fn of_view(view: &'a View, app: &App) -> Self {
        let mono_ms = app.control.clock().mono_ms();
        Self { snapshot: &view.snapshot, config: &view.config, state: &view.state, mono_ms }
    }

    pub(crate) fn of_change(applied: &'a Applied, app: &App) -> Self {
        let mono_ms = app.control.clock().mono_ms();
        Self { snapshot: &applied.snapshot, config: &applied.config, state: &applied.state, mono_ms }
    }
}

/// An answer with the generation as its entity tag.
pub(crate) fn tagged(generation: u64, answer: impl Serialize) -> Response {
    let mut response = Json(answer).into_response();
    if let Ok(tag) = etag(generation) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Parts of the path. One that cannot be read names nothing that there is.
pub(crate) struct At<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for At<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, app).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(_) => Err(Failure::no_such_path(parts.uri.path())),
        }
    }
}

/// A time to live, which cannot be zero.
pub(crate) fn check_ttl(ttl: Option<Span>) -> Result<Option<Span>, Failure> {
    match ttl {
        Some(ttl) if ttl.limit().is_none() => {
            Err(Failure::value("ttl", "must be longer than 0", Some("leave it out to hold for ever".into())))
        }
        ttl => Ok(ttl),
    }
}

/// A reason goes to the log and the history: short, and without control characters.
pub(crate) fn check_reason(reason: Option<&str>) -> Result<(), Failure> {
    let Some(reason) = reason else { return Ok(()) };
    if reason.chars().any(char::is_control) {
        return Err(Failure::value("reason", "holds control characters", None));
    }
    if reason.chars().count() > MOST_REASON_CHARS {
        return Err(Failure::value("reason", format!("is longer than {MOST_REASON_CHARS} characters"), None));
    }
    Ok(())
}

fn dry_run(query: &str) -> Result<bool, Failure> {
    let mut wanted = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        wanted = match pair {
            "dry_run=true" => true,
            "dry_run=false" => false,
            other => {
                let name: String = other.chars().take(64).collect();
                let message = format!("query `{name}`: only `dry_run=true` and `dry_run=false` are known");
                return Err(Failure::malformed(message));
            }
        };
    }
    Ok(wanted)
}

/// Who calls, as they say; anything that could confuse a log is not taken.
fn actor(headers: &HeaderMap) -> String {
    let said = headers.get("x-tidegate-actor").and_then(|value| value.to_str().ok()).map(str::trim);
    said.filter(|actor| (1..=MOST_ACTOR_BYTES).contains(&actor.len()))
        .filter(|actor| actor.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()))
        .filter(|actor| !OURS.contains(actor))
        .unwrap_or("api")
        .to_owned()
}

/// The generation that a change was made against. A weak tag never matches (RFC 9110, 13.1.1).
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let mut lines = headers.get_all(IF_MATCH).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let tags = line.to_str().unwrap_or_default().trim();
    if lines.next().is_some() || tags.contains(',') {
        return Err(Failure::malformed("If-Match takes one tag"));
    }
    if tags == "*" {
        return Ok(None);
    }
    let strong = tags.strip_prefix("W/").unwrap_or(tags);
    let Some(opaque) = strong.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Err(Failure::malformed("If-Match takes a tag such as \"12\", with its quotes"));
    };
    let is_weak = strong.len() != tags.len();
    let is_ours = !is_weak && opaque.bytes().all(|byte| byte.is_ascii_digit());
    Ok(Some(if is_ours { opaque.parse().unwrap_or(NEVER) } else { NEVER }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags() {
        for (line, expected) in [
            ("\"12\"", Some(Some(12))),
            (" \"12\" ", Some(Some(12))),
            ("*", Some(None)),
            ("W/\"12\"", Some(Some(NEVER))),
            ("\"abc\"", Some(Some(NEVER))),
            ("\"\"", Some(Some(NEVER))),
            ("\"99999999999999999999\"", Some(Some(NEVER))),
            ("12", None),
            ("\"1\", \"2\"", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, line.parse().expect("a header value"));
            assert_eq!(if_match(&headers).ok(), expected, "{line}");
        }
        assert_eq!(if_match(&HeaderMap::new()).ok(), Some(None));
    }

    #[test]
    fn actors() {
        let long = "x".repeat(65);
        for (said, taken) in [
            ("alice", "alice"),
            (" bob 2 ", "bob 2"),
            ("", "api"),
            ("caf\u{e9}", "api"),
            ("guard", "api"),
            (&long, "api"),
        ] {
            let mut headers = HeaderMap::new();
            let value = http::HeaderValue::from_bytes(said.as_bytes()).expect("a header value");
            headers.insert("x-tidegate-actor", value);
            assert_eq!(actor(&headers), taken, "{said}");
        }
        assert_eq!(actor(&HeaderMap::new()), "api");
    }

    #[test]
    fn reasons() {
        assert!(check_reason(Some("because — of émigrés")).is_ok());
        assert!(check_reason(Some("a\nb")).is_err());
        assert!(check_reason(Some("\u{1b}[31m")).is_err());
        assert!(check_reason(Some(&"é".repeat(1_024))).is_ok());
        assert!(check_reason(Some(&"é".repeat(1_025))).is_err());
    }
}
