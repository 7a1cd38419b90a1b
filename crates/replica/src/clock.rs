//! Hybrid logical time.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::region::Author;

/// A reading of a hybrid logical clock: wall time as far as it goes, a counter beyond.
///
/// Ordered by wall time, then counter. Local writes take theirs within the store's script, from the
/// clock mark that lies in the store itself, so that a crash or a wall clock that steps back never
/// makes a later write look older.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Hlc {
    /// Milliseconds since the Unix epoch; below 2^53, the range a Valkey script counts exactly.
    pub wall_ms: u64,
    /// Orders readings within a millisecond.
    pub counter: u32,
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.wall_ms, self.counter)
    }
}

/// When and by whom a register was written. The order is total: no two writes share a stamp.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// When.
    pub at: Hlc,
    /// By whom.
    pub author: Author,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.author)
    }
}

/// The two times that an engine is told with every event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall time in milliseconds since the Unix epoch; may jump.
    pub wall_ms: u64,
    /// Milliseconds since some start; never goes back. Every timeout counts in these.
    pub mono_ms: u64,
}
