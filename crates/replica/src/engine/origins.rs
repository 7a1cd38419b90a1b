//! Being filled from none that forgot something, or starting anew with it.

use std::collections::BTreeMap;

use super::peer::Peer;
use super::{Engine, Reason, Task};
use crate::origin::Origin;
use crate::region::{Author, Region};
use crate::store::Op;
use crate::vector::VersionVector;

/// Origins that are kept, and told; a store has about as many as there are regions.
const MAX_ORIGINS: usize = 256;

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
    /// This store and what it was filled from, for whoever is filled from it.
    pub(super) fn all_origins(&self) -> Vec<Origin> {
        let own = Origin::of(&self.lineage, &self.vector);
        let others = self.origins.0.values().cloned();
        own.into_iter().chain(others).take(MAX_ORIGINS).collect()
    }

    /// Whether to take something in from a peer; keeps where it comes from before.
    pub(super) fn takes_from(&mut self, region: &Region) -> bool {
        if !self.may_take_from(region) {
            return false;
        }
        let mut news = Origins::default();
        news.add(self.strangers(region));
        let room = MAX_ORIGINS.saturating_sub(self.origins.0.len());
        if !news.0.is_empty() && news.0.len() <= room {
            self.origins.add(news.0.values());
            let origins = news.0.into_values().collect();
            self.store(Task::Origins, Op::Origins { origins });
        }
        true
    }

    /// Whether nobody is known to remember more of a peer's origins than they do.
    pub(super) fn may_take_from(&self, region: &Region) -> bool {
        let said = |peer: &Peer| !peer.origins.is_empty();
        let forgot = |origin: &Origin| {
            let mut peers = self.peers.values();
            peers.any(|peer| origin.forgot(&peer.vector))
        };
        self.peers.get(region).is_some_and(said) && !self.strangers(region).any(forgot)
    }

    /// A peer's origins that may give this store what it must not have.
    ///
    /// Not those from which it took before: all forget only what it covers, then. Nor those that it knows to have forgotten
    /// something: it was filled by somebody else, who covered that. A store that is still being filled took only a part
    /// before.
    fn strangers(&self, region: &Region) -> impl Iterator<Item = &Origin> {
        let origins = self.peers.get(region).map(|peer| &peer.origins[..]);
        let strange = |origin: &&Origin| {
            let Some(store) = origin.store() else {
                return false;
            };
            let known = self.origins.0.get(&store);
            let is_news = known.is_none_or(|known| self.young && origin.is_later_than(known));
            is_news && self.lineage.first() != Some(&store) && !origin.forgot(&self.vector)
        };
        origins.unwrap_or(&[]).iter().filter(strange)
    }

    /// A peer remembers more than a store did which this one was filled from.
    pub(super) fn check_origins_against(&mut self, theirs: &VersionVector) {
        if self.origins.0.values().any(|origin| origin.forgot(theirs)) {
            self.start_anew(Reason::FilledFromCopy);
        }
    }
}
