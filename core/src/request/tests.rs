//! Hosts, paths, addresses, cookies and queries as they are normalised.

use http::header::HeaderMap;

use super::*;

#[test]
fn hosts() {
    for (written, host) in [
        ("Shop.Example.com", "shop.example.com"),
        ("shop.example.com:8080", "shop.example.com"),
        ("shop.example.com.", "shop.example.com"),
        ("shop.example.com.:80", "shop.example.com"),
        ("[::1]:80", "::1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("", ""),
    ] {
        assert_eq!(normalise_host(written), host, "{written}");
    }
}

#[test]
fn paths() {
    for (written, path) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/../../b", "/b"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a//b", "/a//b"),
        ("/a/%2fb", "/a/%2fb"),
        ("/.../x", "/.../x"),
        ("/.well-known/x", "/.well-known/x"),
        ("*", "*"),
    ] {
        assert_eq!(normalise_path(written).as_deref(), Ok(path), "{written}");
    }
    assert_eq!(normalise_path("/a%00b"), Err(BadPath::Nul));
    for bad in ["/%", "/%2", "/%zz", "/a%2"] {
        assert_eq!(normalise_path(bad), Err(BadPath::MalformedPercent), "{bad}");
    }
}

#[test]
fn client_addresses() {
    let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    for (peer, forwarded, client, is_trusted) in [
        ("192.0.2.1", "1.2.3.4", "192.0.2.1", false),
        ("10.0.0.1", "1.2.3.4", "1.2.3.4", true),
        ("10.0.0.1", "1.2.3.4, 10.0.0.2", "1.2.3.4", true),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4", true),
        ("10.0.0.1", "", "10.0.0.1", true),
        ("10.0.0.1", "garbage", "10.0.0.1", true),
        ("10.0.0.1", "garbage, 10.0.0.9", "10.0.0.9", true),
        ("10.0.0.1", "1.2.3.4:5678", "1.2.3.4", true),
        ("10.0.0.1", "[2001:db8::1]:80", "2001:db8::1", true),
        ("::ffff:10.0.0.1", "::ffff:1.2.3.4", "1.2.3.4", true),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        let (address, from_trusted) = client_address(peer.parse().unwrap(), (&headers).into(), &trusted);
        assert_eq!((address.to_string().as_str(), from_trusted), (client, is_trusted), "{peer} {forwarded}");
    }
}

#[test]
fn cookies() {
    let mut headers = HeaderMap::new();
    headers.append("cookie", "a=1; b=\"two\"; a=3".parse().unwrap());
    headers.append("cookie", "c=4;d".parse().unwrap());
    assert_eq!(cookie((&headers).into(), "a"), Some(&b"1"[..]));
    assert_eq!(cookie((&headers).into(), "b"), Some(&b"two"[..]));
    assert_eq!(cookie((&headers).into(), "c"), Some(&b"4"[..]));
    assert_eq!(cookie((&headers).into(), "d"), None);
    assert_eq!(cookie((&headers).into(), "A"), None);
}

#[test]
fn queries() {
    let query = "a=1&b=x%20y+z&%61c=3&a=2&d&e=%zz";
    for (name, value) in [("a", "1"), ("b", "x y z"), ("ac", "3"), ("d", ""), ("e", "%zz")] {
        assert_eq!(query_parameter(query, name).as_deref(), Some(value.as_bytes()), "{name}");
    }
    assert!(query_parameter(query, "f").is_none());
}

#[test]
fn repeated_headers_are_joined() {
    let mut headers = HeaderMap::new();
    headers.append("x-a", "1".parse().unwrap());
    headers.append("x-a", "2".parse().unwrap());
    let name = HeaderName::from_static("x-a");
    assert_eq!(header_joined((&headers).into(), &name).as_deref(), Some(&b"1,2"[..]));
    assert!(header_joined((&headers).into(), &HeaderName::from_static("x-b")).is_none());
}
