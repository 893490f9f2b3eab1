//! What tests of the core are made of: valid files and requests, in a line each.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method};

use crate::change::{Change, Now, Rejected, Request};
use crate::compile::{Input, Reuse, compile};
use crate::config::Config;
use crate::live::{Applied, Live};
use crate::request::RequestView;
use crate::snapshot::Snapshot;
use crate::state::{Entry, State};
use crate::validate::Valid;

/// The file of this text and a listener.
pub(crate) fn config(text: &str) -> Arc<Valid<Config>> {
    let text = format!("{text}\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:8080\"\n");
    let written: Config = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    Arc::new(Valid::new(written).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}")))
}

/// The first table of a file.
pub(crate) fn snapshot(text: &str) -> Snapshot {
    compile(Input { config: &config(text), state: &State::default(), generation: 1 }, Reuse::Cells(None))
}

/// A moment, with the wall clock a long way ahead of the monotonic one.
pub(crate) fn at(mono_ms: u64) -> Now {
    Now { mono_ms, wall_ms: 1_700_000_000_000 + mono_ms }
}

/// A change by an operator.
pub(crate) fn wanted(change: Change) -> Request {
    Request { change, actor: "ann".into(), reason: Some("because".into()), if_match: None }
}

/// A request that owns its parts.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) client: IpAddr,
    pub(crate) trusted: bool,
}

/// A request written as `GET host/path?query`.
pub(crate) fn ask(line: &str) -> Asked {
    let (method, url) = line.split_once(' ').expect("a method and a URL");
    let (host, target) = url.find('/').map_or((url, "/"), |at| url.split_at(at));
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Asked {
        method: method.parse().expect("a method"),
        host: crate::request::normalise_host(host).into_owned(),
        path: crate::request::normalise_path(path).expect("a good path").into_owned(),
        query: query.map(str::to_owned),
        headers: HeaderMap::new(),
        client: IpAddr::from([192, 0, 2, 1]),
        trusted: false,
    }
}

impl Asked {
    /// With one more header line.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        self.headers.append(name, value.parse().expect("a header value"));
        self
    }

    /// From this client.
    pub(crate) fn from(mut self, client: &str) -> Self {
        self.client = client.parse().expect("an address");
        self
    }

    /// Through a trusted proxy.
    pub(crate) fn trusted(mut self) -> Self {
        self.trusted = true;
        self
    }

    /// As decisions see it.
    pub(crate) fn view(&self) -> RequestView<'_> {
        RequestView {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            headers: (&self.headers).into(),
            client: self.client,
            trusted: self.trusted,
        }
    }
}

/// A running table with its clock, and what a process leaves to the next one.
pub(crate) struct Running {
    pub(crate) live: Arc<Live>,
    pub(crate) now: Now,
}

impl Running {
    /// The first process on a file.
    pub(crate) fn start(text: &str) -> Self {
        let now = at(1_000);
        let (live, ..) = Live::start(config(text), &State::default(), VecDeque::new(), now);
        Self { live: Arc::new(live), now }
    }

    /// Another process on a file, with the state and history that this one leaves on disk. Its
    /// monotonic clock begins anew.
    pub(crate) fn restart(&mut self, text: &str) {
        let view = self.live.view();
        let state = serde_json::to_string(&view.state).expect("a state can be written");
        let state: State = serde_json::from_str(&state).expect("and read");
        let history = serde_json::to_string(&view.history.iter().map(|e| &**e).collect::<Vec<_>>());
        let history: Vec<Entry> = serde_json::from_str(&history.expect("a history, too")).expect("and read");
        self.now.mono_ms = 7;
        let history = history.into_iter().map(Arc::new).collect();
        self.live = Arc::new(Live::start(config(text), &state, history, self.now).0);
    }

    /// Lets time pass on both clocks.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
    }

    /// Makes a change by an operator.
    pub(crate) fn apply(&mut self, change: Change) -> Result<Applied, Rejected> {
        self.live.apply(&wanted(change), self.now, |_| Ok(()))
    }
}
