//! Three holders of one key, each with a vector, who forget tombstones as the engine does: whatever they write, and
//! in whatever order copies of their entries reach the others, late, again or not at all, in the end all
//! hold the same, and it is what the writes come to.

use std::cell::Cell;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use replica::clock::{Hlc, Stamp};
use replica::entry::{Entry, Register, Replaced, Shard, ShardId, Visible};
use replica::merge::{merge, Seen};
use replica::number;
use replica::region::Author;
use replica::vector::VersionVector;

const HOLDERS: usize = 3;

/// Somebody who holds the key's entry. Writes as the store's script does.
#[derive(Clone, Debug)]
struct Holder {
    author: Author,
    wall_ms: u64,
    mark: Hlc,
    seq: u64,
    entry: Entry,
    vector: VersionVector,
    /// The last vector that each holder is known to have had.
    known: [VersionVector; HOLDERS],
}

/// A copy of an entry on its way, and what its sender covered.
#[derive(Clone, Debug)]
struct Copy {
    from: usize,
    entry: Entry,
    vector: VersionVector,
}

/// A write, and what its writer covered before it.
#[derive(Debug)]
struct Done {
    author: Author,
    seq: u64,
    seen: VersionVector,
    what: What,
}

#[derive(Debug)]
enum What {
    Register(Hlc, Option<Bytes>),
    Counted(u128),
}

#[derive(Clone, Debug)]
enum Act {
    Set(usize, u64),
    Delete(usize),
    Increment(usize, u64),
    /// A wall clock is put to some time.
    Clock(usize, u64),
    /// A copy is made, to arrive some time, or several.
    Post(usize),
    Arrive(usize, prop::sample::Index),
    /// All hear of all.
    Share,
    /// A tombstone is forgotten, if it may be.
    Forget(usize),
}

impl Holder {
    fn new(region: &str) -> Self {
        Self {
            author: format!("{region}/1").parse().unwrap(),
            wall_ms: 1,
            mark: Hlc::default(),
            seq: 0,
            entry: Entry::default(),
            vector: VersionVector::default(),
            known: Default::default(),
        }
    }

    fn next(&mut self) -> u64 {
        self.seq += 1;
        self.vector.raise(&self.author, self.seq);
        self.seq
    }

    fn done(&self, seen: VersionVector, what: What) -> Done {
        Done {
            author: self.author.clone(),
            seq: self.seq,
            seen,
            what,
        }
    }

    fn register(&mut self, value: Option<Bytes>) -> Done {
        let (seen, seq) = (self.vector.clone(), self.next());
        let later = |at: Hlc| Hlc {
            counter: at.counter + 1,
            ..at
        };
        let now = Hlc {
            wall_ms: self.wall_ms,
            counter: 0,
        };
        self.mark = if now > self.mark {
            now
        } else {
            later(self.mark)
        };
        let stood = self
            .entry
            .register
            .as_ref()
            .map(|register| register.stamp.at);
        let at = stood.map_or(self.mark, |stood| self.mark.max(later(stood)));
        for shard in self.entry.shards.values_mut() {
            shard.replaced = Some(Replaced {
                count: shard.count,
                author: self.author.clone(),
                seq,
            });
        }
        self.entry.register = Some(Register {
            stamp: Stamp {
                at,
                author: self.author.clone(),
            },
            seq,
            value: value.clone(),
        });
        self.done(seen, What::Register(at, value))
    }

    fn set(&mut self, value: u64) -> Done {
        let text = format!("text {value}");
        let value = if value.is_multiple_of(4) {
            text
        } else {
            value.to_string()
        };
        self.register(Some(value.into()))
    }

    fn delete(&mut self) -> Option<Done> {
        (!self.entry.is_dead()).then(|| self.register(None))
    }

    fn increment(&mut self, delta: u64) -> Option<Done> {
        let shown = self.entry.visible().bytes();
        if shown.is_some_and(|shown| number::parse(&shown).is_none()) {
            return None;
        }
        let (seen, seq) = (self.vector.clone(), self.next());
        let mut own = self.entry.shards.iter_mut().rev();
        match own.find(|(id, _)| id.author == self.author) {
            Some((_, shard)) => {
                shard.count += u128::from(delta);
                shard.seq = seq;
            }
            None => {
                let id = ShardId {
                    author: self.author.clone(),
                    birth: seq,
                };
                let shard = Shard {
                    count: delta.into(),
                    replaced: None,
                    seq,
                };
                self.entry.shards.insert(id, shard);
            }
        }
        Some(self.done(seen, What::Counted(delta.into())))
    }

    fn copy(&self, from: usize) -> Copy {
        Copy {
            from,
            entry: self.entry.clone(),
            vector: self.vector.clone(),
        }
    }

    fn hear(&mut self, copy: &Copy) {
        let mine = Seen {
            entry: &self.entry,
            vector: &self.vector,
        };
        let theirs = Seen {
            entry: &copy.entry,
            vector: &copy.vector,
        };
        let merged = merge(mine, theirs);
        for register in [&self.entry.register, &copy.entry.register]
            .into_iter()
            .flatten()
        {
            self.mark = self.mark.max(register.stamp.at);
        }
        self.entry = merged;
        self.vector.merge(&copy.vector);
        self.known[copy.from].merge(&copy.vector);
    }

