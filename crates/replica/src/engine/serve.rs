//! Answering a peer that asks what changed.

use super::{Engine, Task};
use crate::entry::Entry;
use crate::region::Region;
use crate::store::{self, Op};
use crate::vector::VersionVector;
use crate::wire::{Message, Page, Pull};

/// Answers prepared at a time; whoever comes then asks again.
const MAX_SERVING: usize = 8;
/// Pages of the index read for one answer, so that a peer that has almost everything is not sent
/// hundreds of empty pages.
const MAX_READS: u32 = 64;

/// An answer being prepared.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) id: u64,
    to: Region,
    pull: Pull,
    seen: Option<VersionVector>,
    entries: Vec<(String, Entry)>,
    bytes: usize,
    reads: u32,
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
        self.serving.push(Serving {
            id,
            to: from,
            pull,
            seen: None,
            entries: Vec::new(),
            bytes: 0,
            reads: 0,
        });
        self.read_index(Task::Serve(id), after);
    }

    /// Reads a page of the own index.
    pub(super) fn read_index(&mut self, task: Task, after: u64) {
        let op = Op::Page {
            after,
            rows: self.config.rows,
            bytes: self.config.bytes,
        };
        self.store(task, op);
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
            if serving.pull.everything || !row.entry.is_covered_by(&serving.pull.vector) {
                let value = row.entry.visible().bytes().map_or(0, |value| value.len());
                serving.bytes = serving
                    .bytes
                    .saturating_add(row.key.len().saturating_add(value));
                serving.entries.push((row.key, row.entry));
            }
        }
        let ends = page.upto >= page.head;
        let full = serving.entries.len() >= self.config.page || serving.bytes >= self.config.bytes;
        if !ends && !full && serving.reads < MAX_READS {
            self.serving.push(serving);
            return self.read_index(Task::Serve(id), page.upto);
        }
        let answer = Page {
            id: serving.pull.id,
            incarnation,
            upto: page.upto,
            seen: serving.seen.unwrap_or_default(),
            end: ends.then_some(page.vector),
            entries: serving.entries,
        };
        self.send(Some(serving.to), Message::Page(answer));
    }
}
