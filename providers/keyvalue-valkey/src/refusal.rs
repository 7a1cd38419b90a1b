//! What redis's errors mean here.
//!
//! Valkey quotes arguments back in some of its error texts (`unknown command … with args beginning
//! with …`), so no text of its is passed on past the first quotation mark.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::Error;

/// Why there is no usable connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    /// Valkey's code, when the credentials are the reason.
    denied: Option<String>,
}

impl Refusal {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            denied: None,
        }
    }

    /// What a call made meanwhile is answered.
    pub(crate) fn to_error(&self) -> Error {
        match &self.denied {
            Some(code) => Error::AccessDenied { code: code.clone() },
            None => Error::NotConnected {
                reason: self.reason.clone(),
            },
        }
    }
}

impl From<&RedisError> for Refusal {
    fn from(error: &RedisError) -> Self {
        let denied = match (error.code(), error.kind()) {
            (Some(code @ ("NOAUTH" | "WRONGPASS" | "NOPERM")), _) => Some(code.to_owned()),
            (_, ErrorKind::AuthenticationFailed) => Some("WRONGPASS".to_owned()),
            _ => None,
        };
        Self {
            reason: describe(error),
            denied,
        }
    }
}

/// Whether repeating a command could change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
}

/// What a failed command means to its caller.
pub(crate) fn classify(error: &RedisError, effect: Effect) -> Error {
    match error.code() {
        Some(code @ ("NOAUTH" | "WRONGPASS" | "NOPERM")) => Error::AccessDenied {
            code: code.to_owned(),
        },
        Some("WRONGTYPE") => Error::WrongType,
        Some("OOM") => Error::OutOfMemory,
        Some("READONLY") => Error::ReadOnly,
        Some("MISCONF") => Error::NotPersisting,
        Some("LOADING") => Error::Loading,
        Some("NOTANUMBER") => Error::NotANumber,
        Some("OVERFLOW") => Error::Overflow,
        // Any other reply is still a reply: the command was refused before it did anything.
        Some(_) => Error::Refused {
            reason: describe(error),
        },
        None => match error.kind() {
            ErrorKind::UnexpectedReturnType => Error::UnexpectedReply,
            // The socket failed while the command was under way.
            _ => unanswered(effect, describe(error)),
        },
    }
}

/// What the caller of a command without a reply is told.
pub(crate) fn unanswered(effect: Effect, cause: String) -> Error {
    match effect {
        Effect::Read => Error::NoAnswer { cause },
        Effect::Write => Error::OutcomeUnknown { cause },
    }
}

/// An error in words that quote nothing of what was sent.
pub(crate) fn describe(error: &RedisError) -> String {
    if error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading) {
        return "the server is loading its data (LOADING)".to_owned();
    }
    let Some(code) = error.code() else {
        return match error.kind() {
            ErrorKind::Io
            | ErrorKind::Client
            | ErrorKind::InvalidClientConfig
            | ErrorKind::RESP3NotSupported => error.to_string(),
            _ => error.category().to_owned(),
        };
    };
    let text = error.detail().unwrap_or_default();
    let unquoted = text
        .split(['\'', '"', '`', ':', ','])
        .next()
        .unwrap_or_default()
        .trim();
    if unquoted.is_empty() {
        code.to_owned()
    } else {
        format!("{code} {unquoted}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> RedisError {
        redis::parse_redis_value(format!("-{line}\r\n").as_bytes())
            .and_then(redis::Value::extract_error)
            .unwrap_err()
    }

    #[test]
    fn an_error_text_that_quotes_arguments_is_cut() {
        let error = reply(
            "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'hunter2'",
        );
        assert_eq!(describe(&error), "ERR unknown command");
        assert_eq!(
            describe(&reply("ERR DB index is out of range")),
            "ERR DB index is out of range"
        );
    }

    #[test]
    fn replies_map_to_errors_of_their_own() {
        for (line, expected) in [
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                Error::WrongType,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Error::OutOfMemory,
            ),
            (
                "READONLY You can't write against a read only replica.",
                Error::ReadOnly,
            ),
            (
                "LOADING Valkey is loading the dataset in memory",
                Error::Loading,
            ),
            (
                "MISCONF Valkey is configured to save RDB snapshots, but",
                Error::NotPersisting,
            ),
            (
                "NOAUTH Authentication required.",
                Error::AccessDenied {
                    code: "NOAUTH".into(),
                },
            ),
            (
                "WRONGPASS invalid username-password pair",
                Error::AccessDenied {
                    code: "WRONGPASS".into(),
                },
            ),
            (
                "NOPERM User alice has no permissions",
                Error::AccessDenied {
                    code: "NOPERM".into(),
                },
            ),
            (
                "BUSY a script is running",
                Error::Refused {
                    reason: "BUSY a script is running".into(),
                },
            ),
        ] {
            for effect in [Effect::Read, Effect::Write] {
                assert_eq!(classify(&reply(line), effect), expected, "{line}");
            }
        }
    }

    #[test]
    fn a_lost_connection_leaves_the_outcome_of_a_write_unknown() {
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(
            classify(&lost, Effect::Write),
            Error::OutcomeUnknown { .. }
        ));
        assert!(matches!(
            classify(&lost, Effect::Read),
            Error::NoAnswer { .. }
        ));
    }
}
