//! The merge of two entries, in one place.
//!
//! The register with the higher stamp stays; of two with one stamp, which only damage makes differ, the greater value. Of each shard the higher count stays, and the higher part of it
//! that was replaced: what *any* `set` or `delete` had seen is gone, what none had seen counts.
//!
//! # Laws
//!
//! With empty vectors the merge is the join of a lattice: commutative, associative, idempotent; whatever
//! is lost, repeated or reordered on the way, the same entries in give the same entry out.
//!
//! The vectors add one thing: the memory of what was *collected* (see [`crate::Engine`]). A part that one side lacks,
//! although its vector covers the write, was there and has been collected; it is dropped from the result.
//! Without that, a tombstone could never be forgotten: the first copy from a slower region would bring it,
//! or what it deleted, back. A vector that belongs to an entry may be older than the entry, never newer.

use std::collections::BTreeMap;

use crate::clock::Stamp;
use crate::entry::{Entry, Register, Shard, ShardId};
use crate::vector::VersionVector;

/// An entry and what its holder had applied when (or before) it was read.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The entry; an empty one where the holder has none.
    pub entry: &'a Entry,
    /// The holder's vector.
    pub vector: &'a VersionVector,
}

/// Two registers of which neither writer knew the other's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The register that stays.
    pub winner: Stamp,
    /// The register that is gone.
    pub loser: Stamp,
}

/// Merges two holders' entries of one key.
pub fn merge(left: Seen<'_>, right: Seen<'_>) -> Entry {
    Entry {
        register: register(left, right).cloned(),
        shards: shards(left, right),
    }
}

/// Whether two entries hold registers that were written without knowledge of each other.
pub fn conflict(left: Seen<'_>, right: Seen<'_>) -> Option<Conflict> {
    let (one, other) = (
        left.entry.register.as_ref()?,
        right.entry.register.as_ref()?,
    );
    let unseen = |register: &Register, vector: &VersionVector| {
        !vector.covers(&register.stamp.author, register.seq)
    };
    // Who wrote the same lost nothing: two regions that adopt the same data do, key by key.
    let differ = one.stamp != other.stamp && one.value != other.value;
    let concurrent = differ && unseen(one, right.vector) && unseen(other, left.vector);
    concurrent.then(|| Conflict {
        winner: one.stamp.clone().max(other.stamp.clone()),
        loser: one.stamp.clone().min(other.stamp.clone()),
    })
}

fn register<'a>(left: Seen<'a>, right: Seen<'a>) -> Option<&'a Register> {
    let kept = |register: &'a Register, other: &VersionVector| {
        (!other.covers(&register.stamp.author, register.seq)).then_some(register)
    };
    match (&left.entry.register, &right.entry.register) {
        (Some(one), Some(other)) => {
            let rank = |register: &'a Register| (&register.stamp, &register.value);
            Some(if rank(one) >= rank(other) { one } else { other })
        }
        (Some(one), None) => kept(one, right.vector),
        (None, Some(other)) => kept(other, left.vector),
        (None, None) => None,
    }
}

fn shards(left: Seen<'_>, right: Seen<'_>) -> BTreeMap<ShardId, Shard> {
    let mut merged = BTreeMap::new();
    for (mine, theirs) in [(left, right), (right, left)] {
        for (id, shard) in &mine.entry.shards {
            let both = match theirs.entry.shards.get(id) {
                Some(other) => Shard {
                    count: shard.count.max(other.count),
                    replaced: shard.replaced.clone().max(other.replaced.clone()),
                    seq: shard.seq.max(other.seq),
                },
                None if theirs.vector.covers(&id.author, shard.seq) => continue,
                None => shard.clone(),
            };
            merged.insert(id.clone(), both);
        }
    }
    merged
}
