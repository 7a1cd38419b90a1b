//! Why an attempt did not give an answer.

use std::error::Error;
use std::fmt;
use std::io;

use hyper_util::client::legacy;

/// Why an attempt did not give an answer; shown in `X-Edge-Tried`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection: the region saw nothing of the request.
    Connect,
    /// The connection broke.
    Reset,
    /// The connection was closed before a whole head arrived.
    Empty,
    /// What came was not HTTP.
    Invalid,
    /// The connection ended within the body.
    Truncated,
    /// No answer in time.
    Timeout,
    /// 502, 503 or 504.
    Status(u16),
    /// The visitor's own body failed; no upstream is to blame.
    Upload,
    /// Anything else.
    Other,
}

impl Failure {
    pub fn of(error: &legacy::Error) -> Self {
        if error.is_connect() {
            return Self::Connect;
        }
        let mut cause: Option<&(dyn Error + 'static)> = error.source();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                if error.is_user() {
                    return Self::Upload;
                }
                if error.is_parse() {
                    return Self::Invalid;
                }
                if error.is_incomplete_message() {
                    return Self::Empty;
                }
                if error.is_canceled() || error.is_closed() {
                    return Self::Reset;
                }
            }
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return match error.kind() {
                    io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::NotConnected => Self::Reset,
                    io::ErrorKind::UnexpectedEof => Self::Empty,
                    _ => Self::Other,
                };
            }
            cause = error.source();
        }
        Self::Other
    }

    /// The region cannot have acted on the request, so any method may be sent elsewhere.
    pub fn is_before_request(self) -> bool {
        self == Self::Connect
    }

    /// The region is to blame.
    pub fn is_regions_fault(self) -> bool {
        self != Self::Upload
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Empty => "empty",
            Self::Invalid => "invalid",
            Self::Truncated => "truncated",
            Self::Timeout => "timeout",
            Self::Status(status) => return write!(f, "{status}"),
            Self::Upload => "upload",
            Self::Other => "error",
        })
    }
}
