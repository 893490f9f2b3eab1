//! Configurations and requests of the benchmarks.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};
use tidegate_core::config::Config;
use tidegate_core::config::read::read;
use tidegate_core::request::RequestView;
use tidegate_core::validate::Valid;

/// Half of the routes have a host of their own, half a prefix on one host; one split of two pools
/// takes them all, weighted `stable` to 5.
pub(crate) fn config(routes: usize, stable: u32) -> Arc<Valid<Config>> {
    let mut text = format!(
        "[[listeners]]\nname = 'web'\naddress = '127.0.0.1:8080'\n\
         [pools.stable]\nendpoints = ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3']\n\
         [pools.canary]\nendpoints = ['127.0.0.1:4', '127.0.0.1:5']\n\
         [splits.shop]\nweights = {{ stable = {stable}, canary = 5 }}\nkey = ['header:x-user-id', 'cookie:uid']\n"
    );
    for n in 0..routes {
        let place = if n % 2 == 0 {
            format!("hosts = ['h{n}.example.com']")
        } else {
            format!("hosts = ['shop.example.com']\nmatches = [{{ path = {{ prefix = '/p{n}/x' }} }}]")
        };
        writeln!(text, "[[routes]]\nname = 'r{n}'\nsplit = 'shop'\n{place}").expect("memory");
    }
    Arc::new(read(&text, &|_| None).expect("a good file"))
}

/// What a browser sends, about.
pub(crate) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "shop.example.com"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("cookie", "theme=dark; uid=user-42; consent=yes"),
        ("x-user-id", "user-42"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

/// A request for this host and path.
pub(crate) fn request<'a>(headers: &'a HeaderMap, host: &'a str, path: &'a str) -> RequestView<'a> {
    RequestView {
        method: &Method::GET,
        host,
        path,
        query: Some("page=2"),
        headers: headers.into(),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        trusted: false,
    }
}
