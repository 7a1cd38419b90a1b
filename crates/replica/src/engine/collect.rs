//! Forgetting tombstones.
//!
//! A tombstone is forgotten when nobody can need it any more: it is old enough, every known region covers it
//! (an evicted one, too: what it wrote while away may be older than the tombstone), and everything that any member wrote before it covered it has arrived here. What still comes
//! late is then covered and absent, which [`crate::merge`] takes for what it is.

use super::boot::Phase;
use super::{Engine, Task};
use crate::clock::Hlc;
use crate::entry::Entry;
use crate::store::{Op, Row, Version};
use crate::vector::VersionVector;
use crate::wire::{Message, Push};

/// Between two looks at tombstones, as a part of their least age.
const LOOKS: u64 = 10;
/// Between two numbers that a region takes at least, as a part of a tombstone's least age.
const BEATS: u64 = 2;

impl Engine {
    /// Takes a number now and then although nobody writes here, as long as others' writes come in.
    ///
    /// A disk that is set back is known by numbers of its own that others remember. A region that writes nothing would
    /// have none, and an old copy of it would bring back what was deleted since, and forgotten. So no tombstone goes
    /// without a number of every member from after the copy that lacks it.
    pub(super) fn tick_beat(&mut self) {
        if self.phase != Phase::Ready || !self.touched || self.now.mono_ms < self.beat_at {
            return;
        }
        self.touched = false;
        let pause = (self.config.tombstone_ms / BEATS).max(100);
        self.beat_at = self.now.mono_ms.saturating_add(pause);
        self.store(Task::Beat, Op::Beat);
    }

    /// Tells the others of the number.
    pub(super) fn beaten(&mut self, seq: u64) {
        let Some(author) = self.author.clone() else {
            return;
        };
        let push = Push {
            author,
            first: seq,
            last: seq,
            seen: VersionVector::default(),
            ack: false,
            entries: Vec::new(),
        };
        self.send(None, Message::Push(push));
    }

    pub(super) fn tick_collect(&mut self) {
        if self.phase != Phase::Ready || self.now.mono_ms < self.collect_at {
            return;
        }
        let pause = (self.config.tombstone_ms / LOOKS).clamp(100, 60_000);
        self.collect_at = self.now.mono_ms.saturating_add(pause);
        let op = Op::Dead {
            now_ms: self.now.wall_ms,
            before_ms: self.now.wall_ms.saturating_sub(self.config.tombstone_ms),
            skip: self.dead_kept,
            rows: self.config.rows,
        };
        self.store(Task::Dead, op);
    }

    pub(super) fn dead(&mut self, rows: Vec<Row>) {
        if self.phase != Phase::Ready {
            return;
        }
        let (found, full) = (rows.len(), rows.len() >= self.config.rows);
        let mut mark = Hlc::default();
        let entries: Vec<(String, Version)> = rows
            .into_iter()
            .filter(|row| self.is_forgotten(&row.entry))
            .map(|row| {
                if let Some(register) = &row.entry.register {
                    mark = mark.max(register.stamp.at);
                }
                (row.key, row.version)
            })
            .collect();
        // Those that have to stay, by a clock that was ahead or for a member that is away, are passed by:
        // they must not keep younger ones.
        let kept = found.saturating_sub(entries.len());
        if full {
            self.dead_kept = self.dead_kept.saturating_add(kept);
            self.collect_at = self.now.mono_ms;
        } else {
            self.dead_kept = 0;
        }
        for (key, _) in &entries {
            self.recent.gone(key);
        }
        if !entries.is_empty() {
            self.store(Task::Collect, Op::Collect { mark, entries });
        }
    }

    /// What the slowest clock of all members shows. Once a stamp lies behind it, no member writes a lower
    /// one any more, and the stamp may be forgotten; by a clock that is ahead it would be too early.
    fn slowest_clock_ms(&self) -> u64 {
        let members = self.peers.values().filter(|peer| !peer.evicted);
        let slowest = members.map(|peer| peer.clock_offset_ms).min().unwrap_or(0);
        self.now.wall_ms.saturating_add_signed(slowest.min(0))
    }

    /// What the slowest of the others' clocks shows. A new store that has taken in all of a region begins there: it
    /// covers deletes that it may never have seen, as they are forgotten, and what it writes has to be later.
    pub(super) fn slowest_other(&self) -> Hlc {
        let live = self.peers.iter().filter(|(region, _)| self.is_live(region));
        let slowest = live.map(|(_, peer)| peer.clock_offset_ms).min();
        slowest.map_or(Hlc::default(), |offset| Hlc {
            wall_ms: self.now.wall_ms.saturating_add_signed(offset),
            counter: 0,
        })
    }

    fn is_forgotten(&self, entry: &Entry) -> bool {
        let Some(vectors) = self.known_vectors() else {
            return false;
        };
        if vectors.is_empty() && self.forgotten.is_empty() {
            // It may be one of many that began anew, alone. Who comes next may hold what was deleted here.
            return false;
        }
        let before = self
            .slowest_clock_ms()
            .saturating_sub(self.config.tombstone_ms);
        let old = entry
            .register
            .as_ref()
            .is_some_and(|register| register.stamp.at.wall_ms <= before);
        old && entry.is_dead()
            && vectors
                .iter()
                .all(|vector| entry.is_covered_by(vector) && self.vector.includes(vector))
    }
}
