//! What is known of the other regions.

use super::boot::Phase;
use super::trim::Reading;
use super::{Engine, Notice, Reason, Task};
use crate::origin::Origin;
use crate::region::{Author, Region};
use crate::store::Op;
use crate::vector::VersionVector;
use crate::wire::{Hello, Message, Stage};

/// Members that are remembered; a group is of a few dozen regions at most.
const MAX_MEMBERS: usize = 256;

/// Another region.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) author: Option<Author>,
    pub(super) vector: VersionVector,
    /// Its own store, and those that it was filled from.
    pub(super) origins: Vec<Origin>,
    pub(super) stage: Stage,
    /// Whether it was not let in when it spoke last: somebody remembers more of what is there than it does.
    pub(super) refused: bool,
    /// When it was last heard in this engine's life.
    pub(super) heard: Option<u64>,
    /// Since when it is waited for, and how long it had been silent by then.
    pub(super) waited_from: u64,
    pub(super) silent_before: u64,
    /// Whether it was silent for too long.
    pub(super) evicted: bool,
    /// Its wall clock minus ours, in milliseconds.
    pub(super) clock_offset_ms: i64,
    /// Since when it has something that is missing here.
    pub(super) behind_since: Option<u64>,
    /// What was here when it began to lack some of it, and when that was.
    lacks: Option<(VersionVector, u64)>,
    /// Not asked before this time, after it did not answer.
    pub(super) shy_until: u64,
    /// When its change log was last read to the end, or this engine's beginning.
    pub(super) pulled_at: u64,
    pub(super) reading: Reading,
    pub(super) received_bytes: u64,
    pub(super) digest_equal: Option<bool>,
    /// When it was last asked for its digest.
    pub(super) digest_asked: Option<u64>,
    /// When another region last said that it knows it.
    named: u64,
    kept_at: Option<u64>,
}

impl Engine {
    /// The regions that take part: known and not evicted.
    pub(super) fn members(&self) -> impl Iterator<Item = &Region> {
        self.peers
            .iter()
            .filter(|(_, peer)| !peer.evicted)
            .map(|(region, _)| region)
    }

    /// Who writes in a region, as it said last.
    pub(super) fn author_of(&self, region: &Region) -> Option<&Author> {
        self.peers.get(region)?.author.as_ref()
    }

    /// Whether a region spoke lately.
    pub(super) fn is_live(&self, region: &Region) -> bool {
        let heard = self.peers.get(region).and_then(|peer| peer.heard);
        let patience = self.config.hello_ms.saturating_mul(3);
        heard.is_some_and(|heard| self.now.mono_ms.saturating_sub(heard) <= patience)
    }

    /// Whether a region spoke lately, and serves.
    pub(super) fn is_serving(&self, region: &Region) -> bool {
        self.is_live(region) && self.stage_of(region) == Some(Stage::Serving)
    }

    /// Whether a region spoke lately, and is to start anew.
    pub(super) fn is_draining(&self, region: &Region) -> bool {
        self.is_live(region) && matches!(self.stage_of(region), Some(Stage::Draining(_)))
    }

    fn stage_of(&self, region: &Region) -> Option<Stage> {
        self.peers.get(region).map(|peer| peer.stage)
    }

    pub(super) fn remember_members(&mut self, kept: &[(Region, String)]) {
        for (region, text) in kept {
            let mut parts = text.split(',');
            let mut part = || parts.next().unwrap_or("");
            let (seen, author, evicted) = (part(), part(), part());
            let seen = seen.parse().unwrap_or(self.now.wall_ms);
            let known = self.peers.entry(region.clone()).or_insert_with(|| Peer {
                waited_from: self.now.mono_ms,
                named: self.now.mono_ms,
                // Two wall clocks, one of which may have jumped: half of the silence has to be heard.
                silent_before: (self.now.wall_ms.saturating_sub(seen))
                    .min(self.config.retention_ms / 2),
                ..Peer::default()
            });
            known.author = known.author.take().or(author.parse().ok());
            known.evicted |= evicted == "evicted";
        }
    }

