//! Taking in what other regions wrote: read what is here, or recall it, merge, put in place.
//!
//! One batch at a time. What it covers is noted in the same atomic step that puts its last entry in
//! place, so a vector never promises what is not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::boot::Phase;
use super::status::{shown, ConflictStatus};
use super::{Config, Engine, Notice, Task};
use crate::clock::Hlc;
use crate::entry::Entry;
use crate::merge::{conflict, merge, Seen};
use crate::region::{Author, Region};
use crate::store::{Change, Commit, Cursor, Expected, Op, Row};
use crate::vector::VersionVector;
use crate::wire::{Applied, Message, Push};

/// Writes that are parked because an earlier one is still on its way.
const MAX_PARKED: usize = 1_024;
/// Conflicts and registers ahead that are remembered by name.
const MAX_LISTED: usize = 100;

/// What waits to be applied.
#[derive(Debug)]
pub(super) enum Batch {
    Push(Push),
    Page {
        peer: Region,
        cursor: Cursor,
        seen: VersionVector,
        end: Option<VersionVector>,
        /// Whether it ends all that a region has which serves.
        fills: bool,
        repair: bool,
        entries: Vec<(String, Entry)>,
    },
}

impl Batch {
    fn load(&self) -> Load {
        match self {
            Self::Push(push) => Load::of(&push.entries),
            Self::Page { entries, .. } => Load::of(entries),
        }
    }
}

/// How much something is to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) entries: usize,
    bytes: usize,
}

