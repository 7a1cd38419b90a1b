//! What lies in a store, character by character: another version of this code has to understand it, and so has
//! the script, which takes it apart by patterns.
//!
//! Two golden files: `text.golden` for entries of which nothing shows (`-`) or a sum (`+`), `text-of-values.golden`
//! for those of which a register's own value shows (`=`). When a test here fails, it prints what the file should
//! be; a change needs stores of the version before to be read as well.

use bytes::Bytes;
use replica::blob::{self, Authors, BlobError};
use replica::clock::{Hlc, Stamp};
use replica::entry::{Entry, Register, Replaced, Shard, ShardId};

use super::author;

const NAMES: [&str; 3] = ["fra/2", "iad/1", "sin/ff"];

/// Numbers that are not in the order of the names.
fn authors() -> Authors {
    let mut authors = Authors::default();
    for (number, name) in [12, 3, 1].into_iter().zip(NAMES) {
        authors.insert(number, author(name));
    }
    authors
}

fn register(value: Option<&'static [u8]>) -> Option<Register> {
    Some(Register {
        stamp: Stamp {
            at: Hlc {
                wall_ms: 1_800_000_000_000,
                counter: 7,
            },
            author: author("iad/1"),
        },
        seq: 300,
        value: value.map(Bytes::from_static),
    })
}

/// The shard that an author's `birth` started, `replaced` of it by write 300 of `iad/1`.
fn shard(name: &str, birth: u64, count: u128, replaced: Option<u128>) -> (ShardId, Shard) {
    let id = ShardId {
        author: author(name),
        birth,
    };
    let replaced = replaced.map(|count| Replaced {
        count,
        author: author("iad/1"),
        seq: 300,
    });
    let seq = birth + 5;
    (
        id,
        Shard {
            count,
            replaced,
            seq,
        },
    )
}

fn entry<const N: usize>(register: Option<Register>, shards: [(ShardId, Shard); N]) -> Entry {
    let shards = shards.into();
    Entry { register, shards }
}

/// Entries of which nothing shows, or a sum.
fn others() -> Vec<(&'static str, Entry)> {
    let large = u128::from(u64::MAX);
    vec![
        ("deleted", entry(register(None), [])),
        (
            "deleted counter",
            entry(
                register(None),
                [
                    shard("fra/2", 4, 10, Some(10)),
                    shard("sin/ff", 1, 0, Some(0)),
                ],
            ),
        ),
        ("counted only", entry(None, [shard("fra/2", 4, 10, None)])),
        ("counted nothing", entry(None, [shard("fra/2", 4, 0, None)])),
        (
            "counted on after a delete",
            entry(register(None), [shard("fra/2", 4, 10, Some(8))]),
        ),
        (
            "counted on a number",
            entry(
                register(Some(b"10")),
                [
                    shard("fra/2", 4, 10, Some(10)),
                    shard("fra/2", 20, 1, None),
                    shard("sin/ff", 1, 3, None),
                ],
            ),
        ),
        (
            "counted beyond any number",
            entry(
                register(Some(b"18446744073709551615")),
                [shard("fra/2", 4, 2 * large, Some(large))],
            ),
        ),
        (
            "replaced, and counted nowhere here",
            entry(None, [shard("fra/2", 4, 5, Some(5))]),
        ),
    ]
}

/// Entries of which the register's own value shows.
fn values() -> Vec<(&'static str, Entry)> {
    vec![
        ("text", entry(register(Some(b"text")), [])),
        ("empty", entry(register(Some(b"")), [])),
        ("bytes", entry(register(Some(b"\xff|=;\0")), [])),
        ("number", entry(register(Some(b"10")), [])),
        (
            "number over a counter",
            entry(
                register(Some(b"10")),
                [
                    shard("fra/2", 4, 10, Some(10)),
                    shard("sin/ff", 1, 7, Some(7)),
                ],
            ),
        ),
        (
            "text over a counter",
            entry(
                register(Some(b"text")),
                [shard("fra/2", 4, 10, Some(8)), shard("sin/ff", 1, 7, None)],
            ),
        ),
    ]
}

fn is_as_golden(file: &str, golden: &str, entries: Vec<(&str, Entry)>) {
    let text = |entry| blob::encode(entry, &authors()).unwrap();
    let written: String = entries
        .iter()
        .map(|(name, entry)| format!("{name}: {}\n", text(entry)))
        .collect();
    assert!(written == golden, "{file} should be\n{written}");
    for (line, (name, entry)) in golden.lines().zip(entries) {
        let (_, text) = line.split_once(": ").unwrap();
        let visible = entry.visible().bytes();
        assert_eq!(blob::decode(text, visible, &authors()), Ok(entry), "{name}");
    }
}

#[test]
fn every_entry_of_a_sum_or_of_nothing_is_written_as_it_always_was() {
    is_as_golden("text.golden", include_str!("text.golden"), others());
}

#[test]
fn every_entry_of_a_value_is_written_as_it_always_was() {
    let golden = include_str!("text-of-values.golden");
    is_as_golden("text-of-values.golden", golden, values());
}

#[test]
fn an_author_without_a_number_is_no_entry() {
    for (_, entry) in others().into_iter().chain(values()) {
        let text = blob::encode(&entry, &authors()).unwrap();
        let nobody = Authors::default();
        let unknown = Err(BlobError::UnknownAuthor);
        assert_eq!(blob::encode(&entry, &nobody), unknown);
        let visible = entry.visible().bytes();
        assert_eq!(
            blob::decode(&text, visible, &nobody),
            Err(BlobError::UnknownAuthor)
        );
    }
}

#[test]
fn a_value_that_is_not_there_is_no_entry() {
    for (name, entry) in values() {
        let text = blob::encode(&entry, &authors()).unwrap();
        assert_eq!(
            blob::decode(&text, None, &authors()),
            Err(BlobError::Malformed),
            "{name}"
        );
    }
}
