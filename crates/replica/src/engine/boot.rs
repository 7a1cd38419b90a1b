//! From a store that may be anything to one that serves: new, restarted, restored, wiped or evicted.
//!
//! ```text
//!            ┌─ empty ────────▶ mint ─▶ adopt ─┐
//! connected ─┼─ another process ──▶ mint ───────┼▶ joining ─▶ ready ─┬─ forgot something ─▶ draining ─▶ wipe
//!   (load)   └─ same process ──────────────────┘
//! ```
//!
//! A store that links in plain mode may have written to since it was replicated, or whose adoption was interrupted, is
//! adopted (again) before it joins.

use std::collections::BTreeMap;

use super::{Effect, Engine, Notice, Peer, Reason, Task};
use crate::region::{Author, Incarnation, Region};
use crate::store::{self, Identity, Loaded, Op};
use crate::vector::VersionVector;
use crate::wire::Stage;

/// Where a store is on its way to serving.
#[derive(Debug, PartialEq)]
pub(super) enum Phase {
    /// It cannot be reached.
    Down,
    /// It is being asked what it is.
    Loading,
    /// It belongs to somebody else.
    Foreign,
    /// It takes a new incarnation.
    Minting,
    /// Values that lay in it before become entries.
    Adopting,
    /// It catches up.
    Joining {
        until: u64,
        /// What each peer had when it was first heard, and when it first served.
        goals: BTreeMap<Region, Goal>,
        /// Whether it has got all of a region that served, which need not be there any more.
        filled: bool,
    },
    /// It serves.
    Ready,
    /// It starts anew as soon as somebody who serves has all that it has.
    Draining {
        /// This drain's own number.
        drain: u64,
        /// Since when nobody serves who could have it.
        alone_since: u64,
        /// Whether all that it has is known here: components write no more, and it was looked at since.
        known: bool,
    },
    /// It is being emptied.
    Wiping,
}

/// What a peer had.
#[derive(Debug, PartialEq)]
pub(super) struct Goal {
    author: Author,
    vector: VersionVector,
    /// Whether it served then.
    served: bool,
}

impl Phase {
    /// Whether the store can be asked and can take entries.
    pub(super) fn has_store(&self) -> bool {
        !matches!(self, Self::Down | Self::Loading | Self::Foreign)
    }

    /// Whether its change log may be read to others.
    pub(super) fn gives_out(&self) -> bool {
        self.takes_in() || matches!(self, Self::Draining { .. })
    }

    /// What others are told of it.
    pub(super) fn stage(&self) -> Stage {
        match self {
            Self::Ready => Stage::Serving,
            Self::Draining { drain, .. } => Stage::Draining(*drain),
            _ => Stage::Joining,
        }
    }

    /// Whether entries of others are taken in.
    pub(super) fn takes_in(&self) -> bool {
        matches!(self, Self::Joining { .. } | Self::Ready)
    }
}

impl Engine {
    pub(super) fn connected(&mut self, run: String) {
        self.run = run;
        self.stays = false;
        self.reload();
    }

    pub(super) fn disconnected(&mut self) {
        self.forget();
        self.phase = Phase::Down;
        self.effects.push(Effect::Serve(false));
    }

    /// What is in the store is no longer what was known: look again.
    pub(super) fn reload(&mut self) {
        self.forget();
        self.phase = Phase::Loading;
        self.effects.push(Effect::Serve(false));
        self.load();
    }

    fn forget(&mut self) {
        self.tasks.clear();
        self.author = None;
        self.lineage.clear();
        self.origins.clear();
        self.origins_at = 0;
        self.vector = VersionVector::default();
        self.cursors.clear();
        self.inbox.clear();
        self.waiting = super::apply::Load::default();
        self.parked.clear();
        self.parked_load = super::apply::Load::default();
        self.suspicion = None;
        self.stop_applying();
        self.recent.clear();
        self.pulling = None;
        self.serving.clear();
        self.comparing = super::Comparing::default();
        self.touched = true;
        for peer in self.peers.values_mut() {
            peer.forget_store();
        }
    }

