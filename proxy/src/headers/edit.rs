//! A route's edits, carried out on pingora's heads, which keep more of a header than a map does.

use http::header::{HeaderName, HeaderValue};
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tidegate_core::edit::{Edits, Fields};

/// Edits what is sent upstream.
pub(crate) fn edit_request(head: &mut RequestHeader, edits: &Edits) -> Result<()> {
    edits.apply(&mut Request(head))
}

/// Edits what is answered.
pub(crate) fn edit_answer(head: &mut ResponseHeader, edits: &Edits) -> Result<()> {
    edits.apply(&mut Response(head))
}

struct Request<'a>(&'a mut RequestHeader);

impl Fields for Request<'_> {
    type Error = Box<Error>;

    fn remove(&mut self, name: &HeaderName) {
        self.0.remove_header(name);
    }

    fn set(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<()> {
        self.0.insert_header(name.clone(), value.clone())
    }

    fn add(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<()> {
        self.0.append_header(name.clone(), value.clone()).map(drop)
    }
}

struct Response<'a>(&'a mut ResponseHeader);

impl Fields for Response<'_> {
    type Error = Box<Error>;

    fn remove(&mut self, name: &HeaderName) {
        self.0.remove_header(name);
    }

    fn set(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<()> {
        self.0.insert_header(name.clone(), value.clone())
    }

    fn add(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<()> {
        self.0.append_header(name.clone(), value.clone()).map(drop)
    }
}
