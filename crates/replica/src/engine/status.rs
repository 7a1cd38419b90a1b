//! What an engine tells an operator.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::boot::Phase;
use super::Engine;
use crate::clock::Stamp;
use crate::region::Region;

/// How a region is doing, as JSON for whoever asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// This region.
    pub region: Region,
    /// The replication group.
    pub group: String,
    /// The store's incarnation, in hexadecimal; empty before it is known.
    pub incarnation: String,
    /// `down`, `loading`, `foreign`, `minting`, `adopting`, `joining`, `ready`, `draining` or `wiping`.
    pub phase: Cow<'static, str>,
    /// Writes that others are known to have and that are missing here.
    pub behind_operations: u64,
    /// For how long something has been missing here, in milliseconds.
    pub behind_ms: u64,
    /// The other regions.
    pub peers: Vec<PeerStatus>,
    /// Keys whose registers come from a clock too far ahead.
    pub ahead: Vec<String>,
    /// How many conflicts were resolved since the start.
    pub conflict_count: u64,
    /// The last of them.
    pub conflicts: Vec<ConflictStatus>,
    /// Bytes sent to other regions since the start.
    pub sent_bytes: u64,
    /// Entries that wait to be applied.
    pub waiting: u64,
    /// Messages that were dropped because too many waited; what they carried is pulled.
    pub dropped: u64,
}

/// How another region is doing, seen from here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name.
    pub region: Region,
    /// Whether it spoke lately.
    pub live: bool,
    /// Whether it was silent for too long.
    pub evicted: bool,
    /// Milliseconds since it spoke.
    pub silent_ms: u64,
    /// Writes that are here and that it had not confirmed in its last hello.
    pub behind_operations: u64,
    /// For how long it has not confirmed something that is here, in milliseconds, to within a second. Older providers
    /// do not say.
    #[serde(default)]
    pub behind_ms: u64,
    /// Its wall clock minus ours, in milliseconds, with the way in between.
    pub clock_offset_ms: i64,
    /// Whether the last digests were equal.
    pub digest_equal: Option<bool>,
    /// Bytes received from it.
    pub received_bytes: u64,
    /// Whether nothing of it comes in ([`Notice::OldCopy`](super::Notice::OldCopy)). Older providers do not say.
    #[serde(default)]
    pub refused: bool,
}

/// How a peer takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It speaks.
    Live,
    /// It speaks, and nothing of it comes in.
    OldCopy,
    /// It has not spoken lately.
    Silent,
    /// It was silent for too long.
    Evicted,
}

impl PeerState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Live, Self::OldCopy, Self::Silent, Self::Evicted];

    /// Its name, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::OldCopy => "old-copy",
            Self::Silent => "silent",
            Self::Evicted => "evicted",
        }
    }
}

impl PeerStatus {
    /// How it takes part.
    pub fn state(&self) -> PeerState {
        match (self.evicted, self.live, self.refused) {
            (true, _, _) => PeerState::Evicted,
            (false, false, _) => PeerState::Silent,
            (false, true, true) => PeerState::OldCopy,
            (false, true, false) => PeerState::Live,
        }
    }
}

/// Two writes of a key without knowledge of each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConflictStatus {
    /// The key.
    pub key: String,
    /// The write that stays.
    pub winner: Stamp,
    /// The write that is gone.
    pub loser: Stamp,
    /// When it was resolved here, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl Engine {
    /// How the region is doing.
    pub fn status(&self) -> Status {
        let now = self.now.mono_ms;
        let live = |region: &Region| self.is_live(region);
        let missing = self
            .peers
            .values()
            .map(|peer| self.vector.behind(&peer.vector));
        let since = self
            .peers
            .values()
            .filter_map(|peer| peer.behind_since)
            .min();
        Status {
            region: self.config.region.clone(),
            group: self.config.group.clone(),
            incarnation: self
                .author
                .as_ref()
                .map_or(String::new(), |author| author.incarnation.to_string()),
            phase: self.phase.name().into(),
            behind_operations: missing.max().unwrap_or(0),
            behind_ms: since.map_or(0, |since| now.saturating_sub(since)),
            peers: self
                .peers
                .iter()
                .map(|(region, peer)| PeerStatus {
                    region: region.clone(),
                    live: live(region),
                    evicted: peer.evicted,
                    silent_ms: peer.silent_ms(now),
                    behind_operations: peer.vector.behind(&self.vector),
                    behind_ms: peer.lags_ms(now),
                    clock_offset_ms: peer.clock_offset_ms,
                    digest_equal: peer.digest_equal,
                    received_bytes: peer.received_bytes,
                    refused: peer.refused && live(region),
                })
                .collect(),
            ahead: self.ahead_now(),
            conflict_count: self.conflict_count,
            conflicts: self.conflicts.iter().cloned().collect(),
            sent_bytes: self.sent_bytes,
            waiting: u64::try_from(self.waiting.entries).unwrap_or(u64::MAX),
            dropped: self.dropped,
        }
    }
}

impl Engine {
    /// The keys whose registers' clocks are still too far ahead.
    fn ahead_now(&self) -> Vec<String> {
        let bound = self.now.wall_ms.saturating_add(self.config.clock_bound_ms);
        let ahead = self.ahead.iter();
        let ahead = ahead.filter(|(_, stamp)| stamp.at.wall_ms > bound);
        ahead.map(|(key, _)| shown(key)).collect()
    }
}

/// A key for a status, cut where it is long: two hundred of them have to fit.
pub(super) fn shown(key: &str) -> String {
    const MOST: usize = 256;
    if key.len() <= MOST {
        return key.to_owned();
    }
    let cut = (0..=MOST).rev().find(|at| key.is_char_boundary(*at));
    format!("{}…", key.get(..cut.unwrap_or(0)).unwrap_or_default())
}

impl Status {
    /// Whether the region serves and lacks nothing that others are known to have.
    pub fn in_step(&self) -> bool {
        self.phase == "ready" && self.behind_operations == 0
    }
}

impl Phase {
    fn name(&self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Loading => "loading",
            Self::Foreign => "foreign",
            Self::Minting => "minting",
            Self::Adopting => "adopting",
            Self::Joining { .. } => "joining",
            Self::Ready => "ready",
            Self::Draining { .. } => "draining",
            Self::Wiping => "wiping",
        }
    }
}
