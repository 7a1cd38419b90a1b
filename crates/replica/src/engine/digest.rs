//! Proof that two regions hold the same.
//!
//! Regions that cover the same writes have to show the same values. Each reads all its entries and adds up
//! a hash of each; sums at equal vectors are compared. A difference means damage (a store that was
//! written behind the provider's back, or a mistake in here), and both sides send each other everything.
//! Writes that no vector covers do not show as one: a sum with such counts only with a region that had read them.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};

use sha2::{Digest as _, Sha256};

use super::boot::Phase;
use super::{Engine, Notice, Task};
use crate::entry::Entry;
use crate::region::Region;
use crate::store::{Names, Op, Row};
use crate::vector::VersionVector;
use crate::wire::{Digest, DigestAsk, Message};

/// Peers that wait for a digest at a time.
const MAX_ASKING: usize = 8;

/// A comparison under way.
#[derive(Debug, Default)]
pub(super) struct Comparing {
    scan: Option<Scan>,
    /// Who asked for the digest.
    asking: Vec<With>,
    /// Whom this region asked, and what it said.
    asked: Option<With>,
    theirs: Option<Digest>,
    ours: Option<Digest>,
}

/// The other side of a comparison.
#[derive(Debug)]
struct With {
    region: Region,
    id: u64,
    /// Up to where it had read the change log here by then.
    read: Option<u64>,
}

/// All entries being read. A digest of a store that changes meanwhile means nothing.
#[derive(Debug, Default)]
struct Scan {
    /// Head, vector and number of keys at the beginning.
    start: Option<(u64, VersionVector, u64)>,
    /// Where to go on; `None` after the last names.
    cursor: Option<u64>,
    /// Names whose entries are not read yet, with the bytes of their values.
    names: Vec<(String, usize)>,
    /// Hashes of the names read so far: some may come twice, as when Valkey makes the hash smaller.
    read: HashSet<u64>,
    sum: u128,
    /// Whether something changed.
    moved: bool,
    /// Whether there are writes that the vector does not cover: in the middle of a pull, or for good, where the disk is lost
    /// on which the numbers before them were.
    uncovered: bool,
}

impl Scan {
    /// What it came to, for the other side of a comparison: no vector tells whether that one has the writes that are not
    /// covered. It has if it had read all that was here.
    fn sum(&self, with: &With) -> Option<u128> {
        let read = self.start.as_ref().map(|(head, ..)| *head) == with.read;
        (!self.moved && (!self.uncovered || read)).then_some(self.sum)
    }
}

