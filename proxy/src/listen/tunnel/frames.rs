//! Where the frames of a WebSocket begin and end, in one direction (RFC 6455, 5.2).
//!
//! Only lengths are looked at, and whether a Close frame has passed: nothing is decoded, unmasked or kept.

/// A Close frame with 1001, "going away", as a server sends it.
pub(super) const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];
/// The same as a client sends it, masked with zeros.
pub(super) const GOING_AWAY_MASKED: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

const CLOSE: u8 = 8;
const MAX_HEADER: usize = 14;

/// Follows the frames of one direction through whatever pieces they come in.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; MAX_HEADER],
    have: usize,
    /// Of the payload, still to come.
    left: u64,
    closed: bool,
}

impl Frames {
    /// Whether the last byte seen was the last of a frame.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// Whether this direction has said Close.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// How many more bytes surely belong to the frame under way.
    pub(super) fn left_of_frame(&self) -> usize {
        if self.left > 0 {
            return usize::try_from(self.left).unwrap_or(usize::MAX);
        }
        self.header_length().map_or(1, |length| length - self.have)
    }

    pub(super) fn look(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= passed as u64;
                bytes = &bytes[passed..];
                continue;
            }
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.header_length() == Some(self.have) {
                self.closed |= self.header[0] & 0xf == CLOSE;
                self.left = self.payload();
                self.have = 0;
            }
        }
    }

    /// The length of the header under way, once its second byte is there.
    fn header_length(&self) -> Option<usize> {
        if self.have < 2 {
            return None;
        }
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        Some(2 + extended + mask)
    }

    fn payload(&self) -> u64 {
        let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        match self.header[1] & 0x7f {
            126 => big_endian(&self.header[2..4]),
            127 => big_endian(&self.header[2..10]),
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_lengths_in_any_pieces() {
        let long = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &vec![7; 65_536]].concat();
        for frame in [
            vec![0x81, 0],
            vec![0x81, 3, 1, 2, 3],
            vec![0x81, 0x83, 9, 9, 9, 9, 1, 2, 3],
            [&[0x02, 126, 0, 200][..], &[7; 200]].concat(),
            [&[0x02, 0xfe, 0, 200, 1, 2, 3, 4][..], &[7; 200]].concat(),
            long,
        ] {
            for size in [1, 2, 3, 11, frame.len()] {
                let mut frames = Frames::default();
                let mut seen = 0;
                for piece in frame.chunks(size) {
                    assert!(seen == 0 || frames.left_of_frame() <= frame.len() - seen);
                    frames.look(piece);
                    seen += piece.len();
                    assert_eq!(frames.is_between(), seen == frame.len(), "{seen} of {}", frame.len());
                }
                assert!(!frames.closed());
            }
        }
    }

    #[test]
    fn a_close_is_noticed() {
        for close in [GOING_AWAY, GOING_AWAY_MASKED] {
            let mut frames = Frames::default();
            frames.look(&[0x81, 1, b'x']);
            frames.look(close);
            assert!(frames.closed() && frames.is_between());
        }
    }
}