    pub(super) fn keep_members(&mut self) {
        let now = self.now;
        let members: Vec<(Region, String)> = self
            .peers
            .iter_mut()
            .map(|(region, peer)| {
                peer.kept_at = Some(now.mono_ms);
                let silent = peer.silent_ms(now.mono_ms);
                let seen = now.wall_ms.saturating_sub(silent);
                let author = peer
                    .author
                    .as_ref()
                    .map_or(String::new(), Author::to_string);
                let evicted = if peer.evicted { "evicted" } else { "" };
                let kept = format!("{seen},{author},{evicted}");
                (region.clone(), kept)
            })
            .collect();
        self.store(Task::Members, Op::Members { members });
    }

    pub(super) fn say_hello(&mut self) {
        let Some(author) = self.author.clone() else {
            return;
        };
        // Of whom it is not known where they come from, nothing is taken.
        let stranger = |region: &Region| self.is_live(region) && !self.has_said(region);
        let asks = self.hello_asks || self.peers.keys().any(stranger);
        self.hello_asks = false;
        let hello = Hello {
            author,
            vector: self.vector.clone(),
            wall_ms: self.now.wall_ms,
            stage: self.phase.stage(),
            asks,
            // The evicted ones, too: who has never heard of them would forget tombstones that they need.
            members: self.peers.keys().cloned().collect(),
            origins: self.origins_now(),
            relieves: self.relieves(),
        };
        self.send(None, Message::Hello(hello));
    }

    pub(super) fn hello(&mut self, from: Region, hello: Hello) {
        if hello.author.region != from {
            return self.refuse_impostor(from, hello.author);
        }
        let mut news = self.meet(&from);
        if !self.is_live(&from) {
            // One of the two was cut off, or is new: what it covers from now on it did not cover before.
            self.beat_at = self.now.mono_ms;
        }
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        news |= std::mem::take(&mut peer.evicted);
        let same = peer.author.as_ref() == Some(&hello.author);
        if !same || !hello.origins.is_empty() {
            peer.origins.clone_from(&hello.origins);
        }
        if !same {
            // What it read may be gone with its disk.
            peer.reading = Reading::default();
        }
        peer.author = Some(hello.author.clone());
        peer.vector.clone_from(&hello.vector);
        peer.stage = hello.stage;
        peer.heard = Some(now.mono_ms);
        peer.clock_offset_ms = offset(hello.wall_ms, now.wall_ms);
        for region in &hello.members {
            if *region != self.config.region {
                news |= self.meet(region);
            }
        }
        if news {
            self.keep_members();
        }
        self.hear_memory(&from, &hello.vector);
        self.boot_heard(&hello.author, &hello.vector, hello.stage);
        self.compare_vectors(&from);
        self.note_lags();
        if self.is_relieved_by(&hello) {
            self.drained();
        }
        self.note_refusal(&from);
        if hello.asks {
            self.origins_at = 0;
            self.load();
        }
    }

    /// The drains of others that this region knows of while it serves.
    fn relieves(&self) -> Vec<u64> {
        let drain = |region: &Region| match self.stage_of(region)? {
            Stage::Draining(drain) if self.is_live(region) => Some(drain),
            _ => None,
        };
        let serves = self.phase == Phase::Ready;
        let regions = self.peers.keys().filter(|_| serves);
        regions.filter_map(drain).collect()
    }

    /// Whether this store may be emptied: somebody who serves has all that it has, and said so when it knew.
    ///
    /// Without the last, two who both have to start anew might each empty itself for what the other one said just before.
    fn is_relieved_by(&self, hello: &Hello) -> bool {
        let Phase::Draining {
            drain, known: true, ..
        } = self.phase
        else {
            return false;
        };
        hello.stage == Stage::Serving
            && hello.relieves.contains(&drain)
            && hello.vector.includes(&self.vector)
    }

    /// Tells once that nothing of a peer is let in.
    fn note_refusal(&mut self, region: &Region) {
        let refused = self.has_said(region) && !self.may_admit(region);
        let Some(peer) = self.peers.get_mut(region) else {
            return;
        };
        if refused && !std::mem::replace(&mut peer.refused, refused) {
            self.notice(Notice::OldCopy(region.clone()));
        } else {
            peer.refused = refused;
        }
    }

    /// Notes a region; whether it was unknown.
    fn meet(&mut self, region: &Region) -> bool {
        if let Some(known) = self.peers.get_mut(region) {
            known.named = self.now.mono_ms;
            return false;
        }
        if self.peers.len() >= MAX_MEMBERS || self.forgotten.contains(region) {
            return false;
        }
        let peer = Peer {
            waited_from: self.now.mono_ms,
            named: self.now.mono_ms,
            pulled_at: self.now.mono_ms,
            ..Peer::default()
        };
        self.peers.insert(region.clone(), peer);
        self.notice(Notice::Joined(region.clone()));
        true
    }

