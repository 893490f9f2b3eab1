//! The URLs that hooks are called at: `http` or `https`, a host, a port, and what is asked for there.
//!
//! No secret is in what [`Url`] shows: a name and password in a URL are refused, since the whole URL
//! stands in plans, logs and answers of the API, and a query, which may hold a key, is not shown.
//! Whether anybody answers there is not asked here.

use std::fmt;
use std::str::FromStr;

/// A URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether the scheme is `https`.
    pub is_tls: bool,
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// As written, or the scheme's own.
    pub port: u16,
    /// Host and port as written: what the `Host` header says.
    pub authority: String,
    /// Path and query, as the request line has them.
    pub target: String,
}

/// Why a text is not the URL of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadUrl {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

impl FromStr for Url {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = || {
            // What cannot be taken apart may hold a password all the same.
            let shown = if text.contains('@') { "it".to_owned() } else { format!("`{text}`") };
            let message = format!("{shown} is not a URL such as \"http://127.0.0.1:9100/approve\"");
            BadUrl { message, hint: None }
        };
        let uri: http::Uri = text.parse().map_err(|_| bad())?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        if authority.as_str().contains('@') {
            return Err(BadUrl {
                message: "holds a name or a password, which would be shown wherever the URL is".into(),
                hint: Some("put a token into a file, and name that in `token_file`"),
            });
        }
        let host = authority.host();
        let port = match &authority.as_str()[host.len()..] {
            "" if is_tls => 443,
            "" => 80,
            // Also `None` for a port above 65535.
            _ => authority.port_u16().filter(|port| *port != 0).ok_or_else(bad)?,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad());
        }
        let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        // `http://host?x` has no path, and a request line needs one.
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            target: format!("{slash}{target}"),
        })
    }
}

/// Without the query.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, is_tls, host, port, authority, target) in [
            ("http://127.0.0.1:9100/approve", false, "127.0.0.1", 9100, "127.0.0.1:9100", "/approve"),
            ("https://ops.example.com/a/b?c=d", true, "ops.example.com", 443, "ops.example.com", "/a/b?c=d"),
            ("http://ops", false, "ops", 80, "ops", "/"),
            ("http://ops?a=b", false, "ops", 80, "ops", "/?a=b"),
            ("https://[::1]:8443/", true, "::1", 8443, "[::1]:8443", "/"),
            ("http://[::1]/", false, "::1", 80, "[::1]", "/"),
            ("http://ops/a#b", false, "ops", 80, "ops", "/a"),
        ] {
            let url: Url = text.parse().expect(text);
            let (host, authority, target) = (host.into(), authority.into(), target.into());
            assert_eq!(url, Url { is_tls, host, port, authority, target }, "{text}");
        }
    }

    #[test]
    fn what_a_hook_cannot_be_called_at_is_refused() {
        for text in [
            "",
            "ops",
            "/approve",
            "ftp://ops/",
            "http://",
            "http:///approve",
            "http://:80/",
            "http://ops:/",
            "http://ops:0/",
            "http://ops:65536/",
            "http://a b/",
            "http://ops/\u{e9}\n",
        ] {
            let bad = text.parse::<Url>().expect_err(text);
            assert!(bad.message.contains("is not a URL such as"), "{text}: {bad:?}");
        }
    }

    #[test]
    fn no_password_is_taken_or_shown() {
        for text in [
            "http://me:secret@ops/",
            "https://secret@ops:1/",
            "http://me:secret@ops:x/",
            "http://me:se cret@ops/",
            "me:secret@ops",
        ] {
            let bad = text.parse::<Url>().expect_err(text);
            assert!(!bad.message.contains("cret"), "{text}: {bad:?}");
        }
        let url: Url = "https://ops/call?key=secret".parse().expect("good");
        assert_eq!(url.to_string(), "https://ops/call");
    }
}
