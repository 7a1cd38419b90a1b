//! Why an operation did not do what was asked.

use std::time::Duration;

/// Every failure a caller can see. `handler` turns it into the WIT error, in one place.
///
/// No variant carries a value or a credential, and no text that Valkey quotes back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The call came by no link that this provider knows, or by one whose config it refused.
    #[error("{reason}")]
    NoLink {
        /// Which link, and what is wrong with it.
        reason: String,
    },
    /// The bucket is neither `default` nor declared in the link's `buckets`.
    #[error("no such bucket; the link's `buckets` does not declare it")]
    NoSuchBucket,
    /// Valkey refused the credentials, or the user may not run the command.
    #[error("access denied by Valkey ({code})")]
    AccessDenied {
        /// Valkey's error code: `NOAUTH`, `WRONGPASS` or `NOPERM`.
        code: String,
    },
    /// The key is the empty string.
    #[error("the key is empty")]
    EmptyKey,
    /// The key is longer than the link's `max_key_bytes`.
    #[error("the key has {bytes} bytes, at most {max} are allowed (`max_key_bytes`)")]
    KeyTooLong {
        /// Length of the key.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The key lies where the provider keeps other buckets.
    #[error("keys that start with `{}` are reserved", crate::bucket::RESERVED)]
    ReservedKey,
    /// The value is larger than the link's `max_value_bytes`.
    #[error("the value has {bytes} bytes, at most {max} are allowed (`max_value_bytes`)")]
    ValueTooLarge {
        /// Length of the value.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The batch names more keys than the link's `max_batch_keys`.
    #[error("the batch has {keys} keys, at most {max} are allowed (`max_batch_keys`)")]
    BatchTooLong {
        /// Number of keys.
        keys: usize,
        /// The bound.
        max: usize,
    },
    /// Keys and values of the batch, or of its answer, exceed the link's `max_batch_bytes`.
    #[error(
        "keys and values add up to {bytes} bytes, at most {max} are allowed (`max_batch_bytes`)"
    )]
    BatchTooLarge {
        /// Bytes of all keys and values.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// `increment` met a value that is not a canonical decimal `u64`.
    #[error("the value is not a counter: not a decimal number from 0 to 18446744073709551615 without sign or leading zeros")]
    NotANumber,
    /// The sum does not fit a `u64`; the value is unchanged.
    #[error("the counter would exceed 18446744073709551615; it is unchanged")]
    Overflow,
    /// The key holds a list, hash or another type that is not a string.
    #[error("the key holds a Valkey type other than a string (WRONGTYPE)")]
    WrongType,
    /// There is no usable connection; the command was not sent.
    #[error("not connected to Valkey: {reason}; the command was not sent")]
    NotConnected {
        /// What the last attempt met.
        reason: String,
    },
    /// A read got no answer. Reading again is safe.
    #[error("no answer from Valkey: {cause}")]
    NoAnswer {
        /// Deadline or lost connection.
        cause: String,
    },
    /// A write got no answer: it may or may not have taken effect, now or shortly. It is never sent again.
    #[error("the outcome is unknown: {cause}; the write may or may not have taken effect")]
    OutcomeUnknown {
        /// Deadline or lost connection.
        cause: String,
    },
    /// A write is stored here, but not enough other regions said in time that they have it, too.
    #[error(
        "the outcome is unknown: the write is stored in this region and will spread, but only {confirmed} of \
         {wanted} other regions confirmed it within {} ms (`ack_timeout_ms`)",
        within.as_millis()
    )]
    Unconfirmed {
        /// Regions that said so.
        confirmed: usize,
        /// Regions that had to (`ack`).
        wanted: usize,
        /// How long they had.
        within: Duration,
    },
    /// The region's store is not, or not yet, in step with the others; nothing was written.
    #[error("the store is unavailable, not caught up: {reason}; nothing was written")]
    Unavailable {
        /// What it waits for.
        reason: String,
    },
    /// The link, or the database it names, is used in another way already.
    #[error("the link is refused: {reason}")]
    LinkRefused {
        /// In which way, and by whom.
        reason: String,
    },
    /// The bucket is written by the provider alone.
    #[error("the bucket `{}` is read-only", crate::bucket::STATUS)]
    ReadOnlyBucket,
    /// Valkey is at `maxmemory`; nothing was written.
    #[error("Valkey is out of memory (OOM); nothing was written")]
    OutOfMemory,
    /// The Valkey is a read-only replica; nothing was written.
    #[error("Valkey is a read-only replica (READONLY); nothing was written")]
    ReadOnly,
    /// Valkey cannot persist and refuses writes; nothing was written.
    #[error("Valkey cannot persist to disk and refuses writes (MISCONF); nothing was written")]
    NotPersisting,
    /// Valkey is still reading its data from disk.
    #[error("Valkey is loading its data (LOADING)")]
    Loading,
    /// Valkey refused the command for another reason; it had no effect.
    #[error("Valkey refused the command: {reason}")]
    Refused {
        /// Error code and the unquoted start of its text.
        reason: String,
    },
    /// The reply was not of the expected type.
    #[error("Valkey sent a reply of an unexpected type")]
    UnexpectedReply,
}

/// What the operations of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
