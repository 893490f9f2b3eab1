//! The words that tell an upstream what to do.

use std::time::Duration;

/// One behaviour. Times are milliseconds, sizes bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// `name`: 200 with its name as the body.
    Name,
    /// `echo`: 200 with the request's head, and length and sum of its body, as JSON.
    Echo,
    /// `status:503`
    Status(u16),
    /// `hang`: read the request, answer never.
    Hang,
    /// `reset`: read the request, reset the connection.
    Reset,
    /// `reset-mid`: half of a body, then a reset.
    ResetMid,
    /// `truncate`: half of a body with a length, then an orderly close.
    Truncate,
    /// `truncate-chunked`: one chunk, no last one, then an orderly close.
    TruncateChunked,
    /// `delay:500`: wait, then as `name`.
    Delay(Duration),
    /// `stream:5:100`: so many chunks, so far apart.
    Stream(usize, Duration),
    /// `bytes:1000`: so many patterned bytes with a length.
    Bytes(usize),
    /// `chunked:1000`: so many patterned bytes in chunks.
    Chunked(usize),
    /// `reflect`: the request's body back, piece by piece as it comes.
    Reflect,
    /// `early:413`: answer without reading the body, and close.
    Early(u16),
    /// `vanish`: answer as `name` and close without having announced it.
    Vanish,
    /// `hop`: answer with hop-by-hop headers.
    Hop,
    /// `fail:100`: of a thousand requests so many get a 500, drawn for each; the others as `name`.
    Fail(u64),
    /// `spread:10`: wait a time that is drawn for each, exponential with this mean, then as `name`.
    Spread(Duration),
}

impl Act {
    /// From its words; a wrong word is a mistake in the test.
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split(':');
        let word = words.next().unwrap_or_default();
        let mut number =
            || words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_else(|| bad(text));
        match word {
            "name" => Self::Name,
            "echo" => Self::Echo,
            "status" => Self::Status(status(number())),
            "hang" => Self::Hang,
            "reset" => Self::Reset,
            "reset-mid" => Self::ResetMid,
            "truncate" => Self::Truncate,
            "truncate-chunked" => Self::TruncateChunked,
            "delay" => Self::Delay(Duration::from_millis(number())),
            "stream" => Self::Stream(size(number()), Duration::from_millis(number())),
            "bytes" => Self::Bytes(size(number())),
            "chunked" => Self::Chunked(size(number())),
            "reflect" => Self::Reflect,
            "early" => Self::Early(status(number())),
            "vanish" => Self::Vanish,
            "hop" => Self::Hop,
            "fail" => Self::Fail(number()),
            "spread" => Self::Spread(Duration::from_millis(number())),
            _ => bad(text),
        }
    }

    /// What the request target's `do` parameter says.
    pub(crate) fn of_target(target: &str) -> Option<Self> {
        let (_, query) = target.split_once('?')?;
        let word = query.split('&').find_map(|pair| pair.strip_prefix("do="))?;
        Some(Self::parse(word))
    }
}

fn status(number: u64) -> u16 {
    u16::try_from(number).unwrap()
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn bad<T>(text: &str) -> T {
    panic!("an upstream does not know how to do {text:?}")
}
