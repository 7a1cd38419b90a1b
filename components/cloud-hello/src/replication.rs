//! How the regions' stores keep in step, as the store that answers sees it.
//!
//! keyvalue-valkey in replicated mode says so in one JSON document (`docs/replication.md`). It is
//! read like everything from outside: at most [`MAX_BYTES`] of it, and only what is shown. A field
//! of the wrong type makes it unreadable as a whole, rather than half of the answer wrong. A field
//! that is not known here is ignored, and most may be missing: a provider one version further, or
//! a region without a leader, still has something to say.

use serde::{Deserialize, Serialize};

use crate::host::{Host, StoreError};
use crate::region::RegionCode;
use crate::view::{Stopwatch, Timing};

/// How large a status may be, in bytes.
pub const MAX_BYTES: usize = 512 * 1024;

/// The phase of a region that has caught up and serves.
const READY: &str = "ready";

/// How the store is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// In one place, for all regions.
    Plain,
    /// In every region.
    Replicated(Box<Status>),
}

/// Why nothing can be said about replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("no store")]
    Store(StoreError),
    #[error("the status has more than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("the status is not what a replicated store says")]
    Unreadable,
}

/// What a replicated store says of itself and of the others.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// The region of the store, which need not be the component's: calls go where a store serves.
    pub region: RegionCode,
    pub group: String,
    pub phase: String,
    /// Writes that others are known to have and that are missing here; `None` without a leader.
    pub behind_operations: Option<u64>,
    /// For how long something has been missing here.
    pub behind_ms: Option<u64>,
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// Keys whose values were written by a clock too far ahead.
    pub ahead: Option<Vec<String>>,
    pub conflict_count: Option<u64>,
    /// The last conflicts, the latest at the end.
    #[serde(default)]
    pub conflicts: Vec<Conflict>,
    pub sent_bytes: Option<u64>,
}

/// Another region, seen from the one that answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Peer {
    pub region: RegionCode,
    /// Whether it spoke lately.
    pub live: bool,
    /// Whether it was silent for so long that nobody waits for it.
    #[serde(default)]
    pub evicted: bool,
    /// Whether nothing of it comes in, as it holds an old copy.
    #[serde(default)]
    pub refused: bool,
    /// Writes that are here and that it had not confirmed when it last spoke.
    pub behind_operations: u64,
    /// For how long it has not confirmed some of them; missing in what an older provider says.
    pub behind_ms: Option<u64>,
    pub silent_ms: Option<u64>,
    pub digest_equal: Option<bool>,
    pub received_bytes: Option<u64>,
}

/// Two writes of a key without knowledge of each other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Conflict {
    pub key: String,
    pub winner: Stamp,
    pub loser: Stamp,
    /// Milliseconds since the Unix epoch.
    pub at_ms: Option<u64>,
}

/// When and by whom a value was written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Stamp {
    pub at: Reading,
    pub author: Author,
}

/// A reading of a hybrid logical clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Reading {
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
    pub counter: u64,
}

/// A region in one life of its store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Author {
    pub region: RegionCode,
    pub incarnation: u64,
}

/// How a region is doing, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing is known to be missing.
    InStep,
    /// Writes are missing.
    Behind,
    /// It has not spoken lately: what is known of it is old.
    Silent,
    /// It has not spoken for so long that nobody waits for it.
    Evicted,
    /// It holds an old copy of which others remember more, and is to start anew. Nothing of it comes in.
    OldCopy,
    /// No write is missing, and yet its digest was another one. It is being repaired.
    Differs,
    /// Nobody can say: it starts, or has no leader.
    Unknown,
}

/// A region of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    pub region: &'a RegionCode,
    /// Whether it is the one that says all this.
    pub answering: bool,
    pub state: State,
    /// Writes that it is known not to have.
    pub behind_operations: Option<u64>,
    /// For how long it has been missing some.
    pub behind_ms: Option<u64>,
    pub silent_ms: Option<u64>,
    pub digest_equal: Option<bool>,
    /// Bytes that the answering region received from it.
    pub received_bytes: Option<u64>,
}

/// Asks the store how it is kept. One call.
pub fn look(host: &mut impl Host) -> Result<(Mode, Timing), Failure> {
    let mut watch = Stopwatch::start(host);
    let answer = host.status();
    watch.lap(host, "status");
    let mode = match answer {
        Ok(Some(document)) => Mode::Replicated(Box::new(Status::parse(&document)?)),
        // A store that knows the bucket has the key; one without buckets says that there is none.
        Ok(None) | Err(StoreError::NoSuchStore) => Mode::Plain,
        Err(error) => return Err(Failure::Store(error)),
    };
    Ok((mode, watch.stop(host)))
}

impl Status {
    /// Reads the document of a replicated store.
    pub fn parse(document: &[u8]) -> Result<Self, Failure> {
        if document.len() > MAX_BYTES {
            return Err(Failure::TooLarge);
        }
        serde_json::from_slice(document).map_err(|_| Failure::Unreadable)
    }

    /// All regions of the group, the answering one first.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        std::iter::once(self.own()).chain(self.peers.iter().map(Peer::member))
    }

    fn own(&self) -> Member<'_> {
        Member {
            region: &self.region,
            answering: true,
            state: match self.behind_operations {
                Some(0) if self.phase == READY => State::InStep,
                Some(0) | None => State::Unknown,
                Some(_) => State::Behind,
            },
            behind_operations: self.behind_operations,
            behind_ms: self.behind_ms,
            silent_ms: None,
            digest_equal: None,
            received_bytes: None,
        }
    }
}

impl Peer {
    fn member(&self) -> Member<'_> {
        Member {
            region: &self.region,
            answering: false,
            state: self.state(),
            behind_operations: Some(self.behind_operations),
            behind_ms: self.behind_ms,
            silent_ms: self.silent_ms,
            digest_equal: self.digest_equal,
            received_bytes: self.received_bytes,
        }
    }

    fn state(&self) -> State {
        if self.evicted {
            State::Evicted
        } else if !self.live {
            State::Silent
        } else if self.refused {
            State::OldCopy
        } else if self.behind_operations > 0 {
            State::Behind
        } else if self.digest_equal == Some(false) {
            State::Differs
        } else {
            State::InStep
        }
    }
}
