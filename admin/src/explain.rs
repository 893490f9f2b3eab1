//! Where a request would go, and why: computed by the very function that routes requests.

use axum::Json;
use axum::extract::State;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::IpAddr;
use tidegate_core::action::{Action, Came};
use tidegate_core::decide::{Decided, Decision, KeyOrigin, Taken, decide, key_from, rescue};
use tidegate_core::pick::Entropy;
use tidegate_core::request::{RequestView, Scheme, client_address, cookie, normalise_host, normalise_path};
use tidegate_core::route::RouteId;
use tidegate_core::snapshot::{Snapshot, Split};
use tidegate_core::split::score;

use crate::body::Input;
use crate::error::Failure;
use crate::router::App;
use crate::wire;

/// Explain where a request goes
#[utoipa::path(post, path = "/v1/explain", request_body = wire::Explain,
    responses((status = 200, body = wire::Explained)))]
pub(crate) async fn explain(
    State(app): State<App>,
    Input(body): Input<wire::Explain>,
) -> Result<Json<wire::Explained>, Failure> {
    let snapshot = app.control.live().snapshot();
    let method: Method = body
        .method
        .parse()
        .map_err(|_| Failure::value("method", format!("`{}` is not a method", body.method), None))?;
    let headers = headers(&body)?;
    let peer: IpAddr = body
        .client
        .parse()
        .map_err(|_| Failure::value("client", format!("`{}` is not an IP address", body.client), None))?;
    let (client, trusted) = client_address(peer, (&headers).into(), &snapshot.settings.trusted_proxies);
    let (path, query) = target(&body.path)?;
    let path = normalise_path(path).map_err(|why| Failure::value("path", why.to_string(), None))?;
    let host = body.host.as_deref().or_else(|| headers.get(http::header::HOST)?.to_str().ok());
    let host = normalise_host(host.unwrap_or_default());
    let headers = (&headers).into();
    let view = RequestView { method: &method, host: &host, path: &path, query, headers, client, trusted };
    let mono_ms = app.control.clock().mono_ms();
    let port =
        app.control.process().listeners().first().and_then(|listener| listener.address.port()).unwrap_or(80);
    Ok(Json(show(&snapshot, &view, mono_ms, port)))
}

/// The path and the query of what was given as the path.
fn target(path: &str) -> Result<(&str, Option<&str>), Failure> {
    if !path.starts_with('/') || path.contains(|c: char| c.is_ascii_control() || c == ' ' || c == '#') {
        return Err(Failure::value("path", "is not a path, which begins with `/`", None));
    }
    Ok(path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query))))
}

fn headers(body: &wire::Explain) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in &body.headers {
        let bad =
            |what: &str| Failure::value(&format!("headers.{name}"), format!("is not a header {what}"), None);
        let parsed: HeaderName = name.parse().map_err(|_| bad("name"))?;
        for line in value.lines() {
            let line = HeaderValue::from_bytes(line.as_bytes()).map_err(|_| bad("value"))?;
            headers.try_append(parsed.clone(), line).map_err(|_| bad("that there is room for"))?;
        }
    }
    Ok(headers)
}

fn show(snapshot: &Snapshot, view: &RequestView<'_>, mono_ms: u64, port: u16) -> wire::Explained {
    let mut entropy = entropy();
    let client = view.client.to_string();
    let Some(decided) = decide(snapshot, view, mono_ms, &mut entropy) else {
        let rejected = rejected(snapshot, view, None);
        return wire::Explained { client, rejected, ..wire::Explained::default() };
    };
    let rejected = rejected(snapshot, view, Some(decided.taken().route));
    match decided {
        Decided::Answered(taken) => wire::Explained {
            route: Some(snapshot.route(taken.route).name.to_string()),
            answer: answer(snapshot, view, taken, port),
            client,
            rejected,
            ..wire::Explained::default()
        },
        Decided::Forwarded(decision) => {
            wire::Explained { client, rejected, ..forwarded(snapshot, view, mono_ms, &decision) }
        }
    }
}

