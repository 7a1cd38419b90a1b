//! Answering a peer that asks what changed.

use std::collections::BTreeMap;

use super::{Engine, Task};
use crate::entry::Entry;
use crate::region::Region;
use crate::store::{self, Op, Row};
use crate::vector::VersionVector;
use crate::wire::{Message, Page, Pull};

/// Answers prepared at a time; whoever comes then asks again.
const MAX_SERVING: usize = 8;
/// Pages of the log read for one answer, so that a peer that has almost everything is not sent
/// hundreds of empty pages.
const MAX_READS: u32 = 64;

/// An answer being prepared.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) id: u64,
    to: Region,
    pull: Pull,
    seen: Option<VersionVector>,
    /// By its key, with its place in the answer and its bytes.
    entries: BTreeMap<String, (usize, usize, Entry)>,
    bytes: usize,
    places: usize,
    reads: u32,
}

impl Serving {
    /// A key that changed again meanwhile goes once, as it is by now, at its last change.
    fn add(&mut self, row: Row) {
        let value = row.entry.visible().bytes().map_or(0, |value| value.len());
        let bytes = row.key.len().saturating_add(value);
        self.places = self.places.saturating_add(1);
        let added = (self.places, bytes, row.entry);
        let before = self.entries.insert(row.key, added);
        let less = before.map_or(0, |(_, bytes, _)| bytes);
        self.bytes = self.bytes.saturating_sub(less).saturating_add(bytes);
    }
}

impl Engine {
    pub(super) fn asked(&mut self, from: Region, mut pull: Pull) {
        let Some(author) = &self.author else {
            return;
        };
        if self.serving.len() >= MAX_SERVING || !self.phase.gives_out() {
            return;
        }
        if pull.incarnation != author.incarnation {
            // Its position means nothing here; begin at the beginning.
            pull.after = 0;
        }
        let id = self.id();
        let after = pull.after;
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.reading.asks(after);
        }
        let serving = Serving {
            id,
            to: from,
            pull,
            seen: None,
            entries: BTreeMap::new(),
            bytes: 0,
            places: 0,
            reads: 0,
        };
        self.read_log(serving, after);
    }

    fn read_log(&mut self, serving: Serving, after: u64) {
        let op = Op::Page {
            after,
            rows: self.config.rows,
            bytes: self.config.bytes,
            covered: if serving.pull.everything {
                VersionVector::default()
            } else {
                serving.pull.vector.clone()
            },
        };
        let id = serving.id;
        self.serving.push(serving);
        self.store(Task::Serve(id), op);
    }

    pub(super) fn serve_page(&mut self, id: u64, page: store::Page) {
        let Some(at) = self.serving.iter().position(|serving| serving.id == id) else {
            return;
        };
        let Some(author) = &self.author else {
            return;
        };
        let incarnation = author.incarnation;
        let mut serving = self.serving.swap_remove(at);
        serving.reads = serving.reads.saturating_add(1);
        serving.seen.get_or_insert_with(|| page.vector.clone());
        for row in page.rows {
            serving.add(row);
        }
        let ends = page.ends;
        let full = serving.entries.len() >= self.config.page || serving.bytes >= self.config.bytes;
        if !ends && !full && serving.reads < MAX_READS {
            return self.read_log(serving, page.upto);
        }
        if let Some(peer) = self.peers.get_mut(&serving.to) {
            peer.reading.given(ends);
        }
        let mut entries: Vec<(usize, String, Entry)> = serving
            .entries
            .into_iter()
            .map(|(key, (place, _, entry))| (place, key, entry))
            .collect();
        entries.sort_unstable_by_key(|(place, ..)| *place);
        let entries = entries.into_iter().map(|(_, key, entry)| (key, entry));
        let answer = Page {
            id: serving.pull.id,
            incarnation,
            upto: page.upto,
            seen: serving.seen.unwrap_or_default(),
            end: ends.then_some(page.vector),
            entries: entries.collect(),
        };
        self.send(Some(serving.to), Message::Page(answer));
    }
}