    /// Notes of every peer since when it has lacked something that is here.
    pub(super) fn note_lags(&mut self) {
        for peer in self.peers.values_mut() {
            peer.note_lag(&self.vector, self.now.mono_ms);
        }
    }

    /// What came in may have been all that a peer was ahead by.
    pub(super) fn compare_those_ahead(&mut self) {
        let ahead = |peer: &Peer| peer.behind_since.is_some();
        let regions = self.peers.iter().filter(|(_, peer)| ahead(peer));
        let regions: Vec<Region> = regions.map(|(region, _)| region.clone()).collect();
        for region in regions {
            self.compare_vectors(&region);
        }
    }

    pub(super) fn refuse_impostor(&mut self, from: Region, author: Author) {
        self.notice(Notice::Refused(super::Refused::Impostor { from, author }));
    }

    /// Whether a peer has something that is missing here.
    ///
    /// A peer of which nothing is missing does not move its cursor: its change log may hold entries that its
    /// vector does not cover yet, because it is in the middle of a pull itself.
    pub(super) fn compare_vectors(&mut self, region: &Region) {
        let Some(peer) = self.peers.get_mut(region) else {
            return;
        };
        if self.vector.includes(&peer.vector) {
            peer.behind_since = None;
        } else {
            peer.behind_since.get_or_insert(self.now.mono_ms);
        }
    }

    /// What a peer remembers may show that this store, or one that it was filled from, was set back.
    pub(super) fn hear_memory(&mut self, from: &Region, theirs: &VersionVector) {
        if self.stays && self.is_draining(from) {
            // Its turn to start anew: what it has is taken in.
            return;
        }
        self.check_memory_against(theirs);
        self.check_origins_against(from, theirs);
    }

    /// A peer remembers more of what was written here than is here: this store was set back.
    fn check_memory_against(&mut self, theirs: &VersionVector) {
        if self.lost_a_life(theirs) {
            return self.start_anew(Reason::RolledBack);
        }
        let Some(author) = self.forgotten(theirs) else {
            return;
        };
        if self.author.as_ref() == Some(author) && self.phase == Phase::Ready {
            // Another instance may have written since the last look. Look again before judging.
            let suspicion = (author.clone(), theirs.get(author));
            self.suspicion = Some(suspicion);
            self.load();
        } else {
            self.start_anew(Reason::RolledBack);
        }
    }

    /// Whether a whole life of this store is remembered that it knows nothing of: it is an older copy. Lives from before
    /// it was last empty are others to it, and are pulled.
    fn lost_a_life(&self, theirs: &VersionVector) -> bool {
        let begun = self.lineage.first().map(|first| first.incarnation);
        let lost = |(author, seq): (&Author, u64)| {
            author.region == self.config.region
                && begun.is_some_and(|begun| author.incarnation > begun)
                && !self.lineage.contains(author)
                && seq > self.vector.get(author)
        };
        self.lineage.len() > 1 && theirs.iter().any(lost)
    }

    /// A life of this store of which more is remembered than it has.
    fn forgotten(&self, theirs: &VersionVector) -> Option<&Author> {
        let forgotten = |author: &&Author| theirs.get(author) > self.vector.get(author);
        self.lineage.iter().find(forgotten)
    }

    /// Whether a region remembers more of this store, or of one that it was filled from.
    pub(super) fn is_outdone_by(&self, region: &Region) -> bool {
        let theirs = self.peers.get(region).map(|peer| &peer.vector);
        theirs.is_some_and(|theirs| {
            self.lost_a_life(theirs)
                || self.forgotten(theirs).is_some()
                || self.origins_forgot(region, theirs)
        })
    }

    pub(super) fn check_memory(&mut self, stored: &VersionVector) {
        if let Some((author, seq)) = self.suspicion.take() {
            if self.author.as_ref() == Some(&author) && !stored.covers(&author, seq) {
                self.start_anew(Reason::RolledBack);
            }
        }
    }

