//! HTTP/1.1 messages: what a request is, and where it and its answer end (RFC 9112).
//!
//! Pure, so that it can be tested as tables and fuzzed. What is let through here is what the data
//! plane forwards: nothing that two parsers could read in two ways.

pub mod answer;
pub mod framing;
pub mod head;
