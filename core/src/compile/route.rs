//! What one route of the table does.

use std::sync::Arc;

use super::split::Definitions;
use crate::action::{Action, Redirect, Respond};
use crate::config;
use crate::edit::Edits;
use crate::mirror::Mirror;
use crate::pool::Pool;
use crate::retry;
use crate::rewrite::Rewrite;
use crate::snapshot::Route;

/// Compiles a route, whose split is among `defined` and whose mirrors are among `pools`.
pub(super) fn compile(written: &config::Route, defined: &Definitions<'_>, pools: &[Arc<Pool>]) -> Route {
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
        mirrors: written.mirror.iter().map(|mirror| Mirror::compile(mirror, pools)).collect(),
        timeout: written.timeout.limit(),
        try_timeout: written.retry.try_timeout.limit(),
        retry: retry::Rule::compile(&written.retry),
    }
}
