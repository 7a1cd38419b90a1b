//! The replicated entry: what every region keeps about one key.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::number;
use crate::region::Author;
use crate::vector::VersionVector;

/// One author's part of one counter, from its first increment until the entry is collected.
///
/// The number of the first increment is part of the name: a counter that is deleted everywhere,
/// forgotten and then used again starts a new shard, so that nobody mistakes its count for an old one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId {
    /// Who counts here.
    pub author: Author,
    /// The number of the write that started the shard.
    pub birth: u64,
}

/// How far a shard has counted. Grows only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Sum of all its increments, deletes or not. Wider than a counter, so that it never overflows.
    pub count: u128,
    /// What a `set` or `delete`, any of them, had seen of it and replaced; `None` if none knew it.
    pub replaced: Option<Replaced>,
    /// The number of its author's last write here.
    pub seq: u64,
}

/// How much of a shard is gone, and by whose write: that write may have lost its register to another
/// one, and still has to spread. Ordered by how much.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Replaced {
    /// So much of the count.
    pub count: u128,
    /// Who set or deleted.
    pub author: Author,
    /// The number of that write.
    pub seq: u64,
}

/// The last `set` or `delete` of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Decides between concurrent writes: the higher one stays.
    pub stamp: Stamp,
    /// The number of this write among its author's.
    pub seq: u64,
    /// What was set; `None` after a delete.
    pub value: Option<Bytes>,
}

/// What a region knows about one key: a register, and counter shards beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `None` when the key was only ever incremented.
    pub register: Option<Register>,
    /// Per author, what was counted.
    pub shards: BTreeMap<ShardId, Shard>,
}

/// What a component sees of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visible {
    /// No such key.
    Absent,
    /// The register's bytes, as they were set.
    Register(Bytes),
    /// The register's number (0 without one) plus what was counted and not replaced; `u64::MAX` when
    /// concurrent increments add up to more.
    Sum(u64),
}

impl Visible {
    /// The value as it lies in Valkey; `None` when absent.
    pub fn bytes(&self) -> Option<Bytes> {
        match self {
            Self::Absent => None,
            Self::Register(value) => Some(value.clone()),
            Self::Sum(sum) => Some(sum.to_string().into()),
        }
    }
}

impl Entry {
    /// What a component sees.
    ///
    /// A text register hides increments that its writer had not seen: they are no part of a text. They
    /// stay in the shards, and the next `set` or `delete` replaces them.
    pub fn visible(&self) -> Visible {
        let value = self.register.as_ref().and_then(|r| r.value.as_ref());
        let mut past = self.past().peekable();
        if past.peek().is_none() {
            return value.map_or(Visible::Absent, |value| Visible::Register(value.clone()));
        }
        let base = match value.map(|value| number::parse(value).ok_or(value)) {
            Some(Err(text)) => return Visible::Register(text.clone()),
            Some(Ok(number)) => u128::from(number),
            None => 0,
        };
        let sum = past.fold(base, u128::saturating_add);
        Visible::Sum(u64::try_from(sum).unwrap_or(u64::MAX))
    }

    /// Whether nothing is left but the memory of a delete.
    pub fn is_dead(&self) -> bool {
        self.visible() == Visible::Absent
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.register.is_none() && self.shards.is_empty()
    }

    /// What each shard counted and no register replaced. A shard that none knew counts even when it
    /// stands at 0: an increment by nothing still creates a counter.
    fn past(&self) -> impl Iterator<Item = u128> + '_ {
        self.shards
            .values()
            .filter_map(|shard| match &shard.replaced {
                Some(replaced) => shard
                    .count
                    .checked_sub(replaced.count)
                    .filter(|past| *past > 0),
                None => Some(shard.count),
            })
    }

    /// The numbers of the writes that this entry consists of.
    pub fn dots(&self) -> impl Iterator<Item = (&Author, u64)> {
        let register = self.register.iter().map(|r| (&r.stamp.author, r.seq));
        let shards = self
            .shards
            .iter()
            .map(|(id, shard)| (&id.author, shard.seq));
        let replaced = self.shards.values().filter_map(|shard| {
            let replaced = shard.replaced.as_ref()?;
            Some((&replaced.author, replaced.seq))
        });
        register.chain(shards).chain(replaced)
    }

    /// Whether a vector covers every write in this entry.
    pub fn is_covered_by(&self, vector: &VersionVector) -> bool {
        self.dots().all(|(author, seq)| vector.covers(author, seq))
    }
}