/// The hash of what a component sees of an entry, and of when it was set.
fn hash(key: &str, entry: &Entry) -> u128 {
    let Some(value) = entry.visible().bytes() else {
        return 0;
    };
    let stamp = entry
        .register
        .as_ref()
        .filter(|register| register.value.is_some())
        .map_or(String::new(), |register| register.stamp.to_string());
    let mut hash = Sha256::new();
    for part in [key.as_bytes(), stamp.as_bytes(), &value[..]] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    u128::from_be_bytes(first)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl Engine {
    pub(super) fn tick_digest(&mut self) {
        let now = self.now.mono_ms;
        if self.phase != Phase::Ready || now < self.digest_at {
            return;
        }
        self.digest_at = now.saturating_add(self.config.digest_ms);
        // Each in its turn: the one whose last one is the longest ago.
        let turn = |region: &Region| {
            let peer = self.peers.get(region)?;
            let equal = self.is_serving(region) && peer.vector == self.vector;
            equal.then(|| (peer.digest_asked, region.clone()))
        };
        let Some((_, peer)) = self.members().filter_map(turn).min() else {
            return;
        };
        let id = self.id();
        if let Some(asked) = self.peers.get_mut(&peer) {
            asked.digest_asked = Some(now);
        }
        self.comparing.theirs = None;
        self.comparing.ours = None;
        self.comparing.asked = Some(self.with(peer.clone(), id));
        self.send(Some(peer), Message::DigestAsk(DigestAsk { id }));
        self.scan();
    }

    pub(super) fn digest_asked(&mut self, from: Region, id: u64) {
        if self.phase == Phase::Ready && self.comparing.asking.len() < MAX_ASKING {
            let with = self.with(from, id);
            self.comparing.asking.push(with);
            self.scan();
        }
    }

    fn with(&self, region: Region, id: u64) -> With {
        let peer = self.peers.get(&region);
        With {
            read: peer.and_then(|peer| peer.reading.last()),
            region,
            id,
        }
    }

    pub(super) fn digest_answered(&mut self, from: Region, digest: Digest) {
        let asked = self.comparing.asked.as_ref();
        if asked.is_some_and(|asked| asked.region == from && asked.id == digest.id) {
            self.comparing.theirs = Some(digest);
            self.compare();
        }
    }

    fn scan(&mut self) {
        if self.comparing.scan.is_none() {
            self.comparing.scan = Some(Scan {
                cursor: Some(0),
                ..Scan::default()
            });
            self.read_names(Some(0));
        }
    }

    fn read_names(&mut self, cursor: Option<u64>) {
        let rows = self.config.rows;
        self.store(Task::Names, Op::Names { cursor, rows });
    }

    pub(super) fn scan_names(&mut self, names: Names) {
        let Some(scan) = &mut self.comparing.scan else {
            return;
        };
        let ended = scan.cursor.is_none();
        let now = (names.head, names.vector, names.count);
        scan.cursor = names.next;
        scan.names = names.names;
        let read = &mut scan.read;
        scan.names.retain(|(name, _)| {
            let mut hasher = DefaultHasher::new();
            hasher.write(name.as_bytes());
            read.insert(hasher.finish())
        });
        let start = scan.start.get_or_insert_with(|| now.clone());
        scan.moved |= *start != now || (ended && count(scan.read.len()) != now.2);
        if ended || scan.moved {
            self.scanned(now.1);
        } else {
            self.scan_on();
        }
    }

    /// Reads entries of the names that are left, or the next names.
    fn scan_on(&mut self) {
        let Some(scan) = &mut self.comparing.scan else {
            return;
        };
        let mut bytes = 0_usize;
        let fits = scan.names.iter().take_while(|(_, value)| {
            let fits = bytes == 0 || bytes.saturating_add(*value) <= self.config.bytes;
            bytes = bytes.saturating_add(*value);
            fits
        });
        let part = fits.count().min(self.config.rows);
        let keys: Vec<String> = scan.names.drain(..part).map(|(name, _)| name).collect();
        if keys.is_empty() {
            // After the last names, without a cursor: to see whether something changed meanwhile.
            let cursor = scan.cursor;
            self.read_names(cursor);
        } else {
            self.store(Task::Scan, Op::Read { keys });
        }
    }

    pub(super) fn scan_rows(&mut self, rows: &[Row]) {
        let Some(scan) = &mut self.comparing.scan else {
            return;
        };
        let vector = scan.start.as_ref().map(|(_, vector, _)| vector);
        for row in rows {
            scan.sum = scan.sum.wrapping_add(hash(&row.key, &row.entry));
            scan.uncovered |= vector.is_none_or(|vector| !row.entry.is_covered_by(vector));
        }
        self.scan_on();
    }

    fn scanned(&mut self, vector: VersionVector) {
        let Some(scan) = self.comparing.scan.take() else {
            return;
        };
        let ours = |with: &With| Digest {
            id: with.id,
            vector: vector.clone(),
            sum: scan.sum(with),
        };
        self.comparing.ours = self.comparing.asked.as_ref().map(&ours);
        for with in std::mem::take(&mut self.comparing.asking) {
            let digest = ours(&with);
            self.send(Some(with.region), Message::Digest(digest));
        }
        self.compare();
    }

    /// What is about to come in may be covered by no vector, so none would show that a digest is from before it.
    pub(super) fn stop_comparing(&mut self) {
        self.comparing.asked = None;
    }

    fn compare(&mut self) {
        let (Some(asked), Some(theirs), Some(ours)) = (
            &self.comparing.asked,
            &self.comparing.theirs,
            &self.comparing.ours,
        ) else {
            return;
        };
        let peer = asked.region.clone();
        let equal = match (theirs.sum, ours.sum) {
            (Some(one), Some(other)) if theirs.vector == ours.vector => Some(one == other),
            _ => None,
        };
        self.comparing.asked = None;
        if let (Some(equal), Some(known)) = (equal, self.peers.get_mut(&peer)) {
            known.digest_equal = Some(equal);
            self.notice(Notice::Digest {
                peer: peer.clone(),
                equal,
            });
            if !equal && self.pulling.is_none() {
                self.start_pull(peer, true);
            }
        }
    }
}