/// Of a question, which has none of its own.
fn entropy() -> Entropy {
    Entropy::new(RandomState::new().build_hasher().finish())
}

/// What a route answers by itself, over plain HTTP at a listener of this port.
fn answer(
    snapshot: &Snapshot,
    view: &RequestView<'_>,
    taken: Taken,
    port: u16,
) -> Option<wire::ExplainedAnswer> {
    match &snapshot.route(taken.route).action {
        Action::Split(_) => None,
        Action::Redirect(redirect) => {
            let RequestView { host, path, query, .. } = *view;
            let scheme = Scheme::Http;
            let came = Came { scheme, host, port, path, prefix_bytes: taken.prefix_bytes, query };
            let location = redirect.location(&came);
            // Without a host there is nowhere to lead on to.
            let status = if location.is_some() { redirect.status } else { 400 };
            Some(wire::ExplainedAnswer { status, location })
        }
        Action::Respond(respond) => Some(wire::ExplainedAnswer { status: respond.status, location: None }),
    }
}

fn forwarded(
    snapshot: &Snapshot,
    view: &RequestView<'_>,
    mono_ms: u64,
    decision: &Decision,
) -> wire::Explained {
    let split = snapshot.split(decision.split);
    let member = decision.serving(snapshot);
    let pool = snapshot.pool(member.pool);
    let endpoints = pool.endpoints.iter().map(|endpoint| wire::ExplainedEndpoint {
        address: endpoint.address().to_string(),
        state: pool.state(endpoint, mono_ms).as_str(),
    });
    let picked = decision.endpoint.and_then(|at| pool.endpoints.get(at));
    let rescue = rescue(snapshot, decision, view, mono_ms, &mut entropy());
    wire::Explained {
        route: Some(snapshot.route(decision.taken.route).name.to_string()),
        split: (!split.name.is_empty()).then(|| split.name.to_string()),
        key: key(split, view, decision),
        pool: Some(member.name.to_string()),
        chosen: Some(split.member(decision.chosen).name.to_string()),
        reason: Some(decision.reason.as_str()),
        rescue: rescue.map(|there| there.serving(snapshot).name.to_string()),
        scores: decision.key_hash.map(|hash| scores(split, hash)).unwrap_or_default(),
        endpoints: endpoints.collect(),
        endpoint: picked.map(|endpoint| endpoint.address().to_string()),
        waits: decision.waits,
        ..wire::Explained::default()
    }
}

fn key(split: &Split, view: &RequestView<'_>, decision: &Decision) -> Option<wire::ExplainedKey> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match decision.key? {
        KeyOrigin::Source(at) => {
            let source = split.key.get(at)?;
            let value = key_from(source, view)?;
            Some(wire::ExplainedKey { source: source.to_string(), value: text(&value) })
        }
        KeyOrigin::AssignedBefore => {
            let name = &split.assign.as_ref()?.cookie;
            let value = cookie(view.headers, name)?;
            Some(wire::ExplainedKey { source: format!("cookie:{name}"), value: text(value) })
        }
        KeyOrigin::Assigned(id) => {
            Some(wire::ExplainedKey { source: "assign".into(), value: id.as_str().to_owned() })
        }
    }
}

fn scores(split: &Split, key_hash: u64) -> std::collections::BTreeMap<String, f64> {
    let weighted = split.members.iter().filter_map(|m| Some((m, m.weight.filter(|weight| *weight > 0)?)));
    weighted.map(|(m, weight)| (m.name.to_string(), score(key_hash, m.hash, weight))).collect()
}

fn rejected(snapshot: &Snapshot, view: &RequestView<'_>, winner: Option<RouteId>) -> Vec<wire::Rejection> {
    let rejections = snapshot.table.rejections(view, winner).into_iter();
    rejections
        .map(|(route, why)| wire::Rejection { route: snapshot.route(route).name.to_string(), why })
        .collect()
}
