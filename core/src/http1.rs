//! HTTP/1.1 messages as bytes: what a request is, and where it ends (RFC 9112).
//!
//! Pure, so that it can be tested as tables and fuzzed. What is let through here is what the data
//! plane forwards: nothing that two parsers could read in two ways.

pub mod framing;
pub mod head;