    /// Forgets a tombstone that every other covers, when everything that they wrote before is here.
    fn forget(&mut self, me: usize) -> bool {
        let others = self.known.iter().enumerate().filter(|(at, _)| *at != me);
        let settled = others
            .into_iter()
            .all(|(_, known)| self.entry.is_covered_by(known) && self.vector.includes(known));
        let forgets = settled && self.entry.register.is_some() && self.entry.is_dead();
        if forgets {
            self.entry = Entry::default();
        }
        forgets
    }
}

/// What writes come to, by a rule of its own: the last register, and every increment that no register had seen.
fn outcome(writes: &[Done]) -> Visible {
    let registers = writes.iter().filter_map(|done| match &done.what {
        What::Register(at, value) => Some(((*at, &done.author), value)),
        What::Counted(_) => None,
    });
    let value = registers.max_by_key(|(stamp, _)| *stamp);
    let value = value.and_then(|(_, value)| value.clone());
    let is_seen = |done: &Done| {
        let registers = writes
            .iter()
            .filter(|other| matches!(other.what, What::Register(..)));
        registers
            .into_iter()
            .any(|register| register.seen.covers(&done.author, done.seq))
    };
    let counted: Vec<u128> = writes
        .iter()
        .filter_map(|done| match done.what {
            What::Counted(delta) => (!is_seen(done)).then_some(delta),
            What::Register(..) => None,
        })
        .collect();
    let number = value.as_ref().map(|value| number::parse(value));
    match (value, number) {
        (None, _) if counted.is_empty() => Visible::Absent,
        (Some(value), _) if counted.is_empty() => Visible::Register(value),
        (Some(text), Some(None)) => Visible::Register(text),
        (_, number) => {
            let base = u128::from(number.flatten().unwrap_or(0));
            Visible::Sum(u64::try_from(base + counted.iter().sum::<u128>()).unwrap())
        }
    }
}

/// An entry but for who replaced a count. Who forgot a shard drops a late copy of it, and with it who replaced it
/// there: of two who replaced equally much it may then name the other.
fn substance(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    for (id, shard) in &mut entry.shards {
        if let Some(replaced) = &mut shard.replaced {
            (replaced.author, replaced.seq) = (id.author.clone(), 0);
        }
    }
    entry
}

fn act() -> impl Strategy<Value = Act> {
    let who = || 0..HOLDERS;
    prop_oneof![
        2 => (who(), 0_u64..40).prop_map(|(who, value)| Act::Set(who, value)),
        4 => who().prop_map(Act::Delete),
        4 => (who(), 1_u64..20).prop_map(|(who, delta)| Act::Increment(who, delta)),
        1 => (who(), 0_u64..50).prop_map(|(who, wall)| Act::Clock(who, wall)),
        4 => who().prop_map(Act::Post),
        6 => (who(), any::<prop::sample::Index>()).prop_map(|(who, which)| Act::Arrive(who, which)),
        2 => Just(Act::Share),
        4 => who().prop_map(Act::Forget),
    ]
}

fn pairs() -> Vec<(usize, usize)> {
    let all = (0..HOLDERS).flat_map(|at| (0..HOLDERS).map(move |from| (at, from)));
    all.filter(|(at, from)| at != from).collect()
}

#[test]
fn three_holders_agree_in_any_order_of_exchange_though_they_forget_tombstones() {
    let (forgotten, stale) = (Cell::new(0_u32), Cell::new(0_u32));
    let config = ProptestConfig::with_cases(10_000);
    proptest!(config, |(acts in vec(act(), 0..80), order in Just(pairs()).prop_shuffle())| {
        let mut holders = ["fra", "iad", "sin"].map(Holder::new);
        let (mut done, mut post) = (Vec::new(), Vec::new());
        for act in acts {
            match act {
                Act::Set(who, value) => done.push(holders[who].set(value)),
                Act::Delete(who) => done.extend(holders[who].delete()),
                Act::Increment(who, delta) => done.extend(holders[who].increment(delta)),
                Act::Clock(who, wall_ms) => holders[who].wall_ms = wall_ms,
                Act::Post(who) => post.push(holders[who].copy(who)),
                Act::Arrive(_, _) if post.is_empty() => {}
                Act::Arrive(who, which) => {
                    let copy: &Copy = which.get(&post);
                    if copy.from != who {
                        let lacks = holders[who].entry.is_empty() && !copy.entry.is_empty();
                        let is_late = lacks && copy.entry.is_covered_by(&holders[who].vector);
                        stale.set(stale.get() + u32::from(is_late));
                        holders[who].hear(copy);
                    }
                }
                Act::Share => {
                    for (at, from) in pairs().into_iter().chain(pairs()) {
                        let copy = holders[from].copy(from);
                        holders[at].hear(&copy);
                    }
                }
                Act::Forget(who) => forgotten.set(forgotten.get() + u32::from(holders[who].forget(who))),
            }
        }
        for (at, from) in order {
            let copy = holders[from].copy(from);
            holders[at].hear(&copy);
        }
        let [one, two, three] = &holders;
        prop_assert_eq!(&one.vector, &two.vector);
        prop_assert_eq!(&one.vector, &three.vector);
        prop_assert_eq!(substance(&one.entry), substance(&two.entry));
        prop_assert_eq!(substance(&one.entry), substance(&three.entry));
        prop_assert_eq!(one.entry.visible(), outcome(&done));
    });
    // Or the vectors decided nothing.
    assert!(forgotten.get() > 1_000, "{} tombstones", forgotten.get());
    assert!(stale.get() > 300, "{} copies came late", stale.get());
}
