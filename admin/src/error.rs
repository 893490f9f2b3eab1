//! From what went wrong to a status and a problem document (RFC 9457): the only place.
//!
//! The core says why a change was rejected without knowing HTTP; the sentence is kept, the status
//! is chosen here. A stale change is told what is in force, so that the caller need not ask again.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::Value;
use tidegate_core::change::Rejected;
use tidegate_core::config::plan::BadPlan;
use tidegate_core::validate::Problem;

use crate::control::problems_of;
use crate::wire;

/// An answer that is not the one hoped for.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    /// The last part of the problem's type.
    kind: &'static str,
    title: &'static str,
    detail: String,
    problems: Vec<Problem>,
    /// What is in force, with its generation, where a stale change was refused.
    current: Option<Box<(Value, u64)>>,
}

impl Failure {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, title, detail: detail.into(), problems: Vec::new(), current: None }
    }

    /// No or a wrong token.
    pub(crate) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "A token is needed",
            "send `Authorization: Bearer` with the token in admin.token_file",
        )
    }

    /// A call that a web page may have sent.
    pub(crate) fn forbidden(why: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The call was refused", why)
    }

    /// A path that leads nowhere.
    pub(crate) fn no_such_path(path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is no such thing",
            format!("no call has the path {path}"),
        )
    }

    /// A thing that is not there.
    pub(crate) fn not_found(kind: &'static str, name: &str) -> Self {
        Rejected::NotFound { kind, name: name.to_owned(), hint: None }.into()
    }

    /// A thing that is not there, and the nearest that is.
    pub(crate) fn not_found_near(kind: &'static str, name: &str, near: Option<&str>) -> Self {
        let hint = near.map(|near| format!("did you mean `{near}`?"));
        Rejected::NotFound { kind, name: name.to_owned(), hint }.into()
    }

    /// A path that has other methods.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "The path has other methods",
            "the Allow header lists them",
        )
    }

    /// A call that cannot be read.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The call cannot be read", detail)
    }

    /// A body of another type.
    pub(crate) fn unsupported_type(detail: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The body has the wrong type", detail)
    }

    /// A body that is too long.
    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        let detail = format!("a body may have {limit_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    /// A body that did not come in time.
    pub(crate) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "The body took too long", "send it in one go")
    }

    /// A call for which there is no room now.
    pub(crate) fn busy(detail: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "There is no room", detail)
    }

    /// Something of our own that went wrong.
    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong", detail)
    }

    /// A value that cannot be.
    pub(crate) fn value(path: &str, message: impl Into<String>, hint: Option<String>) -> Self {
        Self::invalid(vec![Problem { path: path.to_owned(), line: None, message: message.into(), hint }])
    }

    /// Values that cannot be.
    pub(crate) fn invalid(problems: Vec<Problem>) -> Self {
        let summary = summary(&problems);
        let failure = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "It cannot be so", summary);
        Self { problems, ..failure }
    }

    /// Adds what is in force to the refusal of a stale change.
    #[must_use]
    pub(crate) fn with_current(self, current: Option<(Value, u64)>) -> Self {
        if self.status == StatusCode::PRECONDITION_FAILED {
            Self { current: current.map(Box::new), ..self }
        } else {
            self
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

fn summary(problems: &[Problem]) -> String {
    let Some(first) = problems.first() else { return "it is not good".into() };
    let more = match problems.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    if first.path.is_empty() {
        format!("{}{more}", first.message)
    } else {
        format!("{}: {}{more}", first.path, first.message)
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        let detail = rejected.to_string();
        match rejected {
            Rejected::NotFound { kind, name, hint } => {
                // A name from a path may be anything; it is shown only if it may be one.
                let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                let detail = format!("there is no {kind} `{name}`{hint}");
                Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail)
            }
            Rejected::Invalid(problems) => Self::invalid(problems),
            Rejected::Stale { .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "stale", "It has changed since", detail)
            }
            Rejected::Conflict(_) => {
                Self::new(StatusCode::CONFLICT, "conflict", "It cannot be done now", detail)
            }
            Rejected::NeedsRestart(_) => Self {
                problems: problems_of(&rejected),
                ..Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "needs-restart",
                    "Only a restart can change it",
                    detail,
                )
            },
            Rejected::NotDurable(_) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "not-durable",
                "The change could not be written down",
                detail,
            ),
            Rejected::TakingOver => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "taking-over",
                "A new process is taking over",
                "nothing was changed; ask again in a moment, and the new process will answer",
            ),
        }
    }
}

impl From<BadPlan> for Failure {
    fn from(bad: BadPlan) -> Self {
        match bad {
            BadPlan::UnknownFields(problems) => {
                let failure = Self::malformed(summary(&problems));
                Self { problems, ..failure }
            }
            BadPlan::Invalid(problems) => Self::invalid(problems),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut document = wire::ProblemDocument {
            kind: format!("urn:tidegate:problem:{}", self.kind),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            problems: self.problems.into_iter().map(wire::Problem::from).collect(),
            current: None,
        };
        let generation = self.current.map(|current| {
            let (current, generation) = *current;
            document.current = Some(current);
            generation
        });
        let mut response = (self.status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(etag) = generation.and_then(|generation| etag(generation).ok()) {
            headers.insert(ETAG, etag);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidegate\""));
        }
        response
    }
}

/// A generation as an entity tag.
pub(crate) fn etag(generation: u64) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    HeaderValue::from_str(&format!("\"{generation}\""))
}