    pub(super) fn load(&mut self) {
        self.store(Task::Load, Op::Load);
    }

    pub(super) fn loaded(&mut self, loaded: Loaded) {
        let known = loaded.identity.as_ref().map(|identity| &identity.author);
        if matches!(self.phase, Phase::Loading | Phase::Foreign) {
            self.identify(loaded);
        } else if known != self.author.as_ref() {
            let settled = !matches!(self.phase, Phase::Minting | Phase::Adopting | Phase::Wiping);
            if settled {
                self.reload();
            }
        } else if loaded.plain && self.phase == Phase::Ready {
            // Links in plain mode write to it right now.
            self.reload();
        } else {
            self.refresh(&loaded);
            let phase = loaded.identity.as_ref().map(|identity| identity.phase);
            // A look from before it stopped components knows nothing of what they wrote until then.
            let stopped = phase == Some(store::Phase::Joining) && !self.is_approving();
            if let (Phase::Draining { known, .. }, true) = (&mut self.phase, stopped) {
                // Who takes over says so when it hears of it.
                self.hello_asks |= !std::mem::replace(known, true);
            }
            self.say_hello();
        }
    }

    fn refresh(&mut self, loaded: &Loaded) {
        self.vector.merge(&loaded.vector);
        self.emptied = loaded.emptied;
        self.origins.add(&loaded.origins);
        self.give_up(&loaded.forgotten);
        self.note_lags();
        if let Some(identity) = &loaded.identity {
            self.lineage.clone_from(&identity.lineage);
        }
        self.check_memory(&loaded.vector);
    }

    /// What the store says that it is, right after the connection.
    fn identify(&mut self, loaded: Loaded) {
        let Some(identity) = loaded.identity.clone() else {
            return self.mint(Reason::New, store::Phase::Adopting);
        };
        if identity.group != self.config.group || identity.author.region != self.config.region {
            let known = std::mem::replace(&mut self.phase, Phase::Foreign) == Phase::Foreign;
            let owner = format!(
                "group {}, region {}",
                identity.group, identity.author.region
            );
            if !known {
                self.notice(Notice::Foreign(owner));
            }
            return;
        }
        self.author = Some(identity.author.clone());
        self.cursors = loaded.cursors.iter().cloned().collect();
        self.remember_members(&loaded.members);
        self.refresh(&loaded);
        // What is being emptied has nothing to adopt.
        let wiping = identity.phase == store::Phase::Wiping;
        let adopts = identity.phase == store::Phase::Adopting || (loaded.plain && !wiping);
        if adopts && identity.phase != store::Phase::Adopting {
            self.notice(Notice::WrittenPlain);
        }
        if identity.run != self.run {
            // Its disk may have been set back; what it wrote since then may still be on its way somewhere. No
            // number may mean two writes, so it goes on under another name.
            let phase = if wiping {
                // What is left is no store that others may rely on.
                store::Phase::Wiping
            } else if adopts {
                store::Phase::Adopting
            } else {
                store::Phase::Joining
            };
            return self.mint(Reason::Restarted, phase);
        }
        if adopts && identity.phase != store::Phase::Adopting {
            // No component writes meanwhile, and whoever comes after an interruption knows.
            self.phase = Phase::Adopting;
            return self.approve(store::Phase::Adopting);
        }
        self.resume(&identity);
    }

    fn resume(&mut self, identity: &Identity) {
        match identity.phase {
            store::Phase::Adopting => {
                self.phase = Phase::Adopting;
                self.effects.push(Effect::Adopt);
            }
            store::Phase::Ready => self.serve(),
            store::Phase::Joining => self.join(),
            store::Phase::Wiping => self.drained(),
        }
    }

    fn serve(&mut self) {
        self.phase = Phase::Ready;
        self.effects.push(Effect::Serve(true));
        self.hello_asks = true;
        self.load();
    }

    fn join(&mut self) {
        self.phase = Phase::Joining {
            until: self.now.mono_ms.saturating_add(self.config.join_ms),
            goals: BTreeMap::new(),
            filled: false,
        };
        self.hello_asks = true;
        self.load();
    }

