//! A proxy of pingora-proxy and nothing else: what the library itself costs.
//!
//! Each request goes to one upstream that is known at the start; nothing is routed, checked, counted or logged. It
//! has Tidegate's allocator, so that what differs between the two is Tidegate's own.

use std::fs;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use pingora_core::apps::HttpServerOptions;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Everything to one upstream.
struct Bare {
    peer: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(self.peer.clone()))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        (): &mut (),
    ) -> pingora_core::Result<()> {
        // Else a client's last request would be its upstream connection's last, too.
        request.remove_header("connection");
        Ok(())
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--version") {
        println!("{}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let value = |name: &str| {
        let found = arguments.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.with_context(|| format!("{name} is missing"))
    };
    for name in ["--cert", "--key"] {
        if fs::metadata(value(name)?).is_err() {
            bail!("{name} is no file");
        }
    }
    let local = |name: &str| Ok::<_, anyhow::Error>(format!("127.0.0.1:{}", value(name)?));
    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 256,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let options = || {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options
    };

    let http1 = HttpPeer::new(local("--upstream")?, false, String::new());
    let mut service = http_proxy_service(&server.configuration, Bare { peer: http1 });
    if let Some(proxy) = service.app_logic_mut() {
        proxy.server_options = Some(options());
    }
    service.add_tcp(&local("--plain")?);
    service.add_tcp(&local("--h2")?);
    service
        .add_tls(&local("--tls")?, value("--cert")?, value("--key")?)
        .map_err(|why| anyhow::anyhow!("TLS: {why}"))?;
    server.add_service(service);

    let mut http2 = HttpPeer::new(local("--grpc-upstream")?, false, String::new());
    http2.options.set_http_version(2, 2);
    http2.options.max_h2_streams = 1_000;
    let mut grpc = http_proxy_service(&server.configuration, Bare { peer: http2 });
    if let Some(proxy) = grpc.app_logic_mut() {
        proxy.server_options = Some(options());
    }
    grpc.add_tcp(&local("--grpc")?);
    server.add_service(grpc);
    server.run_forever();
}
