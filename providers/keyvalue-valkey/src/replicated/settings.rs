//! How a link wants its store replicated.

use std::time::Duration;

use replica::region::Region;

/// What all links to one database have to agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The lattice. Groups of different lattices know nothing of each other.
    pub lattice: String,
    /// The replication group.
    pub group: String,
    /// The region that this provider and its Valkey are in.
    pub region: Region,
    /// A member silent for longer than this is evicted.
    pub retention: Duration,
    /// A tombstone is kept at least this long.
    pub tombstone: Duration,
    /// A stamp further ahead than this does not move the local clock.
    pub clock_bound: Duration,
    /// Time between two comparisons of digests.
    pub digest: Duration,
}

/// What a write of one link waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// For this region's store alone.
    Local,
    /// For other regions, too.
    Regions {
        /// How many.
        count: usize,
        /// How long.
        within: Duration,
    },
}

impl Settings {
    /// The defaults for a region of a group of a lattice.
    pub fn new(lattice: impl Into<String>, group: impl Into<String>, region: Region) -> Self {
        Self {
            lattice: lattice.into(),
            group: group.into(),
            region,
            retention: Duration::from_secs(24 * 3600),
            tombstone: Duration::from_secs(600),
            clock_bound: Duration::from_millis(500),
            digest: Duration::from_secs(60),
        }
    }

    /// The engine's view of it.
    pub(super) fn engine(&self, entropy: u64) -> replica::Config {
        replica::Config {
            retention_ms: milliseconds(self.retention),
            tombstone_ms: milliseconds(self.tombstone),
            clock_bound_ms: milliseconds(self.clock_bound),
            digest_ms: milliseconds(self.digest),
            bytes: PAGE_BYTES,
            ..replica::Config::new(self.group.clone(), self.region.clone(), entropy)
        }
    }
}

/// Bytes of keys and values in a page or a batch of pushes: usually below NATS's 1 MiB message with their metadata;
/// what is not goes in parts.
pub(super) const PAGE_BYTES: usize = 512 * 1024;

/// Whole milliseconds, for an engine that counts in them.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
