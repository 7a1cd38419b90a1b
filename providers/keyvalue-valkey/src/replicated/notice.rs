//! What the engine wants an operator to know: in the log at once, in the health while it matters.

use std::time::{Duration, Instant};

use crate::handler::shown;
use replica::region::Region;
use replica::{Notice, PeerState, Reason, Refused, Status};
use tracing::{debug, error, info, warn};

/// Lines of one kind in [`WINDOW`], at most; a peer that sends garbage must not fill the disk.
const MOST: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);
/// How long a refused message is mentioned in the health.
const MENTION: Duration = Duration::from_secs(60);

/// What was noticed.
#[derive(Debug, Default)]
pub(super) struct Notices {
    refused: Pace,
    conflicts: Pace,
    ahead: Pace,
    failures: Pace,
    refusal: Option<(Instant, String)>,
    foreign: Option<String>,
    evicted: Vec<Region>,
    copies: Vec<Region>,
    unequal: Option<Region>,
}

impl Notices {
    pub(super) fn note(&mut self, notice: Notice) {
        match notice {
            Notice::Joined(region) => info!(%region, "a region takes part"),
            Notice::Evicted(region) => {
                warn!(%region, "a region was silent for too long and is no member any more");
            }
            Notice::Minted(incarnation, Reason::New) => {
                info!(%incarnation, "the store joins as a new one");
            }
            Notice::Minted(incarnation, reason) => {
                warn!(%incarnation, ?reason, "the store goes on in a new incarnation");
            }
            Notice::Forgotten(region) => {
                warn!(%region, "a region is given up: it is neither waited for nor listened to");
            }
            Notice::WrittenPlain => {
                warn!("links in plain mode may have written to the store since it was replicated: what differs counts as written here now");
            }
            Notice::StartsAnew(reason) => {
                warn!(
                    ?reason,
                    "the store starts anew, as soon as others have what only it has"
                );
            }
            Notice::Conflict { key, winner, loser } => {
                if let Some(unsaid) = self.conflicts.admit() {
                    info!(key = shown(&key), %winner, %loser, unsaid, "two regions wrote a key without knowing of each other");
                }
            }
            Notice::Ahead { key, stamp } => {
                if let Some(unsaid) = self.ahead.admit() {
                    warn!(key = shown(&key), %stamp, unsaid, "a write comes from a clock that is too far ahead");
                }
            }
            Notice::OldCopy(region) => {
                warn!(%region, "a region's content comes from an old copy: nothing of it comes in before it has started anew");
            }
            Notice::Refused(refused) => self.refused(&words(&refused)),
            Notice::Digest { peer, equal: true } => {
                if self.unequal.as_ref() == Some(&peer) {
                    self.unequal = None;
                    info!(region = %peer, "both regions hold the same again");
                } else {
                    debug!(region = %peer, "both regions hold the same");
                }
            }
            Notice::Digest { peer, equal: false } => {
                error!(region = %peer, "two regions do not hold the same and send each other everything");
                self.unequal = Some(peer);
            }
            Notice::Foreign(owner) => {
                error!(
                    owner,
                    "the database belongs to somebody else and is left alone"
                );
                self.foreign = Some(owner);
            }
            Notice::StoreFailed(reason) => self.store_failed(&reason),
        }
    }

    /// A message that is none, or not from who it says.
    pub(super) fn refused(&mut self, reason: &str) {
        if let Some(unsaid) = self.refused.admit() {
            warn!(reason, unsaid, "a replication message is refused");
        }
        self.refusal = Some((Instant::now(), reason.to_owned()));
    }

    /// A step in the store failed.
    pub(super) fn store_failed(&mut self, reason: &str) {
        if let Some(unsaid) = self.failures.admit() {
            warn!(reason, unsaid, "a step in the store failed");
        }
    }

    /// The store serves, so it is ours.
    pub(super) fn serves(&mut self) {
        self.foreign = None;
    }

    /// Who is evicted or not let in right now.
    pub(super) fn look_at(&mut self, status: &Status) {
        let named = |state: PeerState| {
            let peers = status.peers.iter().filter(|peer| peer.state() == state);
            peers.map(|peer| peer.region.clone()).collect()
        };
        self.evicted = named(PeerState::Evicted);
        self.copies = named(PeerState::OldCopy);
    }

    /// What belongs in the health.
    pub(super) fn troubles(&self) -> Option<String> {
        let mut troubles = Vec::new();
        if let Some(owner) = &self.foreign {
            troubles.push(format!("the database belongs to somebody else ({owner})"));
        }
        for region in &self.evicted {
            troubles.push(format!("{region} was silent for too long and is evicted"));
        }
        for region in &self.copies {
            troubles.push(format!("{region} holds an old copy and is to start anew"));
        }
        if let Some(region) = &self.unequal {
            troubles.push(format!("{region} does not hold the same and is repaired"));
        }
        match &self.refusal {
            Some((at, reason)) if at.elapsed() < MENTION => {
                troubles.push(format!("a message was refused: {reason}"));
            }
            _ => {}
        }
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }
}

fn words(refused: &Refused) -> String {
    match refused {
        Refused::Wire(error) => error.to_string(),
        Refused::Impostor { from, author } => {
            format!("{from} speaks for {author}")
        }
        Refused::Forgotten(region) => {
            format!("{region} was given up (`@kv/r/forget` names it)")
        }
        Refused::Namesake => "another store takes part as this region".to_owned(),
    }
}

/// Admits a few lines per window, and knows how many it did not.
#[derive(Debug, Default)]
struct Pace {
    since: Option<Instant>,
    said: u32,
    unsaid: u64,
}

impl Pace {
    /// How many were not said since the last one that was; `None` for one that is not said either.
    fn admit(&mut self) -> Option<u64> {
        if self.since.is_none_or(|since| since.elapsed() >= WINDOW) {
            self.since = Some(Instant::now());
            self.said = 0;
        }
        if self.said >= MOST {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.said = self.said.saturating_add(1);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_garbage_is_a_few_lines() {
        let mut pace = Pace::default();
        let said = (0..1_000).filter(|_| pace.admit().is_some()).count();
        assert_eq!((said, pace.unsaid), (10, 990));
    }
}
