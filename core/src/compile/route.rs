//! What one route of the table does.

use super::split::Definitions;
use crate::action::{Action, Redirect, Respond};
use crate::config;
use crate::edit::Edits;
use crate::retry;
use crate::rewrite::Rewrite;
use crate::snapshot::Route;

/// Compiles a route, whose split is among `defined`.
pub(super) fn compile(written: &config::Route, defined: &Definitions<'_>) -> Route {
    let action = match (&written.redirect, &written.respond) {
        (Some(redirect), _) => Action::Redirect(Redirect::compile(redirect)),
        (None, Some(respond)) => Action::Respond(Respond::compile(respond)),
        (None, None) => Action::Split(defined.of_route(written)),
    };
    Route {
        name: written.name.as_str().into(),
        action,
        rewrite: Rewrite::compile(written.rewrite.as_ref()),
        request_headers: Edits::compile(&written.request_headers),
        response_headers: Edits::compile(&written.response_headers),
        timeout: written.timeout.limit(),
        try_timeout: written.retry.try_timeout.limit(),
        retry: retry::Rule::compile(&written.retry),
    }
}
