//! What clients did, and what has to come of it.

use std::collections::{BTreeMap, BTreeSet};

use replica::entry::{Entry, Register, Shard, ShardId};
use replica::region::Author;
use replica::vector::VersionVector;

/// One write that a store carried out, whether or not its client ever heard so.
#[derive(Clone, Debug)]
pub struct Done {
    /// The key.
    pub key: String,
    /// Who wrote.
    pub author: Author,
    /// The number of the write.
    pub seq: u64,
    /// The entry right after it.
    pub entry: Entry,
    /// Whether it set or deleted the register; else it counted.
    pub is_register: bool,
    /// The wall clock at the write, in milliseconds.
    pub wall_ms: u64,
    /// What the region covered when it wrote.
    pub vector: VersionVector,
    /// Whether every copy of it may have been on a disk that is gone.
    pub uncertain: bool,
}

/// All writes of a run.
#[derive(Debug, Default)]
pub struct History {
    /// In the order in which they were carried out.
    pub done: Vec<Done>,
    /// Increments that clients were told of, per key of which nothing else was ever done.
    pub counted: BTreeMap<String, u64>,
    /// All increments that a store carried out, per key, and all that plain links counted, whether or not it is still
    /// on a disk.
    pub attempted: BTreeMap<String, u64>,
}

impl History {
    /// Notes that a store lost everything past `after`, when the others cover `elsewhere`.
    pub fn lose(
        &mut self,
        before: &VersionVector,
        after: &VersionVector,
        elsewhere: &VersionVector,
    ) {
        for done in &mut self.done {
            let lost = before.covers(&done.author, done.seq)
                && !after.covers(&done.author, done.seq)
                && !elsewhere.covers(&done.author, done.seq);
            done.uncertain |= lost;
        }
    }

    /// The keys of which a write may be lost.
    pub fn uncertain_keys(&self) -> BTreeSet<&str> {
        self.done
            .iter()
            .filter(|done| done.uncertain)
            .map(|done| done.key.as_str())
            .collect()
    }

    /// What each key has to be in the end: worked out from every write, in no particular order, by a rule of its
    /// own. The last register by stamp stays; each shard counts what it reached, but for what the
    /// writer of any register had seen.
    pub fn expected(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let mut keys: BTreeMap<&str, Vec<&Done>> = BTreeMap::new();
        for done in &self.done {
            keys.entry(&done.key).or_default().push(done);
        }
        keys.into_iter()
            .map(|(key, writes)| (key.to_owned(), outcome(&writes)))
            .collect()
    }
}

fn own_register(done: &Done) -> Option<&Register> {
    done.entry.register.as_ref().filter(|_| done.is_register)
}

/// The shard that a write counted in: the one that carries its number.
fn own_shard(done: &Done) -> Option<(&ShardId, &Shard)> {
    let own = |(id, shard): &(&ShardId, &Shard)| id.author == done.author && shard.seq == done.seq;
    done.entry
        .shards
        .iter()
        .find(own)
        .filter(|_| !done.is_register)
}

/// How far a register's writer had seen a shard: as its entry said, or, when the entry had been collected,
/// as far as its vector says.
fn seen(writer: &Done, id: &ShardId, writes: &[&Done]) -> Option<u128> {
    if let Some(held) = writer.entry.shards.get(id) {
        return held.replaced.as_ref().map(|replaced| replaced.count);
    }
    let earlier = |done: &&&Done| {
        let own = writer.author == done.author && done.seq < writer.seq;
        own || writer.vector.covers(&done.author, done.seq)
    };
    writes
        .iter()
        .filter(earlier)
        .filter_map(|done| own_shard(done))
        .filter(|(other, _)| *other == id)
        .map(|(_, shard)| shard.count)
        .max()
}

fn outcome(writes: &[&Done]) -> Option<Vec<u8>> {
    let last = writes
        .iter()
        .filter_map(|done| own_register(done))
        .max_by(|one, other| one.stamp.cmp(&other.stamp));
    let mut reached: BTreeMap<&ShardId, u128> = BTreeMap::new();
    for done in writes {
        if let Some((id, shard)) = own_shard(done) {
            let count = reached.entry(id).or_default();
            *count = shard.count.max(*count);
        }
    }
    let past: Vec<u128> = reached
        .iter()
        .filter_map(|(id, count)| {
            let writers = writes.iter().filter(|done| done.is_register);
            match writers.filter_map(|writer| seen(writer, id, writes)).max() {
                Some(seen) => count.checked_sub(seen).filter(|past| *past > 0),
                None => Some(*count),
            }
        })
        .collect();
    let value = last.and_then(|register| register.value.clone());
    if past.is_empty() {
        return value.map(|value| value.to_vec());
    }
    let base = match value {
        None => 0,
        Some(value) => match replica::number::parse(&value) {
            Some(number) => u128::from(number),
            None => return Some(value.to_vec()),
        },
    };
    let sum = past.into_iter().fold(base, u128::saturating_add);
    let sum = u64::try_from(sum).unwrap_or(u64::MAX);
    Some(sum.to_string().into_bytes())
}
