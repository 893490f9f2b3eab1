//! Bodies: bounded in size and time, of the right type, and read strictly.
//!
//! What is not JSON, or has a field that there is not, cannot be read (`400`, with the position); a
//! field whose value cannot be is named (`422`). Nothing is read twice or guessed.

mod object;

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Failure;
use object::Object;

/// Longer bodies are refused.
const LIMIT_BYTES: usize = 1 << 20;
/// A body must be there within this.
const DEADLINE: Duration = Duration::from_secs(10);

/// A JSON body. An absent one stands for `{}`.
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let named = content_type(&parts.headers);
        if named.as_deref().is_some_and(|named| named != "application/json") {
            return Err(wrong_type());
        }
        let bytes = collect(body).await?;
        match (bytes.is_empty(), named) {
            // A call whose body may be absent takes all of its fields from their defaults.
            (true, _) => parse(b"{}").map(Self).map_err(|_| Failure::malformed("the call needs a body")),
            (false, Some(_)) => parse(&bytes).map(Self),
            (false, None) => Err(wrong_type()),
        }
    }
}

/// A plan of a rollout as it was sent, with the reason for starting it; no plan stands for the file's.
///
/// `core::config::plan` makes a plan of it, when it is known what for.
pub(crate) struct Plan {
    pub(crate) plan: Option<Value>,
    pub(crate) reason: Option<String>,
}

impl<S: Send + Sync> FromRequest<S> for Plan {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let Input(Object(mut body)) = Input::from_request(request, state).await?;
        let reason = match body.remove("reason") {
            None | Some(Value::Null) => None,
            Some(Value::String(reason)) => Some(reason),
            Some(_) => return Err(Failure::value("reason", "must be a string", None)),
        };
        Ok(Self { plan: (!body.is_empty()).then_some(Value::Object(body)), reason })
    }
}

fn wrong_type() -> Failure {
    Failure::unsupported_type("a change is `application/json`")
}

/// A configuration file as a body: any type but JSON.
pub(crate) struct Text(pub(crate) String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        if content_type(&parts.headers).is_some_and(|named| named == "application/json") {
            return Err(Failure::unsupported_type("the body is a configuration file, `application/toml`"));
        }
        let bytes = collect(body).await?;
        let text = String::from_utf8(bytes.into());
        text.map(Self).map_err(|_| Failure::malformed("the body is not UTF-8 text"))
    }
}

/// The media type in lower case, without parameters.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let line = headers.get(CONTENT_TYPE)?;
    let media = line.to_str().unwrap_or("unreadable").split(';').next().unwrap_or_default();
    Some(media.trim().to_ascii_lowercase())
}

async fn collect(body: Body) -> Result<Bytes, Failure> {
    let limit = u64::try_from(LIMIT_BYTES).unwrap_or(u64::MAX);
    if body.size_hint().lower() > limit {
        return Err(Failure::too_large(LIMIT_BYTES));
    }
    match tokio::time::timeout(DEADLINE, Limited::new(body, LIMIT_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Failure::too_large(LIMIT_BYTES)),
        Ok(Err(_)) => Err(Failure::malformed("the body broke off")),
        Err(_) => Err(Failure::too_slow()),
    }
}

/// Reads a JSON object.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    // A list would do for an object, field by field in their order: serde's habit, not ours.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Failure::malformed("the body is not a JSON object: line 1 column 1"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        failure(&path, error.inner())
    })?;
    json.end().map_err(|error| failure("", &error))?;
    Ok(value)
}

fn failure(path: &str, error: &serde_json::Error) -> Failure {
    let message = error.to_string();
    let is_unknown = message.starts_with("unknown field") || message.starts_with("duplicate field");
    if !error.is_data() || is_unknown {
        return Failure::malformed(message);
    }
    Failure::value(if path == "." { "" } else { path }, message, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{SetEndpoints, SetWeights};

    fn status(body: &str) -> u16 {
        parse::<SetWeights>(body.as_bytes()).map_or_else(|failure| failure.status().as_u16(), |_| 200)
    }

    #[test]
    fn bodies_that_cannot_be_read_and_values_that_cannot_be() {
        let deep = format!("{{\"weights\":{}", "[".repeat(100_000));
        for (body, expected) in [
            (r#"{"weights":{"a":1}}"#, 200),
            (r#"{"weights":{"a":1},"ttl":"1h","reason":"x","force":true}"#, 200),
            ("", 400),
            ("nonsense", 400),
            ("[]", 400),
            (r#"[{"a":1}]"#, 400),
            (r#"{"weights":{"a":1}"#, 400),
            (r#"{"weights":{"a":1}} x"#, 400),
            (r#"{"weights":{"a":1},"weight":{}}"#, 400),
            (r#"{"weights":{"a":1},"weights":{"a":2}}"#, 400),
            (r#"{"weights":{"a":1,"a":2}}"#, 400),
            (r#"{"weights":{"a":1e400}}"#, 400),
            (r#"{"weights":{"a":NaN}}"#, 400),
            (&deep, 422),
            ("{}", 422),
            (r#"{"weights":{"a":-1}}"#, 422),
            (r#"{"weights":{"a":1.5}}"#, 422),
            (r#"{"weights":{"a":1e12}}"#, 422),
            (r#"{"weights":{"a":1000000000000}}"#, 422),
            (r#"{"weights":{"a":1000001}}"#, 422),
            (r#"{"weights":{"a":"1"}}"#, 422),
            (r#"{"weights":null}"#, 422),
            (r#"{"weights":{"a":1},"ttl":"soon"}"#, 422),
            (r#"{"weights":{"a":1},"ttl":5}"#, 422),
        ] {
            let shown: String = body.chars().take(80).collect();
            assert_eq!(status(body), expected, "{shown}");
        }
    }

    #[test]
    fn an_object_of_any_fields_has_none_twice() {
        for (body, expected) in [
            (r#"{"a":[{"b":1.5,"c":null},{"b":-1}],"d":"\u0000","e":true}"#, Ok(())),
            (r#"{"a":1,"b":{"a":1}}"#, Ok(())),
            (r#"{"a":1,"a":1}"#, Err(400)),
            (r#"{"a":[{"b":1,"c":2,"b":1}]}"#, Err(400)),
            (r#"{"a":1"#, Err(400)),
            (r#"{"a":1e400}"#, Err(400)),
            ("[]", Err(400)),
        ] {
            let read = parse::<Object>(body.as_bytes());
            let is_same = |Object(fields): Object| assert_eq!(Value::Object(fields).to_string(), body);
            assert_eq!(read.map(is_same).map_err(|failure| failure.status().as_u16()), expected, "{body}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_is_named() {
        let failure = parse::<SetWeights>(br#"{"weights":{"canary":-1}}"#).expect_err("negative");
        let text = format!("{failure:?}");
        assert!(text.contains("weights.canary") && text.contains("from 0 to 1000000"), "{text}");
        let body = br#"{"endpoints":["127.0.0.1:1",{"address":"127.0.0.1:2","weight":1.5}]}"#;
        let failure = parse::<SetEndpoints>(body).expect_err("a fraction");
        assert!(format!("{failure:?}").contains("endpoints[1].weight"), "{failure:?}");
    }
}
