//! What an engine is told once.

use crate::region::Region;

/// How a region takes part in a group. Times are in milliseconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// The replication group.
    pub group: String,
    /// This region.
    pub region: Region,
    /// Random: tells an engine's life from every other one.
    pub entropy: u64,
    /// Between two hellos.
    pub hello_ms: u64,
    /// How long a starting region waits for peers to speak up.
    pub join_ms: u64,
    /// How long a missing write may be on its way before it is pulled.
    pub gap_ms: u64,
    /// Between two readings of a peer's change log of which nothing is known to be missing.
    pub pull_ms: u64,
    /// Between two looks at what of the change log all have read.
    pub trim_ms: u64,
    /// Changes that are kept for a member who does not read them, beyond one and a half of each key; in place of more it is
    /// given all keys.
    pub log: usize,
    /// After this long without an answer a peer is asked no more for a while.
    pub answer_ms: u64,
    /// A register from a clock further ahead than this does not move the local clock.
    pub clock_bound_ms: u64,
    /// A tombstone is kept at least this long.
    pub tombstone_ms: u64,
    /// A member silent for longer than this is evicted: it is no longer waited for.
    pub retention_ms: u64,
    /// Between two comparisons of digests.
    pub digest_ms: u64,
    /// Stores that this one was filled from and that are kept, at most; there are about as many as there are regions,
    /// and one more whenever a region's disk is lost.
    pub origins: usize,
    /// Entries that one step in the store reads or writes, at most: requests of components wait for it.
    pub rows: usize,
    /// Entries in an answer to a pull, at most. An answer takes a round trip, so it carries many steps' worth.
    pub page: usize,
    /// Bytes in a page, at most (but for one entry).
    pub bytes: usize,
    /// Entries that wait to be applied, at most; what comes beyond is dropped and pulled later.
    pub queue: usize,
    /// Bytes of keys and values that wait to be applied, at most; as many again may wait for an earlier write.
    pub queue_bytes: usize,
}

impl Config {
    /// The defaults for a region of a group.
    pub fn new(group: String, region: Region, entropy: u64) -> Self {
        Self {
            group,
            region,
            entropy,
            hello_ms: 1_000,
            join_ms: 2_000,
            gap_ms: 100,
            pull_ms: 30_000,
            trim_ms: 10_000,
            log: 10_000,
            answer_ms: 3_000,
            clock_bound_ms: 500,
            tombstone_ms: 600_000,
            retention_ms: 24 * 3_600_000,
            digest_ms: 60_000,
            origins: 256,
            rows: 256,
            page: 4_096,
            bytes: 1 << 20,
            queue: 8_192,
            queue_bytes: 32 << 20,
        }
    }
}