    pub(super) fn tick_peers(&mut self) {
        let mut evicted = Vec::new();
        let mut due = false;
        let (now, retention) = (self.now.mono_ms, self.config.retention_ms);
        // A region that was only ever heard of has nothing that could be forgotten, once nobody knows it any more.
        self.peers
            .retain(|_, peer| peer.author.is_some() || now.saturating_sub(peer.named) <= retention);
        for (region, peer) in &mut self.peers {
            if !peer.evicted && peer.silent_ms(now) > retention {
                peer.evicted = true;
                evicted.push(region.clone());
            }
            let kept = peer.kept_at.unwrap_or(0);
            due |= self.now.mono_ms.saturating_sub(kept) > 60_000;
        }
        due |= !evicted.is_empty();
        for region in evicted {
            self.notice(Notice::Evicted(region));
        }
        if due && self.phase == Phase::Ready {
            self.keep_members();
        }
    }

    /// Drops regions that an operator has given up.
    pub(super) fn give_up(&mut self, regions: &[Region]) {
        self.forgotten = regions.iter().cloned().collect();
        for region in regions {
            if self.peers.remove(region).is_some() {
                self.cursors.remove(region);
                if self
                    .pulling
                    .as_ref()
                    .is_some_and(|pulling| pulling.peer == *region)
                {
                    self.pulling = None;
                }
                self.notice(Notice::Forgotten(region.clone()));
            }
        }
    }

    /// What every known region has, the evicted ones as they were heard last; `None` as long as one of them
    /// was never heard.
    pub(super) fn known_vectors(&self) -> Option<Vec<&VersionVector>> {
        self.peers
            .values()
            .map(|peer| peer.heard.map(|_| &peer.vector))
            .collect()
    }
}

impl Peer {
    fn note_lag(&mut self, ours: &VersionVector, now: u64) {
        if self.vector.includes(ours) {
            self.lacks = None;
            return;
        }
        // Once it has what it lacked first, it lacks no more than what is newer: under load a peer never has
        // everything, and is not late for that.
        let has = |(lacked, _): &(VersionVector, u64)| self.vector.includes(lacked);
        if self.lacks.as_ref().is_none_or(has) {
            self.lacks = Some((ours.clone(), now));
        }
    }

    /// For how long it has lacked something that is here, to within the time between two hellos.
    pub(super) fn lags_ms(&self, now: u64) -> u64 {
        let since = self.lacks.as_ref().map_or(now, |(_, since)| *since);
        now.saturating_sub(since)
    }

    /// Nothing is known to be here any more.
    pub(super) fn forget_store(&mut self) {
        self.behind_since = None;
        self.lacks = None;
        self.reading = Reading::default();
    }

    /// How long nothing was heard.
    pub(super) fn silent_ms(&self, mono_ms: u64) -> u64 {
        match self.heard {
            Some(heard) => mono_ms.saturating_sub(heard),
            None => mono_ms
                .saturating_sub(self.waited_from)
                .saturating_add(self.silent_before),
        }
    }
}

fn offset(theirs: u64, ours: u64) -> i64 {
    let difference = i128::from(theirs) - i128::from(ours);
    i64::try_from(difference).unwrap_or(if difference > 0 { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covering(seq: u64) -> VersionVector {
        let author = "iad/1".parse::<Author>();
        author.map(|author| (author, seq)).into_iter().collect()
    }

    fn peer(seq: u64) -> Peer {
        Peer {
            vector: covering(seq),
            ..Peer::default()
        }
    }

    #[test]
    fn a_peer_that_lacks_something_is_late_since_it_was_here_first() {
        let mut peer = peer(5);
        peer.note_lag(&covering(5), 1_000);
        assert_eq!(peer.lags_ms(1_500), 0);
        peer.note_lag(&covering(6), 2_000);
        peer.note_lag(&covering(9), 3_000);
        assert_eq!(peer.lags_ms(4_500), 2_500);
        peer.vector = covering(9);
        peer.note_lag(&covering(9), 5_000);
        assert_eq!(peer.lags_ms(5_500), 0);
    }

    #[test]
    fn a_peer_that_keeps_up_with_writes_that_never_pause_is_hardly_late() {
        let mut peer = peer(0);
        for second in 1..100 {
            peer.vector = covering((second - 1) * 200);
            peer.note_lag(&covering(second * 200), second * 1_000);
            assert!(peer.lags_ms(second * 1_000 + 999) <= 1_999, "{second}");
        }
    }
}