    fn approve(&mut self, phase: store::Phase) {
        self.store(Task::Approve, Op::Approve { phase });
    }

    pub(super) fn approved(&mut self) {
        match self.phase {
            Phase::Joining { .. } => self.serve(),
            // What components wrote until now is not known here yet.
            Phase::Draining { .. } => self.load(),
            Phase::Adopting => self.reload(),
            _ => {}
        }
    }

    fn mint(&mut self, reason: Reason, phase: store::Phase) {
        let Some(incarnation) = self.new_incarnation() else {
            return;
        };
        self.notice(Notice::Minted(incarnation, reason));
        self.phase = Phase::Minting;
        self.store(
            Task::Mint,
            Op::Mint {
                group: self.config.group.clone(),
                region: self.config.region.clone(),
                incarnation,
                now_ms: self.now.wall_ms,
                phase,
            },
        );
    }

    /// Wall time and a number of this engine's own: another life of the region has neither. Later than the region's
    /// earlier lives, as far as they are known, whatever the clock does.
    fn new_incarnation(&mut self) -> Option<Incarnation> {
        let peers = self.peers.values().map(|peer| &peer.vector);
        let known = peers.chain([&self.vector]).flat_map(VersionVector::iter);
        let known = known.map(|(author, _)| author).chain(&self.lineage);
        let own = known.filter(|author| author.region == self.config.region);
        let lives = own.map(|life| u64::from(life.incarnation));
        let last = lives.max().map_or(0, |last| last >> 16);
        let time = self.now.wall_ms.max(last.saturating_add(1));
        Incarnation::try_from((time << 16) | (self.id() & 0xffff)).ok()
    }

    pub(super) fn minted(&mut self) {
        if self.phase == Phase::Minting {
            self.phase = Phase::Loading;
            self.load();
        }
    }

    pub(super) fn adopted(&mut self) {
        if self.phase == Phase::Adopting {
            self.approve(store::Phase::Joining);
        }
    }

    pub(super) fn tick_boot(&mut self) {
        match &self.phase {
            Phase::Joining {
                until,
                goals,
                filled,
            } => {
                let late = self.now.mono_ms >= *until;
                // What was set back and is remembered here is not waited for: it waits itself, for somebody who serves.
                let waits_for = |region: &Region| {
                    self.is_live(region)
                        && !(self.is_draining(region) && self.remembers_more_than(region))
                };
                let reached = goals
                    .iter()
                    .all(|(region, goal)| self.vector.includes(&goal.vector) || !waits_for(region));
                let asked = self
                    .members()
                    .filter(|region| self.is_live(region))
                    .all(|region| goals.contains_key(region));
                // A store that emptied itself knows that others have what it had, and waits for them; but not for one
                // that waits in its turn.
                let fills = |(region, goal): (&Region, &Goal)| {
                    goal.served && self.is_serving(region) && self.vector.includes(&goal.vector)
                };
                let waits_itself = |(region, peer): (&Region, &Peer)| {
                    self.is_draining(region) && self.vector.includes(&peer.vector)
                };
                let nobody_serves = || !self.peers.keys().any(|region| self.is_serving(region));
                let filled = !self.emptied
                    || *filled
                    || goals.iter().any(fills)
                    || (nobody_serves() && self.peers.iter().any(waits_itself));
                if late && reached && asked && filled && !self.is_approving() {
                    // Whoever forgets tombstones after a restart has to know for whom they are kept.
                    self.keep_members();
                    self.approve(store::Phase::Ready);
                }
            }
            Phase::Draining { alone_since, .. } => {
                let alone_ms = self.now.mono_ms.saturating_sub(*alone_since);
                if self.peers.keys().any(|region| self.is_serving(region)) {
                    self.is_not_alone();
                } else if alone_ms > self.patience() {
                    // Better what is here than nothing; what was forgotten comes back when others do.
                    self.stays = true;
                    self.mint(Reason::Restarted, store::Phase::Joining);
                }
            }
            _ => {}
        }
    }

