//! What two independent encoders write, followed.

use fluke_hpack::Encoder;
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::listen::h2::PREFACE;

fn found(fields: &mut Fields, block: &[u8]) -> Found {
    fields.read(block);
    fields.end()
}

fn encoded(encoder: &mut Encoder<'_>, fields: &[(&str, &str)]) -> Vec<u8> {
    encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

const NOTHING: Found = Found { pseudo_header: false, fragment: false };
const PSEUDO: Found = Found { pseudo_header: true, fragment: false };
const FRAGMENT: Found = Found { pseudo_header: true, fragment: true };

#[test]
fn kinds_of_fields() {
    for (name, field, expected) in [
        ("an ordinary field", ("x-a", "b#c"), NOTHING),
        ("a colon later", ("x:path", "#"), NOTHING),
        ("a method", (":method", "GET"), PSEUDO),
        ("a path", (":path", "/a?b"), PSEUDO),
        ("a path with a fragment", (":path", "/a#b"), FRAGMENT),
        ("an empty path", (":path", ""), PSEUDO),
        ("another name with a fragment", (":authority", "a#b"), PSEUDO),
        ("a shorter name", (":pat", "#"), PSEUDO),
        ("a longer name", (":pathy", "#"), PSEUDO),
        ("an unknown name", (":x", "#"), PSEUDO),
        ("a colon", (":", "#"), PSEUDO),
        ("no name", ("", "#"), NOTHING),
    ] {
        let (mut fields, mut encoder) = (Fields::new(), Encoder::new());
        let block = encoded(&mut encoder, &[field]);
        assert_eq!(found(&mut fields, &block), expected, "{name}");
        let again = encoded(&mut encoder, &[field]);
        assert_eq!(found(&mut fields, &again), expected, "{name}, from the table");
        assert_eq!(found(&mut fields, &[]), NOTHING, "nothing is left of {name}");
    }
}

#[test]
fn blocks_in_pieces_are_the_same() {
    let block = encoded(&mut Encoder::new(), &[(":path", &format!("/{}#", "a".repeat(400))), ("x-a", "b")]);
    for size in [1, 2, 3, 127, block.len()] {
        let mut fields = Fields::new();
        block.chunks(size).for_each(|piece| fields.read(piece));
        assert_eq!(fields.end(), FRAGMENT, "in pieces of {size}");
    }
}

/// Examples of RFC 7541: C.4.1 to C.4.3 in Huffman's code, with the sizes of the table that they give.
#[test]
fn examples_of_the_rfc() {
    let mut fields = Fields::new();
    let blocks: [(&[u8], usize); 3] = [
        (b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", 57),
        (b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf", 110),
        (
            b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
            164,
        ),
    ];
    for (block, size) in blocks {
        assert_eq!(found(&mut fields, block), PSEUDO);
        assert_eq!(fields.table_size, size);
    }
}

/// In Huffman's code, with each byte that a value may have, until the table has been filled many times over.
#[tokio::test]
async fn what_a_client_writes_is_followed() {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let (mut client, connection) = h2::client::handshake(near).await.expect("a connection");
    let writing = tokio::spawn(connection);
    let bytes: Vec<u8> = (32..=255).filter(|byte| *byte != 127).collect();
    let mut heads = Frames::default();
    let mut fields = Fields::new();
    for at in 0..300_usize {
        let value: Vec<u8> = bytes.iter().copied().cycle().skip(at).take(at * 7 % 400).collect();
        let value = value.strip_prefix(b" ").unwrap_or(&value);
        let request = http::Request::get(format!("http://a.test/{at}"))
            .header("x-often", "the same")
            .header("x-value", value)
            .body(())
            .expect("a request");
        let (_, mut stream) = client.send_request(request, false).expect("a stream");
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-often", "the same".parse().expect("a value"));
        stream.send_trailers(trailers).expect("trailers");
        for expected in [PSEUDO, NOTHING] {
            let block = heads.next(&mut far).await;
            assert_eq!(found(&mut fields, &block), expected, "request {at}");
        }
        let is_kept = |field: &Field| field.name_length == 7 && field.value_length == value.len();
        assert!(fields.table.iter().any(is_kept), "no value of {} bytes at {at}", value.len());
        assert!(fields.table_size <= MAX_TABLE);
        assert!(matches!(fields.next, Next::Field), "lost at {at}");
    }
    writing.abort();
}

/// Takes the blocks out of what a client sends; each is one frame.
#[derive(Default)]
struct Frames {
    begun: bool,
}

impl Frames {
    async fn next(&mut self, far: &mut tokio::io::DuplexStream) -> Vec<u8> {
        if !std::mem::replace(&mut self.begun, true) {
            far.read_exact(&mut [0; PREFACE.len()]).await.expect("a preface");
        }
        loop {
            let mut header = [0; 9];
            far.read_exact(&mut header).await.expect("a frame");
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let mut payload = vec![0; length as usize];
            far.read_exact(&mut payload).await.expect("a frame");
            if header[3] == 1 {
                return payload;
            }
        }
    }
}

#[test]
fn what_cannot_be_decoded_is_followed_no_further() {
    for (name, block) in [
        ("index 0", &b"\x80"[..]),
        ("an index that is not there", b"\xbe"),
        ("a number without end", b"\xff\xff\xff\xff\xff\xff"),
        ("a table that is too large", b"\x3f\xe2\xff\x7f"),
        ("half a field", b"\x40\x03abc"),
        ("half a string", b"\x40\x7fabc"),
    ] {
        let mut fields = Fields::new();
        found(&mut fields, block);
        assert!(matches!(fields.next, Next::Lost), "{name}");
        assert_eq!(found(&mut fields, b"\x82"), NOTHING, "{name}");
    }
}

#[test]
fn a_table_is_made_smaller() {
    let (mut fields, mut encoder) = (Fields::new(), Encoder::new());
    found(&mut fields, &encoded(&mut encoder, &[("x-a", "b"), ("x-c", "d")]));
    assert_eq!(fields.table.len(), 2);
    found(&mut fields, b"\x3f\x05\x82");
    assert_eq!((fields.table.len(), fields.max_table), (1, 36));
    found(&mut fields, b"\x20\x82");
    assert_eq!((fields.table.len(), fields.table_size), (0, 0));
}
