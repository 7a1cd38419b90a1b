//! Proof that two regions hold the same.
//!
//! Regions that cover the same writes have to show the same values. Each reads all its entries and adds up
//! a hash of each; sums at equal vectors are compared. A difference means damage (a store that was
//! written behind the provider's back, or a mistake in here), and both sides send each other everything.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};

use sha2::{Digest as _, Sha256};

use super::boot::Phase;
use super::{Engine, Notice, Task};
use crate::entry::Entry;
use crate::region::{Author, Region};
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
    asking: Vec<(Region, u64)>,
    /// Whom this region asked, and what it said.
    asked: Option<(Region, u64)>,
    theirs: Option<Digest>,
    ours: Option<Digest>,
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
    /// Whether something changed, or is in the middle of it.
    moved: bool,
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
        self.comparing.asked = Some((peer.clone(), id));
        self.send(Some(peer), Message::DigestAsk(DigestAsk { id }));
        self.scan();
    }

    pub(super) fn digest_asked(&mut self, from: Region, id: u64) {
        if self.phase == Phase::Ready && self.comparing.asking.len() < MAX_ASKING {
            self.comparing.asking.push((from, id));
            self.scan();
        }
    }

    pub(super) fn digest_answered(&mut self, from: Region, digest: Digest) {
        if self.comparing.asked == Some((from, digest.id)) {
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
        let mut strange = Vec::new();
        for row in rows {
            scan.sum = scan.sum.wrapping_add(hash(&row.key, &row.entry));
            let vector = scan.start.as_ref().map(|(_, vector, _)| vector);
            let covers =
                |dot: &(&Author, u64)| vector.is_some_and(|seen| seen.covers(dot.0, dot.1));
            strange.extend(row.entry.dots().filter(|dot| !covers(dot)));
        }
        let moved = strange.into_iter().any(|dot| self.is_on_its_way(dot));
        let Some(scan) = &mut self.comparing.scan else {
            return;
        };
        scan.moved |= moved;
        match &scan.start {
            Some((_, vector, _)) if scan.moved => {
                let vector = vector.clone();
                self.scanned(vector);
            }
            _ => self.scan_on(),
        }
    }

    /// Whether a write that is in an entry, and not in the vector, will be in it, as in the middle of a pull. Not so where
    /// its author's store is gone, with earlier writes that nobody else has.
    fn is_on_its_way(&self, (author, seq): (&Author, u64)) -> bool {
        let has = |region: &Region| {
            let peer = self.peers.get(region);
            peer.is_some_and(|peer| {
                peer.author.as_ref() == Some(author) || peer.vector.covers(author, seq)
            })
        };
        let own = self.author.as_ref() == Some(author);
        let takes_in = self.applying.is_some() || self.pulling.is_some();
        own || takes_in || self.members().any(has)
    }

    fn scanned(&mut self, vector: VersionVector) {
        let Some(scan) = self.comparing.scan.take() else {
            return;
        };
        let ours = Digest {
            id: 0,
            vector,
            sum: (!scan.moved).then_some(scan.sum),
        };
        for (region, id) in std::mem::take(&mut self.comparing.asking) {
            let digest = Digest { id, ..ours.clone() };
            self.send(Some(region), Message::Digest(digest));
        }
        self.comparing.ours = Some(ours);
        self.compare();
    }

    fn compare(&mut self) {
        let (Some((peer, _)), Some(theirs), Some(ours)) = (
            &self.comparing.asked,
            &self.comparing.theirs,
            &self.comparing.ours,
        ) else {
            return;
        };
        let peer = peer.clone();
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
