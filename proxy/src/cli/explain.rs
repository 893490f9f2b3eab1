//! `tidegate explain`: which route, pool and endpoint would take a request, and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use http::Uri;
use serde_json::{Value, json};

use super::connection::Connection;
use super::failure::Failure;
use super::model::{self, Explanation};
use super::paint::{Paint, Tone};
use super::status::tone;
use super::table::{Align, Table, cell};

/// Show which route, pool and endpoint would take a request, and why.
///
/// It is computed by the function that routes requests; nothing is sent.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: tidegate explain http://shop.example.com/checkout -H 'x-user-id: alice'")]
pub(super) struct Arguments {
    /// The request's URL; a query may be part of it.
    #[arg(value_parser = url)]
    url: Uri,
    /// A header of the request; may be given again.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The request's method.
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (client, screen) = arguments.connection.open()?;
    let answer = client.post("/v1/explain", &question(arguments)).await?.body;
    let explanation: Explanation = model::read(&answer)?;
    screen.show(&answer, || render(arguments, &explanation, screen.paint))
}

fn url(text: &str) -> Result<Uri, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    // `http::Uri` names no host for a path alone, and refuses what has white space in it.
    let uri: Option<Uri> = whole.parse().ok();
    uri.filter(|uri| uri.authority().is_some())
        .ok_or_else(|| "write it with its host, as in http://shop.example.com/checkout".to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write NAME: VALUE, as in 'x-user-id: alice'")?;
    let name = http::HeaderName::from_bytes(name.trim().as_bytes())
        .map_err(|_| format!("`{}` cannot be the name of a header", name.trim()))?;
    Ok((name.as_str().to_owned(), value.trim().to_owned()))
}

/// The call's body.
fn question(arguments: &Arguments) -> Value {
    let mut headers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in &arguments.headers {
        headers.entry(name).or_default().push(value);
    }
    let mut body = json!({
        "method": arguments.method,
        "host": arguments.url.authority().map_or("", |authority| authority.as_str()),
        "path": path(&arguments.url),
        "headers": headers,
    });
    if let Some(client) = arguments.client {
        body["client"] = client.to_string().into();
    }
    body
}

/// The path with its query.
fn path(url: &Uri) -> &str {
    match url.path_and_query().map_or("", |path| path.as_str()) {
        "" => "/",
        path => path,
    }
}

fn render(asked: &Arguments, found: &Explanation, paint: Paint) -> String {
    let mut text = format!("{} {}\n", asked.method, asked.url);
    let mut facts = Table::new(&[("", Align::Left), ("", Align::Left)]);
    let mut fact = |name: &str, value: String, tone| facts.row([cell(name, Tone::Faint), cell(value, tone)]);
    match &found.route {
        Some(route) => fact("route", route.clone(), Tone::Strong),
        None => fact("route", "none takes it: 404".into(), Tone::Warn),
    }
    if let Some(split) = found.split.as_ref().filter(|split| !split.is_empty()) {
        fact("split", split.clone(), Tone::Plain);
    }
    if let Some(answer) = &found.answer {
        let to = answer.location.as_ref().map(|location| format!(" to {location}")).unwrap_or_default();
        fact("answers", format!("{}{to}", answer.status), Tone::Good);
    } else if found.route.is_some() {
        let key = found.key.as_ref().map(|key| format!("{}  ({})", key.value, key.source));
        fact("key", key.unwrap_or_else(|| "none".into()), Tone::Plain);
        let pool = found.pool.clone().unwrap_or_default();
        fact("pool", format!("{pool}  ({})", because(found)), Tone::Good);
        match &found.endpoint {
            Some(endpoint) => fact("endpoint", endpoint.clone(), Tone::Plain),
            None => fact("endpoint", "none can be used: 503".into(), Tone::Bad),
        }
    }
    let others = found.endpoints.iter().filter(|other| Some(&other.address) != found.endpoint.as_ref());
    for other in others {
        fact("", format!("{}  ({})", other.address, other.state), tone(&other.state));
    }
    text.push_str(&facts.render(paint));
    text.push_str(&scores(&found.scores, paint));
    if !found.rejected.is_empty() {
        let _ = writeln!(text, "\n{}", paint.faint("other routes"));
    }
    for rejected in &found.rejected {
        let _ = writeln!(text, "{}: {}", rejected.route, rejected.why);
    }
    text
}

/// A reason of the contract in words.
fn because(found: &Explanation) -> String {
    match found.reason.as_deref().unwrap_or_default() {
        "override" => "an override holds".into(),
        "bucket" => "by the hash of its key".into(),
        "random" => "drawn by share: it has no key".into(),
        "fallback" => {
            format!(
                "in place of {}, which has no usable endpoint",
                found.chosen.as_deref().unwrap_or("its own")
            )
        }
        "only" => "there is no other".into(),
        other => other.into(),
    }
}

/// The scores, the highest first.
fn scores(scores: &BTreeMap<String, f64>, paint: Paint) -> String {
    if scores.is_empty() {
        return String::new();
    }
    let mut sorted: Vec<(&String, &f64)> = scores.iter().collect();
    sorted.sort_by(|a, b| b.1.total_cmp(a.1));
    let mut table = Table::new(&[("pool", Align::Left), ("score", Align::Right)]);
    for (pool, score) in sorted {
        table.row([pool.as_str().into(), format!("{score:.3}").into()]);
    }
    format!("\n{}", table.render(paint))
}

#[cfg(test)]
mod tests;
