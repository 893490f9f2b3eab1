//! An upstream's answer, checked before anything of it is sent on.
//!
//! What two readers could end in two places is refused here, as it is in a request: the client behind
//! us, or a cache in front of it, might read it otherwise. It costs a broken upstream a 502, which its
//! pool is charged with.

use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{StatusCode, Version};

use super::head::parse_length;

/// The last status there is (RFC 9110, 15).
const LAST_STATUS: u16 = 599;

/// Checks an answer's head; the error says what is wrong, for the log.
pub fn check(version: Version, status: StatusCode, fields: &HeaderMap) -> Result<(), &'static str> {
    if status.as_u16() > LAST_STATUS {
        return Err("the status is none");
    }
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    let (length, coding) = (lengths.next(), codings.next());
    if length.is_some() && coding.is_some() {
        return Err("the answer has both Content-Length and Transfer-Encoding");
    }
    if lengths.next().is_some() || codings.next().is_some() {
        return Err("Content-Length or Transfer-Encoding is repeated");
    }
    if length.is_some_and(|length| parse_length(length.as_bytes()).is_none()) {
        return Err("the Content-Length is not a number");
    }
    match coding {
        Some(_) if version == Version::HTTP_10 => Err("Transfer-Encoding needs HTTP/1.1"),
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Err("the only transfer coding known is chunked")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn is_good(version: Version, status: u16, fields: &[(&'static str, &'static str)]) -> bool {
        let fields: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, value);
                all
            });
        check(version, StatusCode::from_u16(status).unwrap(), &fields).is_ok()
    }

    #[test]
    fn lengths_and_codings() {
        const LENGTH: &str = "content-length";
        const CODING: &str = "transfer-encoding";
        for (fields, expected) in [
            (&[][..], true),
            (&[(LENGTH, "5")], true),
            (&[(CODING, "chunked")], true),
            (&[(CODING, "Chunked")], true),
            (&[(LENGTH, "5"), (LENGTH, "5")], false),
            (&[(LENGTH, "5, 5")], false),
            (&[(LENGTH, "+5")], false),
            (&[(LENGTH, "")], false),
            (&[(LENGTH, "18446744073709551616")], false),
            (&[(CODING, "chunked"), (LENGTH, "5")], false),
            (&[(CODING, "chunked"), (CODING, "chunked")], false),
            (&[(CODING, "gzip, chunked")], false),
            (&[(CODING, "identity")], false),
            (&[(CODING, "")], false),
        ] {
            assert_eq!(is_good(Version::HTTP_11, 200, fields), expected, "{fields:?}");
        }
        assert!(!is_good(Version::HTTP_10, 200, &[(CODING, "chunked")]));
    }

    #[test]
    fn statuses() {
        for (status, expected) in [(200, true), (299, true), (599, true), (600, false), (999, false)] {
            assert_eq!(is_good(Version::HTTP_11, status, &[]), expected, "{status}");
        }
    }
}