    /// Somebody serves.
    fn is_not_alone(&mut self) {
        if let Phase::Draining { alone_since, .. } = &mut self.phase {
            *alone_since = self.now.mono_ms;
        }
    }

    /// For how long a store that is to start anew goes on waiting for somebody who serves.
    ///
    /// Of those that all are to start anew one has to serve all the same, and best the one that forgot least. Were they to
    /// wait for each other in a circle, the smallest would be the one. Whoever catches up will serve, and is given time to
    /// read a large store, but not for ever: its disk may be full. Who can take from nobody does not catch up.
    fn patience(&self) -> u64 {
        const ROUND: u64 = 10;
        const CATCHING_UP: u64 = 200;
        let live = self.peers.keys().filter(|region| self.is_live(region));
        let (draining, joining): (Vec<&Region>, Vec<&Region>) =
            live.partition(|region| self.is_draining(region));
        let smaller = |other: &Region| *other < self.config.region;
        let yields = |other: &Region| {
            self.is_outdone_by(other) || (smaller(other) && !self.remembers_more_than(other))
        };
        let answers = if !draining.iter().any(|other| yields(other)) {
            1
        } else if !draining.iter().any(|other| smaller(other)) {
            ROUND
        } else {
            return u64::MAX;
        };
        let mut joining = joining.into_iter();
        let catches_up = joining.any(|region| !self.takes_from_nobody(region));
        let answers = answers + if catches_up { CATCHING_UP } else { 0 };
        self.config.answer_ms.saturating_mul(answers)
    }

    fn is_approving(&self) -> bool {
        self.tasks
            .values()
            .any(|task| matches!(task, Task::Approve))
    }

    /// What a peer says, for a store that is still joining.
    pub(super) fn boot_heard(&mut self, author: &Author, vector: &VersionVector, stage: Stage) {
        if let Phase::Joining { goals, .. } = &mut self.phase {
            let served = stage == Stage::Serving;
            let goal = || Goal {
                author: author.clone(),
                vector: vector.clone(),
                served,
            };
            let known = goals.entry(author.region.clone()).or_insert_with(goal);
            // One that lives anew may have lost what nobody else has: that would be waited for in vain. And what one
            // has that catches up itself is less than what it serves with.
            if known.author != *author || (served && !known.served) {
                *known = goal();
            }
        }
    }

    /// Whether a store that joins began empty: it is in its first life, or wrote nothing in those it had.
    pub(super) fn is_new(&self) -> bool {
        let wrote = |life: &Author| self.vector.get(life) > 0;
        self.lineage.len() <= 1 || !self.lineage.iter().any(wrote)
    }

    /// All that a serving region had is here.
    pub(super) fn filled(&mut self) {
        if let Phase::Joining { filled, .. } = &mut self.phase {
            *filled = true;
        }
    }

    /// Starts anew, once somebody else has all that this store has. Until then it does not serve.
    pub(super) fn start_anew(&mut self, reason: Reason) {
        if matches!(self.phase, Phase::Draining { .. } | Phase::Wiping) {
            return;
        }
        self.notice(Notice::StartsAnew(reason));
        self.stays = false;
        self.phase = Phase::Draining {
            drain: self.id(),
            alone_since: self.now.mono_ms,
            known: false,
        };
        self.effects.push(Effect::Serve(false));
        self.approve(store::Phase::Joining);
    }

    /// Empties a store that has nothing of its own any more.
    pub(super) fn drained(&mut self) {
        self.phase = Phase::Wiping;
        self.stop_applying();
        self.recent.clear();
        self.inbox.clear();
        self.waiting = super::apply::Load::default();
        self.pulling = None;
        self.serving.clear();
        self.wipe();
    }

    fn wipe(&mut self) {
        let rows = self.config.rows;
        self.store(Task::Wipe, Op::Wipe { rows });
    }

    pub(super) fn wiped(&mut self, left: u64) {
        if self.phase != Phase::Wiping {
            return;
        }
        if left == 0 {
            self.reload();
        } else {
            self.wipe();
        }
    }
}
