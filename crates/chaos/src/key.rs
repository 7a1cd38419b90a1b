//! The keys that clients use: what is done with a key is in its name.

use std::fmt;

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every client of every region increments it, nobody does anything else.
    Counter,
    /// One client increments it, deletes it, and begins again.
    Tally,
    /// Set, deleted and read, by one client or by all.
    Register,
    /// The page's own; of these only agreement is asked.
    Page,
}

/// A key, by who uses it how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// A counter of all clients.
    Counter(u32),
    /// A register of all clients.
    Shared(u32),
    /// A register that only this client uses.
    Own(&'a str, u32),
    /// A register that this client sets and deletes in turn; it takes the next number when the
    /// outcome of a delete is unknown.
    Reborn(&'a str, u32),
    /// A counter that this client deletes now and then; it takes the next number when nobody can say how much of it
    /// a delete took.
    Tally(&'a str, u32),
    /// A key of the page.
    Page(&'a str),
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counter(number) => write!(f, "count/{number}"),
            Self::Shared(number) => write!(f, "shared/{number}"),
            Self::Own(client, number) => write!(f, "own/{client}/{number}"),
            Self::Reborn(client, number) => write!(f, "reborn/{client}/{number}"),
            Self::Tally(client, number) => write!(f, "tally/{client}/{number}"),
            Self::Page(key) => write!(f, "page/{key}"),
        }
    }
}

/// What is done with the key of this name.
#[must_use]
pub fn kind(key: &str) -> Kind {
    match key.split('/').next() {
        Some("count") => Kind::Counter,
        Some("tally") => Kind::Tally,
        Some("page") => Kind::Page,
        _ => Kind::Register,
    }
}

/// Whether only one client uses the key of this name.
#[must_use]
pub fn is_own(key: &str) -> bool {
    matches!(key.split('/').next(), Some("own" | "reborn" | "tally"))
}
