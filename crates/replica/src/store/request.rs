//! Steps as script arguments.

use bytes::Bytes;

use super::op::{Commit, Expected, Op, Phase, Write};
use crate::blob::{self, Authors};
use crate::entry::Entry;
use crate::region::Author;
use crate::vector::VersionVector;

/// The script's name for a step.
pub(super) fn name(op: &Op) -> &'static str {
    match op {
        Op::Load => "load",
        Op::Lease { .. } => "lease",
        Op::Write { .. } => "write",
        Op::Commit(_) => "commit",
        Op::Read { .. } => "read",
        Op::Page { .. } => "page",
        Op::Names { .. } => "names",
        Op::Trim { .. } => "trim",
        Op::Mint { .. } => "mint",
        Op::Approve { .. } => "approve",
        Op::Adopt { .. } => "adopt",
        Op::Dead { .. } => "dead",
        Op::Collect { .. } => "collect",
        Op::Wipe { .. } => "wipe",
        Op::Beat => "beat",
        Op::Members { .. } => "members",
        Op::Origins { .. } => "origins",
    }
}

/// The authors in a step that have no number yet, each once.
pub(super) fn unknown_authors(op: &Op, authors: &Authors) -> Vec<Author> {
    let Op::Commit(commit) = op else {
        return Vec::new();
    };
    let entries = commit
        .entries
        .iter()
        .flat_map(|change| authors.unknown(&change.entry));
    let raised = commit
        .raise
        .iter()
        .map(|(author, _)| author)
        .filter(|author| authors.number(author).is_none());
    let mut names: Vec<Author> = entries.chain(raised).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A step's arguments, after those that every step has.
pub(super) fn arguments(op: &Op, authors: &Authors) -> Vec<Bytes> {
    match op {
        Op::Load | Op::Beat => Vec::new(),
        Op::Lease {
            instance,
            milliseconds,
        } => vec![instance.clone().into(), text(milliseconds)],
        Op::Write { now_ms, writes } => {
            let mut arguments = vec![text(now_ms)];
            for write in writes {
                let (kind, key, argument, fingerprint) = match write {
                    Write::Set(key, value) => ("s", key, value.clone(), blob::fingerprint(value)),
                    Write::Delete(key) => ("d", key, Bytes::new(), String::new()),
                    Write::Increment(key, delta) => ("i", key, text(delta), String::new()),
                };
                arguments.extend([
                    Bytes::from_static(kind.as_bytes()),
                    key.clone().into(),
                    argument,
                    fingerprint.into(),
                ]);
            }
            arguments
        }
        Op::Commit(commit) => commit_arguments(commit, authors),
        Op::Read { keys } => keys.iter().map(|key| key.clone().into()).collect(),
        Op::Adopt { now_ms, keys } => {
            let keys = keys.iter().map(|key| key.clone().into());
            std::iter::once(text(now_ms)).chain(keys).collect()
        }
        Op::Page {
            after,
            rows,
            bytes,
            covered,
        } => {
            let mut arguments = vec![text(after), text(rows), text(bytes)];
            arguments.extend(numbered(covered, authors));
            arguments
        }
        Op::Names { cursor, rows } => {
            let cursor = cursor.map_or(Bytes::new(), |cursor| text(&cursor));
            vec![cursor, text(rows)]
        }
        Op::Trim { upto, spare } => vec![text(upto), text(spare)],
        Op::Mint {
            group,
            region,
            incarnation,
            now_ms,
            phase,
        } => {
            let author = Author {
                region: region.clone(),
                incarnation: *incarnation,
            };
            vec![
                group.clone().into(),
                text(region),
                text(incarnation),
                text(&author),
                text(now_ms),
                phase_name(*phase),
            ]
        }
        Op::Approve { phase } => vec![phase_name(*phase)],
        Op::Dead {
            now_ms,
            before_ms,
            skip,
            rows,
        } => vec![text(before_ms), text(skip), text(rows), text(now_ms)],
        Op::Collect { mark, entries } => {
            let mut arguments = vec![text(&mark.wall_ms), text(&mark.counter)];
            for (key, version) in entries {
                arguments.extend([key.clone().into(), version.0.clone()]);
            }
            arguments
        }
        Op::Wipe { rows } => vec![text(rows)],
        Op::Members { members } => members
            .iter()
            .flat_map(|(region, kept)| [text(region), kept.clone().into()])
            .collect(),
        Op::Origins { origins, gone } => {
            let kept = origins
                .iter()
                .filter_map(|origin| Some([text(&origin.store()?), origin.kept().into()]));
            let gone = gone.iter().map(|store| [text(store), Bytes::new()]);
            kept.chain(gone).flatten().collect()
        }
    }
}

fn commit_arguments(commit: &Commit, authors: &Authors) -> Vec<Bytes> {
    let mut arguments = vec![
        text(&commit.mark.wall_ms),
        text(&commit.mark.counter),
        text(&commit.now_ms),
        text(&commit.entries.len()),
    ];
    for change in &commit.entries {
        let value = change.entry.visible().bytes();
        arguments.extend([
            change.key.clone().into(),
            match &change.expected {
                Expected::Read(version) => version.0.clone(),
                Expected::Put(entry) => blob_of(entry, authors),
            },
            blob_of(&change.entry, authors),
            Bytes::from_static(if value.is_some() { b"s" } else { b"d" }),
            value.unwrap_or_default(),
        ]);
    }
    match &commit.cursor {
        Some((region, cursor)) => arguments.extend([
            text(region),
            format!("{},{}", cursor.incarnation, cursor.position).into(),
        ]),
        None => arguments.extend([Bytes::new(), Bytes::new()]),
    }
    arguments.extend(numbered(&commit.raise, authors));
    arguments
}

fn blob_of(entry: &Entry, authors: &Authors) -> Bytes {
    if entry.is_empty() {
        return Bytes::new();
    }
    // Every author was numbered before (`unknown_authors`); were one not, whoever reads the text next is told so.
    let blob = blob::encode(entry, authors).unwrap_or_else(|error| error.to_string());
    blob.into()
}

/// A vector's authors that have a number in the store, each with what is covered.
fn numbered<'a>(
    vector: &'a VersionVector,
    authors: &'a Authors,
) -> impl Iterator<Item = Bytes> + 'a {
    let known = |(author, seq)| Some([text(&authors.number(author)?), text(&seq)]);
    vector.iter().filter_map(known).flatten()
}

fn phase_name(phase: Phase) -> Bytes {
    Bytes::from_static(match phase {
        Phase::Adopting => b"adopting",
        Phase::Joining => b"joining",
        Phase::Ready => b"ready",
        Phase::Wiping => b"wiping",
    })
}

fn text(shown: &impl ToString) -> Bytes {
    shown.to_string().into()
}
