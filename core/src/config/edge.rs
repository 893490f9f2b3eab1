//! `[server]`, `[[listeners]]`, `[log]` and `[admin]`: the process and its edges.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Cidr, Size, Span};

/// `[server]`: the process as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Worker threads; 0 = one per available core. Needs a restart.
    pub workers: u16,
    /// After SIGTERM, /readyz fails while connections are still accepted, for this long.
    pub shutdown_delay: Span,
    /// Then requests in flight may finish for this long; the process exits as soon as none is left.
    pub shutdown_timeout: Span,
    /// CIDRs whose X-Forwarded-* and trusted headers are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// Plain exchanges (HTTP/1.1 both ways, a body with a length, in chunks or none) take the express lane:
    /// the same answers at a fraction of the cost. Off = all of them go through pingora.
    pub express: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            workers: 0,
            shutdown_delay: Span::default(),
            shutdown_timeout: Span::secs(30),
            trusted_proxies: Vec::new(),
            express: true,
        }
    }
}

/// One of `[[listeners]]`: an address that accepts client connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// The listener's name. Required.
    pub name: String,
    /// `host:port`, or `unix:PATH`. Required; needs a restart.
    #[schemars(extend("format" = "address"))]
    pub address: String,
    /// Terminate TLS here. Absent = plain text. Protocol settings need a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// HTTP/2: with TLS by ALPN, without as prior-knowledge h2c beside HTTP/1.1.
    #[serde(default = "yes")]
    pub http2: bool,
    /// Expect the PROXY protocol, v1 or v2, before each connection.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Client connections held at once; 0 = no cap.
    #[serde(default)]
    pub max_connections: u32,
    /// The whole request head must be there within this, from its first byte or from accept.
    #[serde(default = "header_timeout")]
    pub header_timeout: Span,
    /// How long a kept-alive connection may idle between requests.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Span,
    /// A larger request head is answered with 431.
    #[serde(default = "max_header_size")]
    pub max_header_size: Size,
    /// A larger request body is answered with 413; 0 = no limit.
    #[serde(default)]
    pub max_body_size: Size,
}

fn yes() -> bool {
    true
}

fn header_timeout() -> Span {
    Span::secs(10)
}

fn idle_timeout() -> Span {
    Span::secs(75)
}

fn max_header_size() -> Size {
    Size(64 * 1024)
}

/// `listeners.tls`: TLS termination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificate chains with their keys; the first serves an unknown or absent SNI.
    pub certificates: Vec<Certificate>,
    /// PEM file of the authorities that client certificates must chain to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<String>,
    /// Whether a client certificate is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<ClientCert>,
    /// The oldest protocol version spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Answer 421 to a Host that differs from the SNI.
    #[serde(default)]
    pub strict_sni: bool,
}

/// A certificate chain and its private key, as PEM files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file of the chain, the leaf first.
    pub cert: String,
    /// PEM file of the private key.
    pub key: String,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientCert {
    /// A connection without a certificate is refused.
    Required,
    /// A certificate is checked when it is shown.
    Optional,
}

/// A TLS protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// `[log]`: the program's log and the access log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// error, warn, info, debug or trace; also per target, as `info,tidegate=debug`.
    pub level: String,
    /// One JSON line a request.
    pub access: OnOff,
    /// Share of requests that are logged, 0 to 1; failures always are.
    #[schemars(range(min = 0, max = 1))]
    pub access_sample: f64,
    /// `stdout`, or a file, opened again on SIGHUP.
    pub output: LogOutput,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), access: OnOff::Off, access_sample: 1.0, output: LogOutput::Stdout }
    }
}

/// A switch written as `on` or `off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnOff {
    /// Switched on.
    On,
    /// Switched off.
    #[default]
    Off,
}

/// Where log lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum LogOutput {
    /// Standard output.
    #[default]
    Stdout,
    /// A file, appended to.
    File(String),
}

impl From<String> for LogOutput {
    fn from(text: String) -> Self {
        if text == "stdout" { Self::Stdout } else { Self::File(text) }
    }
}

impl From<LogOutput> for String {
    fn from(output: LogOutput) -> Self {
        match output {
            LogOutput::Stdout => "stdout".into(),
            LogOutput::File(path) => path,
        }
    }
}

impl JsonSchema for LogOutput {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LogOutput".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

/// `[admin]`: the admin API. All of it needs a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// `host:port`, or `unix:PATH`.
    #[schemars(extend("format" = "address"))]
    pub address: String,
    /// File with the bearer token; required when the address is neither loopback nor a socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// Folder in which runtime changes survive a restart; absent = memory only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<String>,
    /// Host values accepted besides loopback names.
    pub allowed_hosts: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:9900".into(),
            token_file: None,
            state_dir: None,
            allowed_hosts: Vec::new(),
        }
    }
}