impl Load {
    fn of(entries: &[(String, Entry)]) -> Self {
        let bytes = entries.iter().map(|(key, entry)| weight(key, entry));
        Self {
            entries: entries.len(),
            bytes: bytes.fold(0, usize::saturating_add),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_add(other.entries),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_sub(other.entries),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// Bytes of a key and its value, and something for each part of a counter.
pub(super) fn weight(key: &str, entry: &Entry) -> usize {
    const SHARD: usize = 64;
    let value = entry.register.as_ref().and_then(|r| r.value.as_ref());
    let value = value.map_or(0, |value| value.len());
    let shards = entry.shards.len().saturating_mul(SHARD);
    key.len().saturating_add(value).saturating_add(shards)
}

/// What is being applied.
#[derive(Debug)]
pub(super) struct Applying {
    /// Per key, what came in, each with what its sender had seen.
    incoming: BTreeMap<String, Vec<(Entry, Arc<VersionVector>)>>,
    /// The keys in the order in which they become visible.
    keys: Vec<String>,
    /// The weight of what came in for each of them.
    weights: Vec<usize>,
    /// How many of the keys are in place.
    done: usize,
    /// How many are tried in one step; fewer after a conflict with a component's write.
    size: usize,
    /// What the step puts in place.
    putting: Vec<(String, Entry)>,
    /// What is to be told once it is.
    notices: Vec<Notice>,
    /// Whether it goes by what is remembered, and not by what was read.
    recalled: bool,
    /// What is covered when all are in place.
    raise: VersionVector,
    cursor: Option<(Region, Cursor)>,
    /// Authors that wait to hear of it.
    acks: Vec<Author>,
    /// Whether what was collected counts as lost.
    repair: bool,
    /// The last page of a pull from this peer.
    ends: Option<Region>,
    /// Whether that peer served when it sent it.
    fills: bool,
}

impl Engine {
    pub(super) fn push(&mut self, from: Region, push: Push) {
        if push.author.region != from {
            return self.refuse_impostor(from, push.author);
        }
        // Of another life of its store it has not said yet where that comes from.
        let same = self.author_of(&from) == Some(&push.author);
        if !self.phase.takes_in() || push.first > push.last || !same || !self.admit(&from) {
            return;
        }
        self.enqueue(Batch::Push(push));
    }

    pub(super) fn enqueue(&mut self, batch: Batch) {
        let waiting = self.waiting.plus(batch.load());
        let full = waiting.entries > self.config.queue || waiting.bytes > self.config.queue_bytes;
        if full && matches!(batch, Batch::Push(_)) && self.waiting != Load::default() {
            // It is not lost: the next hello shows that it is missing, and it is pulled.
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.waiting = waiting;
        self.inbox.push_back(batch);
    }

    /// Starts on the next batch, if nothing is under way.
    pub(super) fn pump(&mut self) {
        if !self.phase.takes_in() {
            return;
        }
        while self.applying.is_none() {
            let Some(batch) = self.inbox.pop_front() else {
                break;
            };
            self.waiting = self.waiting.minus(batch.load());
            match batch {
                Batch::Push(push) => self.start_pushes(push),
                Batch::Page {
                    peer,
                    cursor,
                    seen,
                    end,
                    fills,
                    repair,
                    entries,
                } => {
                    let seen = Arc::new(seen);
                    let mut applying = Applying::new(repair);
                    applying.cursor = Some((peer.clone(), cursor));
                    applying.fills = fills;
                    if let Some(end) = end {
                        applying.raise = end;
                        applying.ends = Some(peer);
                    }
                    for (key, entry) in entries {
                        applying.add(key, entry, seen.clone());
                    }
                    self.start(applying);
                }
            }
        }
        self.pull_on();
    }

    /// Applies a push, and those that wait behind it and fit on.
    fn start_pushes(&mut self, first: Push) {
        let mut applying = Applying::new(false);
        let mut next = Some(first);
        while let Some(push) = next {
            self.add_push(&mut applying, push);
            let fits = applying.fitting(&self.config) == applying.keys.len()
                && applying.keys.len() < self.config.rows;
            let more = fits && matches!(self.inbox.front(), Some(Batch::Push(_)));
            next = if more { self.inbox.pop_front() } else { None }.and_then(|batch| {
                self.waiting = self.waiting.minus(batch.load());
                match batch {
                    Batch::Push(push) => Some(push),
                    Batch::Page { .. } => None,
                }
            });
        }
        if !applying.raise.is_empty() {
            self.start(applying);
        }
    }

    fn add_push(&mut self, applying: &mut Applying, push: Push) {
        let mut next = Some(push);
        while let Some(push) = next {
            let (author, last) = (push.author, push.last);
            let have = self.vector.get(&author).max(applying.raise.get(&author));
            if last <= have {
                if push.ack {
                    self.acknowledge(author);
                }
                return;
            }
            if push.first > have.saturating_add(1) {
                // An earlier write is missing: writes of one author become visible in their order.
                return self.park(Push { author, ..push });
            }
            let seen = Arc::new(push.seen);
            for (key, entry) in push.entries {
                applying.add(key, entry, seen.clone());
            }
            applying.raise.raise(&author, last);
            if push.ack && !applying.acks.contains(&author) {
                applying.acks.push(author.clone());
            }
            // What was parked may fit on now.
            let fitting = (author.clone(), 0)..=(author, last.saturating_add(1));
            let parked = self.parked.range(fitting).next();
            let parked = parked.map(|(at, _)| at.clone());
            next = parked.and_then(|at| self.take_parked(&at));
        }
    }

    /// Keeps a write until the earlier one is here, if there is room; what is not kept is pulled.
    fn park(&mut self, push: Push) {
        let load = Load::of(&push.entries);
        let bytes = self.parked_load.plus(load).bytes;
        if self.parked.len() >= MAX_PARKED || bytes > self.config.queue_bytes {
            return;
        }
        let at = (push.author.clone(), push.first);
        self.parked_load = self.parked_load.plus(load);
        if let Some(twin) = self.parked.insert(at, push) {
            self.parked_load = self.parked_load.minus(Load::of(&twin.entries));
        }
    }

    fn take_parked(&mut self, at: &(Author, u64)) -> Option<Push> {
        let push = self.parked.remove(at)?;
        self.parked_load = self.parked_load.minus(Load::of(&push.entries));
        Some(push)
    }

    fn acknowledge(&mut self, author: Author) {
        let seq = self.vector.get(&author);
        let to = author.region.clone();
        self.send(Some(to), Message::Applied(Applied { author, seq }));
    }

    fn start(&mut self, mut applying: Applying) {
        applying.size = applying.fitting(&self.config);
        self.applying = Some(applying);
        self.apply_next();
    }

    fn apply_next(&mut self) {
        let Some(applying) = &self.applying else {
            return;
        };
        if applying.current().is_empty() {
            self.commit(Vec::new(), Hlc::default());
        } else if let Some(held) = self.recall(applying) {
            self.apply_to(held, true);
        } else {
            self.read_current();
        }
    }

    fn read_current(&mut self) {
        if let Some(applying) = &self.applying {
            let keys = applying.current().to_vec();
            self.store(Task::ApplyRead, Op::Read { keys });
        }
    }

    /// What lies at the step's keys, if all of it is remembered.
    ///
    /// It may be older than what lies there by now, and so than the vector. What it makes of an incoming entry is compared
    /// in the store; where it makes nothing of one, that is read after all.
    fn recall(&self, applying: &Applying) -> Option<Vec<Held>> {
        // An origin that the store cannot keep takes back what a read of it would only have begun.
        let mut tasks = self.tasks.values();
        if !applying.is_news() || tasks.any(|task| matches!(task, Task::Origins)) {
            return None;
        }
        let held = |key: &String| {
            let entry = self.recent.get(key)?.clone();
            Some(Held {
                key: key.clone(),
                expected: Expected::Put(entry.clone()),
                entry,
            })
        };
        applying.current().iter().map(held).collect()
    }

    pub(super) fn apply_read(&mut self, rows: Vec<Row>) {
        let held = |row: Row| Held {
            key: row.key,
            entry: row.entry,
            expected: Expected::Read(row.version),
        };
        self.apply_to(rows.into_iter().map(held).collect(), false);
    }

    fn apply_to(&mut self, held: Vec<Held>, recalled: bool) {
        let Some(applying) = &self.applying else {
            return;
        };
        let repair = applying.repair;
        let nothing = VersionVector::default();
        let bound = self.now.wall_ms.saturating_add(self.config.clock_bound_ms);
        let mut changes = Vec::new();
        let mut notices = Vec::new();
        let mut mark = Hlc::default();
        let keys = held.len();
        for row in held {
            let Some(incoming) = applying.incoming.get(&row.key) else {
                continue;
            };
            let mut entry = row.entry.clone();
            for (theirs, seen) in incoming {
                let (mine, theirs) = (
                    Seen {
                        entry: &entry,
                        vector: if repair { &nothing } else { &self.vector },
                    },
                    Seen {
                        entry: theirs,
                        vector: if repair { &nothing } else { seen },
                    },
                );
                if let Some(conflict) = conflict(mine, theirs) {
                    notices.push(Notice::Conflict {
                        key: row.key.clone(),
                        winner: conflict.winner,
                        loser: conflict.loser,
                    });
                }
                let merged = merge(mine, theirs);
                if let Some(register) = theirs.entry.register.as_ref() {
                    let stamp = &register.stamp;
                    if stamp.at.wall_ms <= bound {
                        mark = mark.max(stamp.at);
                    } else if merged.register != entry.register {
                        notices.push(Notice::Ahead {
                            key: row.key.clone(),
                            stamp: stamp.clone(),
                        });
                    }
                }
                entry = merged;
            }
            if let (Some(dropped), None) = (&row.entry.register, &entry.register) {
                // Collected elsewhere. What is written here next has to be later all the same.
                mark = mark.max(dropped.stamp.at);
            }
            if entry != row.entry {
                changes.push(Change {
                    key: row.key,
                    expected: row.expected,
                    entry,
                });
            }
        }
        if recalled && changes.len() < keys {
            // Nothing is compared where nothing changes, and what is remembered may lack what the vector covers.
            return self.read_current();
        }
        if let Some(applying) = &mut self.applying {
            applying.recalled = recalled;
            applying.notices = notices;
            let (all, recent) = (applying.is_news(), &self.recent);
            let keeps = |change: &&Change| all || recent.get(&change.key).is_some();
            let put = |change: &Change| (change.key.clone(), change.entry.clone());
            applying.putting = changes.iter().filter(keeps).map(put).collect();
        }
        self.commit(changes, mark);
    }

    fn list(&mut self, notice: &Notice) {
        match notice {
            Notice::Conflict { key, winner, loser } => {
                self.conflict_count = self.conflict_count.saturating_add(1);
                if self.conflicts.len() >= MAX_LISTED {
                    self.conflicts.pop_front();
                }
                self.conflicts.push_back(ConflictStatus {
                    key: shown(key),
                    winner: winner.clone(),
                    loser: loser.clone(),
                    at_ms: self.now.wall_ms,
                });
            }
            Notice::Ahead { key, stamp } => {
                let bound = self.now.wall_ms.saturating_add(self.config.clock_bound_ms);
                self.ahead.retain(|_, stamp| stamp.at.wall_ms > bound);
                if self.ahead.len() < MAX_LISTED {
                    self.ahead.insert(key.clone(), stamp.clone());
                }
            }
            _ => {}
        }
    }

    fn commit(&mut self, entries: Vec<Change>, mark: Hlc) {
        let Some(applying) = &self.applying else {
            return;
        };
        let last = applying.is_last();
        let joins = matches!(self.phase, Phase::Joining { .. });
        let begin = if joins && last && applying.ends.is_some() && self.is_new() {
            self.slowest_other()
        } else {
            Hlc::default()
        };
        let reads = applying.cursor.is_some() && !entries.is_empty();
        let commit = Commit {
            mark: mark.max(begin),
            now_ms: self.now.wall_ms,
            entries,
            cursor: applying.cursor.clone().filter(|_| last),
            raise: if last {
                applying.raise.clone()
            } else {
                VersionVector::default()
            },
        };
        if reads {
            self.stop_comparing();
        }
        self.store(Task::ApplyCommit, Op::Commit(commit));
    }

    pub(super) fn apply_committed(&mut self) {
        let Some(applying) = &mut self.applying else {
            return;
        };
        for (key, entry) in applying.putting.drain(..) {
            self.recent.put(key, entry);
        }
        self.tell_applied();
        let Some(applying) = &mut self.applying else {
            return;
        };
        if !applying.is_last() {
            applying.done = applying.done.saturating_add(applying.size);
            applying.size = applying.fitting(&self.config);
            return self.apply_next();
        }
        let Some(applied) = self.applying.take() else {
            return;
        };
        self.touched |= !applied.keys.is_empty();
        self.vector.merge(&applied.raise);
        self.compare_those_ahead();
        if let Some((region, cursor)) = applied.cursor {
            self.cursors.insert(region, cursor);
        }
        for author in applied.acks {
            self.acknowledge(author);
        }
        if let Some(peer) = applied.ends {
            self.pulled(&peer);
        }
        if applied.fills {
            self.filled();
        }
        self.unpark();
    }

    /// Tells of what came of a step. If it is not in place after all, that is told again when it is.
    fn tell_applied(&mut self) {
        let Some(applying) = &mut self.applying else {
            return;
        };
        for notice in std::mem::take(&mut applying.notices) {
            self.list(&notice);
            self.notice(notice);
        }
    }

    /// Gives up what is being applied; whether the last step of it is in place is not known.
    pub(super) fn stop_applying(&mut self) {
        self.tell_applied();
        self.applying = None;
        // A reply that is still to come is not the next batch's.
        let applies = |task: &Task| matches!(task, Task::ApplyRead | Task::ApplyCommit);
        self.tasks.retain(|_, task| !applies(task));
    }

    /// The entry at `at` is another one by now. If it was read, a component writes it: put those before it in place, then
    /// look again. If it was recalled: read.
    pub(super) fn apply_conflict(&mut self, at: usize) {
        if let Some(applying) = &mut self.applying {
            applying.notices.clear();
            if applying.recalled {
                for (key, _) in applying.putting.drain(..).skip(at).take(1) {
                    self.recent.contested(key);
                }
            } else {
                applying.size = applying.size.min(at.max(1));
            }
        }
        self.apply_next();
    }

    /// Nothing is known to be in place; what came in comes again by a pull.
    pub(super) fn apply_failed(&mut self) {
        self.stop_applying();
        self.pulling = None;
        // A later page would move the cursor, and at last the vector, past the one that is not in place.
        self.inbox.retain(|batch| matches!(batch, Batch::Push(_)));
        let loads = self.inbox.iter().map(Batch::load);
        self.waiting = loads.fold(Load::default(), Load::plus);
    }

    /// Parked writes that are covered by now are dropped, those that fit on are applied.
    fn unpark(&mut self) {
        let (vector, load) = (&self.vector, &mut self.parked_load);
        self.parked.retain(|(author, _), push| {
            let covered = vector.covers(author, push.last);
            if covered {
                *load = load.minus(Load::of(&push.entries));
            }
            !covered
        });
        let fits = |at: &&(Author, u64)| at.1 <= vector.get(&at.0).saturating_add(1);
        if let Some(at) = self.parked.keys().find(fits).cloned() {
            if let Some(push) = self.take_parked(&at) {
                self.waiting = self.waiting.plus(Load::of(&push.entries));
                self.inbox.push_front(Batch::Push(push));
            }
        }
    }

    /// Whether a write is parked, and so one is missing.
    pub(super) fn has_gap(&self, region: &Region) -> bool {
        self.parked
            .keys()
            .any(|(author, _)| author.region == *region)
    }
}

/// An entry that something is merged with.
struct Held {
    key: String,
    entry: Entry,
    expected: Expected,
}

impl Applying {
    fn new(repair: bool) -> Self {
        Self {
            incoming: BTreeMap::new(),
            keys: Vec::new(),
            weights: Vec::new(),
            done: 0,
            size: 0,
            putting: Vec::new(),
            notices: Vec::new(),
            recalled: false,
            raise: VersionVector::default(),
            cursor: None,
            acks: Vec::new(),
            repair,
            ends: None,
            fills: false,
        }
    }

    fn add(&mut self, key: String, entry: Entry, seen: Arc<VersionVector>) {
        let weight = weight(&key, &entry);
        let incoming = self.incoming.entry(key.clone()).or_default();
        if incoming.is_empty() {
            self.keys.push(key);
            self.weights.push(weight);
        }
        incoming.push((entry, seen));
    }

    /// Whether it is what a region just wrote, and no page of its change log.
    fn is_news(&self) -> bool {
        self.cursor.is_none()
    }

    /// How many of the keys that are left one step takes: one at least, as many as `rows` and about `bytes` allow.
    fn fitting(&self, config: &Config) -> usize {
        let mut bytes = 0_usize;
        let left = self.weights.iter().skip(self.done).take(config.rows);
        let fits = left.take_while(|weight| {
            let fits = bytes == 0 || bytes.saturating_add(**weight) <= config.bytes;
            bytes = bytes.saturating_add(**weight);
            fits
        });
        fits.count()
    }

    fn current(&self) -> &[String] {
        let end = self.done.saturating_add(self.size).min(self.keys.len());
        self.keys.get(self.done..end).unwrap_or(&[])
    }

    fn is_last(&self) -> bool {
        self.done.saturating_add(self.size) >= self.keys.len()
    }
}
