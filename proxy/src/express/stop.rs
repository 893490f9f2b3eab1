//! Why an exchange goes no further, and what the gateway calls that.

use pingora_core::{Error, ErrorType};

use crate::context::Context;

/// Whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    Exchange,
    Try,
    Upstream,
    Client,
}

/// Why an exchange goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    Upstream(Box<Error>),
    ClientGone,
    /// The request's chunks break the grammar.
    BadBody,
    TooLarge,
    Late(Late),
}

impl Stop {
    /// In the gateway's terms, with what it looks at beside an error.
    #[expect(clippy::unnecessary_box_returns, reason = "pingora's errors are boxed wherever they go")]
    pub(super) fn into_error(self, context: &Context) -> Box<Error> {
        let down = |kind, what: &'static str| Error::explain(kind, what).into_down();
        let late = || Error::explain(ErrorType::ReadTimedout, "the upstream took too long").into_up();
        match self {
            Self::Upstream(error) => error.into_up(),
            Self::ClientGone => down(ErrorType::ConnectionClosed, "the client went away"),
            Self::BadBody => {
                context.exchange.set_bad_body();
                down(ErrorType::InvalidHTTPHeader, "the request's chunked body is malformed")
            }
            Self::TooLarge => down(ErrorType::HTTPStatus(413), "the request body is too large"),
            Self::Late(Late::Client) => down(ErrorType::ReadTimedout, "the client sends nothing more"),
            Self::Late(Late::Exchange) => {
                context.exchange.set_timed_out();
                late()
            }
            Self::Late(Late::Try) => {
                context.exchange.set_try_timed_out();
                late()
            }
            Self::Late(Late::Upstream) => late(),
        }
    }
}
