//! The API's OpenAPI document, made from the handlers and the wire types.
//!
//! It is committed as `openapi.json` beside this crate, so that a change of the API shows in review;
//! a test compares the two (`TIDEGATE_BLESS=1` writes it again).

use axum::Json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, Ref};
use utoipa::{Modify, OpenApi};

use crate::{
    config, events, explain, history, metrics, pool_rollouts, pools, rollouts, routes, splits, status, wire,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Tidegate admin API", description = "Shift traffic, drain, explain, watch.", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    paths(
        status::livez, status::readyz, metrics::metrics, status::status,
        config::get, config::validate, config::reload, routes::list,
        splits::list, splits::get, splits::set_weights, splits::cutover, splits::revert,
        rollouts::start, rollouts::get, rollouts::pause, rollouts::resume, rollouts::promote, rollouts::abort,
        pools::list, pools::get, pools::set_endpoints, pools::drain, pools::undrain,
        pools::drain_endpoint, pools::undrain_endpoint,
        pool_rollouts::start, pool_rollouts::get, pool_rollouts::pause, pool_rollouts::resume,
        pool_rollouts::abort,
        explain::explain, history::list, history::restore, events::stream::events, openapi,
    ),
    components(schemas(wire::ProblemDocument)),
    modifiers(&Common)
)]
struct Api;

/// The document.
pub(crate) fn document() -> Document {
    Api::openapi()
}

/// This document
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, body = Object)))]
pub(crate) async fn openapi() -> Json<Document> {
    Json(document())
}

/// What all calls have in common.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut Document) {
        if let Some(components) = &mut document.components {
            let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
            components.add_security_scheme("token", bearer);
        }
        for (path, item) in &mut document.paths.paths {
            let calls = [
                (HttpMethod::Get, &mut item.get),
                (HttpMethod::Put, &mut item.put),
                (HttpMethod::Post, &mut item.post),
            ];
            for (method, call) in calls {
                if let Some(call) = call {
                    complete(path, &method, call);
                }
            }
        }
    }
}

fn complete(path: &str, method: &HttpMethod, call: &mut Operation) {
    call.operation_id = Some(operation_id(path, method));
    if !path.starts_with("/v1") {
        return;
    }
    let is_query =
        matches!(method, HttpMethod::Get) || ["/v1/explain", "/v1/config/validate"].contains(&path);
    if !is_query {
        call.parameters.get_or_insert_default().extend(of_a_change());
    }
    let document = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemDocument"))).build();
    let failure = ResponseBuilder::new()
        .description("it was refused or failed")
        .content("application/problem+json", document)
        .build();
    call.responses.responses.insert("default".into(), failure.into());
    let none: [&str; 0] = [];
    call.security = Some(vec![SecurityRequirement::default(), SecurityRequirement::new("token", none)]);
}

/// A name for generated clients: the method and the words of the path.
fn operation_id(path: &str, method: &HttpMethod) -> String {
    let words = path.trim_start_matches("/v1").replace(['{', '}'], "").replace(['/', '.'], "_");
    let method = match method {
        HttpMethod::Get => "get",
        HttpMethod::Put => "put",
        _ => "post",
    };
    format!("{method}{words}")
}

/// What every change takes beside its body.
fn of_a_change() -> Vec<Parameter> {
    let parameter = |name: &str, place, kind, description: &str| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .description(Some(description))
            .schema(Some(ObjectBuilder::new().schema_type(kind)))
            .build()
    };
    vec![
        parameter("dry_run", ParameterIn::Query, Type::Boolean, "answer what would change, and do nothing"),
        parameter(
            "if-match",
            ParameterIn::Header,
            Type::String,
            "refuse if it has changed since this `ETag`",
        ),
        parameter("x-tidegate-actor", ParameterIn::Header, Type::String, "who calls, for the history"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_the_one_that_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let served = serde_json::to_string_pretty(&document()).expect("JSON") + "\n";
        if std::env::var_os("TIDEGATE_BLESS").is_some() {
            std::fs::write(path, &served).expect("openapi.json is writable");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == served, "openapi.json differs: run the test with TIDEGATE_BLESS=1");
    }
}
