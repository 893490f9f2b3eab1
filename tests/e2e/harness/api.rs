//! The admin API as a program would call it: JSON over HTTP/1.1, one connection a call.

use std::net::SocketAddr;

use serde_json::Value;

use super::client::{Client, Request, Response};

/// Where the API is, and who calls.
#[derive(Clone)]
pub(crate) struct Api {
    address: SocketAddr,
    token: Option<String>,
}

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) response: Response,
}

impl Api {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, token: None }
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(json("PUT", path, body)).await
    }

    /// Post JSON; `Null` posts nothing.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(json("POST", path, body)).await
    }

    /// Any request; the `Host` is the API's own unless the request says otherwise.
    pub(crate) async fn send(&self, request: Request) -> Answer {
        let response = Client::new(self.address).ask(&self.signed(request)).await;
        Answer::of(response)
    }

    fn signed(&self, mut request: Request) -> Request {
        if request.host == "shop.test" {
            request.host = self.address.to_string();
        }
        match &self.token {
            Some(token) => request.header("authorization", &format!("Bearer {token}")),
            None => request,
        }
    }

    /// The split's weights in force.
    pub(crate) async fn weights(&self, split: &str) -> Value {
        self.get(&format!("/v1/splits/{split}")).await.ok()["weights"].take()
    }

    /// The state of an endpoint of a pool, by its address.
    pub(crate) async fn endpoint(&self, pool: &str, address: SocketAddr) -> Value {
        let body = self.get(&format!("/v1/pools/{pool}")).await.ok();
        let endpoints = body["endpoints"].as_array().expect("a pool has endpoints");
        let own = endpoints.iter().find(|endpoint| endpoint["address"] == address.to_string());
        own.cloned().unwrap_or(Value::Null)
    }

    /// Requests in flight in a pool, over its endpoints.
    pub(crate) async fn in_flight(&self, pool: &str) -> u64 {
        let body = self.get(&format!("/v1/pools/{pool}")).await.ok();
        let endpoints = body["endpoints"].as_array().expect("a pool has endpoints");
        endpoints.iter().map(|endpoint| endpoint["in_flight"].as_u64().expect("a number")).sum()
    }

    /// The text of `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        let answer = self.get("/metrics").await;
        assert_eq!(answer.status, 200, "{:?}", answer.response);
        answer.response.text()
    }
}

impl Answer {
    fn of(response: Response) -> Self {
        let body = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
        Self { status: response.status, body, response }
    }

    /// A 2xx, and its body.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.response.text());
        self.body
    }

    /// An error of that status, in the shape that all errors have, and its body.
    #[track_caller]
    pub(crate) fn problem(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.response.text());
        let kind = self.response.header("content-type").unwrap_or_default().to_owned();
        assert!(kind.starts_with("application/problem+json"), "{kind}: {}", self.response.text());
        assert_eq!(self.body["status"], status);
        for key in ["type", "title", "detail"] {
            assert!(self.body[key].is_string(), "{key} in {}", self.body);
        }
        self.body
    }
}

fn json(method: &str, path: &str, body: &Value) -> Request {
    if body.is_null() {
        return Request::new(method, path);
    }
    let mut request = Request::new(method, path).header("content-type", "application/json");
    request.body = body.to_string().into_bytes();
    request
}

/// The value of a metric's series: all of `labels` must be there. None when there is no such series.
pub(crate) fn metric(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let wanted: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    let of_name = text.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && wanted.iter().all(|label| line.contains(label.as_str()))
    });
    let values: Vec<f64> = of_name.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    if values.is_empty() { None } else { Some(values.iter().sum()) }
}
