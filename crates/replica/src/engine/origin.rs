//! Being filled from none that forgot something, or starting anew with it.

use std::collections::BTreeMap;

use super::peer::Peer;
use super::{Engine, Reason, Task};
use crate::origin::Origin;
use crate::region::{Author, Region};
use crate::store::Op;
use crate::vector::VersionVector;
use crate::wire::MAX_ORIGINS;

/// One in so many hellos names origins unasked: they hardly ever change.
const HELLOS: u64 = 10;

/// What a store was filled from, by the store; of each the latest that was heard.
#[derive(Debug, Default)]
pub(super) struct Origins(BTreeMap<Author, Origin>);

impl Origins {
    pub(super) fn add<'a>(&mut self, origins: impl IntoIterator<Item = &'a Origin>) {
        for origin in origins {
            let Some(store) = origin.store() else {
                continue;
            };
            let known = self.0.get(&store);
            if known.is_none_or(|known| origin.is_later_than(known)) {
                self.0.insert(store, origin.clone());
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Engine {
    /// This store and what it was filled from, for whoever is filled from it; empty if that was said lately.
    pub(super) fn origins_now(&mut self) -> Vec<Origin> {
        if self.now.mono_ms < self.origins_at {
            return Vec::new();
        }
        let pause = self.config.hello_ms.saturating_mul(HELLOS);
        self.origins_at = self.now.mono_ms.saturating_add(pause);
        let own = Origin::of(&self.lineage, &self.vector);
        let others = self.origins.0.values().cloned();
        own.into_iter().chain(others).take(MAX_ORIGINS).collect()
    }

    /// Lets something of a peer in, if it may come in; keeps where it comes from before.
    pub(super) fn admit(&mut self, region: &Region) -> bool {
        let Some(strangers) = self.admissible(region) else {
            return false;
        };
        let mut news = Origins::default();
        news.add(strangers);
        if news.0.is_empty() {
            return true;
        }
        let wanted = self.origins.0.len().saturating_add(news.0.len());
        let mut gone = if wanted > self.config.origins {
            self.outlived()
        } else {
            Vec::new()
        };
        gone.retain(|store| !news.0.contains_key(store));
        self.origins.0.retain(|store, _| !gone.contains(store));
        let room = self.config.origins.saturating_sub(self.origins.0.len());
        let mut origins = Vec::new();
        for (store, origin) in news.0.into_iter().take(room) {
            let origin = match self.origins.0.get(&store) {
                Some(earlier) => origin.with_earlier(earlier),
                None => origin,
            };
            self.origins.0.insert(store, origin.clone());
            origins.push(origin);
        }
        if !origins.is_empty() || !gone.is_empty() {
            self.origins_at = 0;
            self.store(Task::Origins, Op::Origins { origins, gone });
        }
        true
    }

    /// Stores that are there no more, and of which nobody remembers more than they did: nobody will, as long as all speak.
    /// One that is silent may have learned more since it was heard.
    fn outlived(&self) -> Vec<Author> {
        let speaks = |region: &Region| self.is_live(region) && self.has_said(region);
        if !self.peers.keys().all(speaks) {
            return Vec::new();
        }
        let own = |peer: &Peer| peer.origins.first().and_then(Origin::store);
        let there: Vec<Author> = self.peers.values().filter_map(own).collect();
        let forgot = |origin: &Origin| {
            let mut peers = self.peers.values();
            peers.any(|peer| origin.forgot(&peer.vector))
        };
        let outlived =
            |(store, origin): &(&Author, &Origin)| !there.contains(store) && !forgot(origin);
        let origins = self.origins.0.iter().filter(outlived);
        origins.map(|(store, _)| store.clone()).collect()
    }

    /// The store could not keep where something comes from: it does not come in.
    pub(super) fn origins_failed(&mut self) {
        self.origins.clear();
        self.inbox.clear();
        self.apply_failed();
        self.load();
    }

    /// Whether something of a peer may come in.
    pub(super) fn may_admit(&self, region: &Region) -> bool {
        self.admissible(region).is_some()
    }

    /// The origins to keep before something of a peer comes in; `None` when it may not: somebody who speaks remembers more
    /// of one of them than it does, and was not filled from there itself. The peer is no witness either; and one that is away
    /// will be heard when it is back.
    fn admissible(&self, region: &Region) -> Option<Vec<&Origin>> {
        let forgot = |origin: &&Origin| {
            let counts = |other: &Region| !(self.stays && self.is_draining(other));
            let witness =
                |other: &&Region| *other != region && self.is_live(other) && counts(other);
            let mut others = self.peers.iter().filter(|(other, _)| witness(other));
            others.any(|(_, peer)| tells_of(&peer.origins, &peer.vector, origin))
        };
        let strangers = self.strangers(self.peers.get(region)?);
        (self.has_said(region) && !strangers.iter().any(forgot)).then_some(strangers)
    }

    /// Whether a peer has said where it comes from.
    pub(super) fn has_said(&self, region: &Region) -> bool {
        let peer = self.peers.get(region);
        peer.is_some_and(|peer| !peer.origins.is_empty())
    }

    /// A peer's origins that may give this store what it must not have, and are not kept yet.
    ///
    /// Whoever covers all that the peer covers ignores what it must not have, unless the peer has entries that its vector does
    /// not cover: of a store that was lost while it was read. Nor is there danger in a store that is known here to have
    /// forgotten something: who told of that covers it, and was taken from.
    fn strangers<'a>(&self, peer: &'a Peer) -> Vec<&'a Origin> {
        let covered = || {
            let mut theirs = peer.vector.iter();
            theirs.all(|(author, seq)| {
                peer.author.as_ref() == Some(author) || self.vector.covers(author, seq)
            })
        };
        let is_news = |origin: &Origin| {
            origin
                .store()
                .is_some_and(|store| match self.origins.0.get(&store) {
                    Some(known) => origin.is_later_than(known),
                    None => self.lineage.first() != Some(&store),
                })
        };
        // The rest is looked at when there is news, which is seldom; this runs for every push.
        let origins = peer.origins.iter();
        let is_here = |origin: &Origin| origin.is_covered_by(&peer.vector) && covered();
        origins
            .filter(|origin| origin.may_be_copy() && is_news(origin))
            .filter(|origin| !is_here(origin) && !origin.forgot(&self.vector))
            .collect()
    }

    /// Whether a region that has nothing can most likely take nothing either: of each that has something another one remembers
    /// more, by what is heard here. Somebody who is not heard here may fill it.
    pub(super) fn takes_from_nobody(&self, region: &Region) -> bool {
        let has_something = |peer: &Peer| !peer.vector.is_empty();
        if self.peers.get(region).is_none_or(has_something) {
            return false;
        }
        let speaks = |region: &Region| self.is_live(region) && self.has_said(region);
        if !self.members().all(speaks) {
            return false;
        }
        let own = Origin::of(&self.lineage, &self.vector);
        let ours: Vec<&Origin> = own.iter().chain(self.origins.0.values()).collect();
        let others = self.peers.iter();
        let others = others.filter(|(other, peer)| self.is_live(other) && has_something(peer));
        let others = others.map(|(_, peer)| (&peer.vector, peer.origins.iter().collect()));
        let holders: Vec<(&VersionVector, Vec<&Origin>)> =
            others.chain([(&self.vector, ours)]).collect();
        let is_refused = |(_, origins): &(&VersionVector, Vec<&Origin>)| {
            let mut copies = origins.iter().filter(|origin| origin.may_be_copy());
            copies.any(|origin| {
                let mut witnesses = holders.iter();
                witnesses.any(|(vector, named)| tells_of(named.iter().copied(), vector, origin))
            })
        };
        holders.iter().all(is_refused)
    }

    pub(super) fn check_origins_against(&mut self, from: &Region, theirs: &VersionVector) {
        if self.origins_forgot(from, theirs) {
            self.start_anew(Reason::FilledFromCopy);
        }
    }

    /// Whether a peer remembers more than a store did which this one was filled from.
    pub(super) fn origins_forgot(&self, from: &Region, theirs: &VersionVector) -> bool {
        let mut origins = self.origins.0.values();
        let peer = self.peers.get(from);
        peer.is_some_and(|peer| origins.any(|origin| tells_of(&peer.origins, theirs, origin)))
    }

    /// Whether more of a region's store, or of one that it was filled from, is remembered here than was there.
    pub(super) fn remembers_more_than(&self, region: &Region) -> bool {
        let peer = self.peers.get(region);
        peer.is_some_and(|peer| {
            let mut origins = peer.origins.iter();
            origins.any(|origin| origin.forgot(&self.vector))
        })
    }
}

/// Whether somebody bears witness that a store forgot something, who names these origins: it remembers more of it. Who was
/// filled from that store, too, and from no other copy of it that had more, is no witness, or all that were would refuse each
/// other: what it has of it, it has from there, or heard late.
fn tells_of<'a>(
    named: impl IntoIterator<Item = &'a Origin>,
    remembered: &VersionVector,
    origin: &Origin,
) -> bool {
    origin.forgot(remembered) && !named.into_iter().any(|own| own.is_no_more_than(origin))
}
