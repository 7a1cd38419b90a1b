//! Asking a peer for what is missing here. One pull at a time; pages overlap with their application.

use super::apply::Batch;
use super::Engine;
use crate::region::{Incarnation, Region};
use crate::store::Cursor;
use crate::vector::VersionVector;
use crate::wire::{Message, Page, Pull};

/// A pull under way.
#[derive(Debug)]
pub(super) struct Pulling {
    pub(super) peer: Region,
    /// The answer that is waited for; `None` while the last page is being applied.
    waits_for: Option<u64>,
    asked: u64,
    /// From where on to ask next.
    incarnation: Incarnation,
    after: u64,
    /// What was covered at the start. It must not grow: the peer leaves out what it covers.
    vector: VersionVector,
    repair: bool,
    ended: bool,
}

impl Engine {
    pub(super) fn tick_pull(&mut self) {
        if !self.phase.takes_in() {
            return;
        }
        let now = self.now.mono_ms;
        if let Some(pulling) = &self.pulling {
            let late = now.saturating_sub(pulling.asked) > self.config.answer_ms;
            if pulling.waits_for.is_some() && late {
                let peer = pulling.peer.clone();
                self.pulling = None;
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.shy_until = now.saturating_add(self.config.answer_ms);
                }
            }
            return;
        }
        let due = |region: &Region, peer: &super::Peer| {
            let missing = peer.behind_since.is_some_and(|since| {
                now.saturating_sub(since) >= self.config.gap_ms || self.has_gap(region)
            });
            // Now and then without need, so that the next pull in need has little to read.
            let due = missing || now.saturating_sub(peer.pulled_at) >= self.config.pull_ms;
            let reachable = now >= peer.shy_until && self.is_live(region);
            (due && reachable && self.may_admit(region)).then(|| self.vector.behind(&peer.vector))
        };
        let most = self
            .peers
            .iter()
            .filter_map(|(region, peer)| Some((due(region, peer)?, region)))
            .max();
        let Some(region) = most.map(|(_, region)| region.clone()) else {
            return;
        };
        if self.admit(&region) {
            self.start_pull(region, false);
        }
    }

    /// Asks a peer for all that changed since last time, or, to repair, for all.
    pub(super) fn start_pull(&mut self, peer: Region, repair: bool) {
        let Some(incarnation) = self.author_of(&peer).map(|author| author.incarnation) else {
            return;
        };
        let cursor = self.cursors.get(&peer).copied();
        let after = match cursor {
            Some(cursor) if cursor.incarnation == incarnation && !repair => cursor.position,
            _ => 0,
        };
        self.pulling = Some(Pulling {
            peer,
            waits_for: None,
            asked: self.now.mono_ms,
            incarnation,
            after,
            vector: self.vector.clone(),
            repair,
            ended: false,
        });
        self.ask();
    }

    fn ask(&mut self) {
        let id = self.id();
        let now = self.now.mono_ms;
        let Some(pulling) = &mut self.pulling else {
            return;
        };
        pulling.waits_for = Some(id);
        pulling.asked = now;
        let (peer, pull) = (
            pulling.peer.clone(),
            Pull {
                id,
                incarnation: pulling.incarnation,
                after: pulling.after,
                vector: pulling.vector.clone(),
                everything: pulling.repair,
            },
        );
        self.send(Some(peer), Message::Pull(pull));
    }

    pub(super) fn page(&mut self, from: Region, page: Page) {
        let Some(pulling) = &self.pulling else {
            return;
        };
        if pulling.waits_for != Some(page.id) || pulling.peer != from {
            return;
        }
        // The peer may have heard more since its hello, and what it covers is about to be covered here.
        self.hear_memory(&from, page.end.as_ref().unwrap_or(&page.seen));
        // Of another life of the peer's store than it has spoken of, or, by now, of one that is not let in.
        let author = self.author_of(&from);
        let same = author.is_some_and(|author| author.incarnation == page.incarnation);
        if !self.phase.takes_in() || !same || !self.admit(&from) {
            self.pulling = None;
            return;
        }
        let Some(pulling) = &mut self.pulling else {
            return;
        };
        pulling.waits_for = None;
        pulling.incarnation = page.incarnation;
        pulling.after = page.upto;
        pulling.ended = page.end.is_some();
        let repair = pulling.repair;
        let fills = page.end.is_some() && self.is_serving(&from);
        let batch = Batch::Page {
            cursor: Cursor {
                incarnation: page.incarnation,
                position: page.upto,
            },
            peer: from,
            seen: page.seen,
            end: page.end,
            fills,
            repair,
            entries: page.entries,
        };
        self.enqueue(batch);
        self.pull_on();
    }

    /// Asks for the next page while the last one is being applied, as long as few wait.
    pub(super) fn pull_on(&mut self) {
        let ahead = self.waiting.entries < self.config.page;
        let next = |pulling: &Pulling| pulling.waits_for.is_none() && !pulling.ended;
        if ahead && self.pulling.as_ref().is_some_and(next) {
            self.ask();
        }
    }

    /// The last page of a pull is in place.
    pub(super) fn pulled(&mut self, peer: &Region) {
        if self
            .pulling
            .as_ref()
            .is_some_and(|pulling| pulling.peer == *peer)
        {
            self.pulling = None;
        }
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.pulled_at = self.now.mono_ms;
        }
    }
}
