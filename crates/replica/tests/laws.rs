//! The laws of the merge, of stamps and of vectors, each over ten thousand random cases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "laws/clock.rs"]
mod clock;
#[path = "laws/convergence.rs"]
mod convergence;
#[path = "laws/vector.rs"]
mod vector;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use replica::blob::{self, Authors};
use replica::clock::{Hlc, Stamp};
use replica::entry::{Entry, Register, Replaced, Shard, ShardId, Visible};
use replica::merge::{conflict, merge, Seen};
use replica::region::{Author, Incarnation};
use replica::vector::VersionVector;

const REGIONS: [&str; 4] = ["fra", "iad", "sin", "syd"];

fn author() -> impl Strategy<Value = Author> {
    (0..REGIONS.len(), 1_u64..3).prop_map(|(region, incarnation)| Author {
        region: REGIONS[region].parse().unwrap(),
        incarnation: Incarnation::try_from(incarnation).unwrap(),
    })
}

fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        Just(Bytes::new()),
        Just(Bytes::from_static(b"007")),
        any::<u64>().prop_map(|number| number.to_string().into()),
        vec(any::<u8>(), 0..12).prop_map(Bytes::from),
    ]
}

/// Texts and numbers, one per number of a write.
fn values(seq: u64) -> Bytes {
    match seq % 5 {
        0 => Bytes::new(),
        1 => Bytes::from_static(b"007"),
        2 => u64::MAX.to_string().into(),
        3 => Bytes::from(vec![0xff, b'|', 0]),
        _ => seq.to_string().into(),
    }
}

/// A write is one write: its stamp decides its number and its value. Whoever shares a stamp shares all.
fn register() -> impl Strategy<Value = Register> {
    (author(), 0_u64..4, 0_u32..3).prop_map(|(author, wall, counter)| {
        let seq = 1 + wall * 3 + u64::from(counter);
        let set = (seq + u64::from(author.incarnation)) % 3 != 0;
        Register {
            stamp: Stamp {
                at: Hlc {
                    wall_ms: wall,
                    counter,
                },
                author,
            },
            seq,
            value: set.then(|| values(seq)),
        }
    })
}

/// A shard's count grows with its number, as it does where it is counted.
fn shard() -> impl Strategy<Value = Shard> {
    (1_u64..20, option::of((0_u128..40, author(), 1_u64..9))).prop_map(|(seq, replaced)| Shard {
        count: u128::from(seq) * 2,
        seq,
        replaced: replaced.map(|(count, author, seq)| Replaced {
            count: count.min(u128::from(seq) * 2),
            author,
            seq,
        }),
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let id = (author(), 1_u64..3).prop_map(|(author, birth)| ShardId { author, birth });
    (option::of(register()), btree_map(id, shard(), 0..5))
        .prop_map(|(register, shards)| Entry { register, shards })
}

fn join(one: &Entry, other: &Entry) -> Entry {
    let nothing = VersionVector::default();
    let seen = |entry| Seen {
        entry,
        vector: &nothing,
    };
    merge(seen(one), seen(other))
}

/// What a register and shards without collection show, worked out in another way.
fn shown(entry: &Entry) -> Option<Vec<u8>> {
    let value = entry.register.as_ref().and_then(|r| r.value.as_ref());
    let mut counted = None;
    for shard in entry.shards.values() {
        let replaced = shard.replaced.as_ref().map(|replaced| replaced.count);
        if replaced.is_none_or(|replaced| replaced < shard.count) {
            let past = shard.count - replaced.unwrap_or(0);
            counted = Some(counted.unwrap_or(0) + past);
        }
    }
    match (value, counted) {
        (value, None) => value.map(|value| value.to_vec()),
        (None, Some(counted)) => Some(u64::try_from(counted).unwrap().to_string().into()),
        (Some(value), Some(counted)) => {
            let text = std::str::from_utf8(value).ok();
            let number = text
                .and_then(|text| text.parse::<u64>().ok())
                .filter(|number| number.to_string().as_bytes() == &value[..]);
            Some(match number {
                None => value.to_vec(),
                Some(number) => {
                    let sum = u128::from(number) + counted;
                    sum.min(u128::from(u64::MAX)).to_string().into()
                }
            })
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn the_merge_is_commutative(one in entry(), other in entry()) {
        prop_assert_eq!(join(&one, &other), join(&other, &one));
    }

    #[test]
    fn the_merge_is_associative(one in entry(), two in entry(), three in entry()) {
        prop_assert_eq!(join(&join(&one, &two), &three), join(&one, &join(&two, &three)));
    }

    #[test]
    fn the_merge_is_idempotent(one in entry(), other in entry()) {
        let both = join(&one, &other);
        prop_assert_eq!(join(&one, &one), one.clone());
        prop_assert_eq!(join(&both, &other), both);
    }

    #[test]
    fn what_is_lost_repeated_or_reordered_makes_no_difference(
        entries in vec(entry(), 1..6), order in vec(any::<prop::sample::Index>(), 0..20)
    ) {
        let all = |entries: &[&Entry]| entries.iter().fold(Entry::default(), |sum, entry| join(&sum, entry));
        let mut shuffled: Vec<&Entry> = order.iter().map(|at| &entries[at.index(entries.len())]).collect();
        shuffled.extend(entries.iter().rev());
        prop_assert_eq!(all(&shuffled), all(&entries.iter().collect::<Vec<_>>()));
    }

    #[test]
    fn an_entry_shows_its_register_plus_what_was_not_replaced(entry in entry()) {
        prop_assert_eq!(entry.visible().bytes().map(|value| value.to_vec()), shown(&entry));
        prop_assert_eq!(entry.is_dead(), entry.visible() == Visible::Absent);
    }

    #[test]
    fn whoever_has_both_vectors_and_nothing_else_brings_nothing_back(entry in entry()) {
        let covered: VersionVector = entry.dots().map(|(author, seq)| (author.clone(), seq)).collect();
        let (nothing, empty) = (VersionVector::default(), Entry::default());
        let collected = Seen { entry: &empty, vector: &covered };
        let stale = Seen { entry: &entry, vector: &nothing };
        prop_assert!(merge(collected, stale).is_empty());
        prop_assert!(merge(stale, collected).is_empty());
    }

    #[test]
    fn what_nobody_covers_is_never_dropped(one in entry(), other in entry()) {
        let nothing = VersionVector::default();
        let both = merge(Seen { entry: &one, vector: &nothing }, Seen { entry: &other, vector: &nothing });
        for (id, shard) in one.shards.iter().chain(&other.shards) {
            prop_assert!(both.shards[id].count >= shard.count);
        }
        let stamp = |entry: &Entry| entry.register.as_ref().map(|register| register.stamp.clone());
        prop_assert_eq!(stamp(&both), stamp(&one).max(stamp(&other)));
    }

    #[test]
    fn a_conflict_is_the_same_from_both_sides(
        one in entry(), other in entry(), has in vector::vector(), had in vector::vector()
    ) {
        let (left, right) = (Seen { entry: &one, vector: &has }, Seen { entry: &other, vector: &had });
        let found = conflict(left, right);
        prop_assert_eq!(&found, &conflict(right, left));
        if let Some(conflict) = found {
            // The winner is what the merge leaves, and the loser the other one.
            prop_assert!(conflict.loser < conflict.winner);
            let stamp = |entry: &Entry| entry.register.as_ref().map(|register| register.stamp.clone());
            prop_assert_eq!(stamp(&merge(left, right)), Some(conflict.winner.clone()));
            let both = [stamp(&one), stamp(&other)];
            prop_assert!(both.contains(&Some(conflict.winner)) && both.contains(&Some(conflict.loser)));
        }
    }

    #[test]
    fn who_covered_the_other_register_lost_nothing(one in entry(), other in entry(), mut has in vector::vector()) {
        let nothing = VersionVector::default();
        if let Some(register) = &other.register {
            has.raise(&register.stamp.author, register.seq);
        }
        let (left, right) = (Seen { entry: &one, vector: &has }, Seen { entry: &other, vector: &nothing });
        prop_assert_eq!(conflict(left, right), None);
    }

    #[test]
    fn an_entry_is_the_same_after_the_store(entry in entry()) {
        let mut authors = Authors::default();
        for (number, author) in (1..).zip(authors.clone().unknown(&entry).cloned().collect::<Vec<_>>()) {
            if authors.number(&author).is_none() {
                authors.insert(number, author);
            }
        }
        let text = blob::encode(&entry, &authors).unwrap();
        let again = blob::decode(&text, entry.visible().bytes(), &authors).unwrap();
        prop_assert_eq!(again, entry);
    }

    #[test]
    fn no_text_in_a_store_panics(text in "[-0-9,.:;@!/|=+]{0,40}", visible in option::of(value())) {
        let _ = blob::decode(&text, visible, &Authors::default());
    }
}

#[test]
fn each_kind_of_concurrent_write_ends_as_documented() {
    let at = |region: &str, wall_ms: u64, seq: u64, value: Option<&str>| Register {
        stamp: Stamp {
            at: Hlc {
                wall_ms,
                counter: 0,
            },
            author: format!("{region}/1").parse().unwrap(),
        },
        seq,
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
    };
    let shard = |region: &str, count: u128, seq: u64, replaced: Option<(u128, &str, u64)>| {
        let id = ShardId {
            author: format!("{region}/1").parse().unwrap(),
            birth: 1,
        };
        let replaced = replaced.map(|(count, by, seq)| Replaced {
            count,
            author: format!("{by}/1").parse().unwrap(),
            seq,
        });
        (
            id,
            Shard {
                count,
                seq,
                replaced,
            },
        )
    };
    let entry = |register: Option<Register>, shards: Vec<(ShardId, Shard)>| Entry {
        register,
        shards: shards.into_iter().collect::<BTreeMap<_, _>>(),
    };
    let show = |one: &Entry, other: &Entry| {
        join(one, other)
            .visible()
            .bytes()
            .map(|value| String::from_utf8_lossy(&value).into_owned())
    };
    let some = |text: &str| Some(text.to_owned());

    // set / set: the later stamp stays, at equal times the author's name decides.
    let one = entry(Some(at("fra", 1, 1, Some("a"))), vec![]);
    let other = entry(Some(at("iad", 1, 1, Some("b"))), vec![]);
    assert_eq!(show(&one, &other), some("b"));

    // set / increment: an increment that the set had not seen is added to it.
    let set = entry(Some(at("fra", 5, 1, Some("10"))), vec![]);
    let counted = entry(None, vec![shard("iad", 3, 1, None)]);
    assert_eq!(show(&set, &counted), some("13"));

    // delete / increment: what the delete had seen is gone, what it had not seen counts.
    let deleted = entry(
        Some(at("fra", 5, 1, None)),
        vec![shard("iad", 3, 1, Some((3, "fra", 1)))],
    );
    let more = entry(None, vec![shard("iad", 5, 2, None)]);
    assert_eq!(show(&deleted, &more), some("2"));
    assert_eq!(show(&deleted, &counted), None);

    // delete / set: the later stamp stays.
    let set = entry(Some(at("iad", 6, 2, Some("x"))), vec![]);
    assert_eq!(show(&deleted, &set), some("x"));

    // increment on a text: the text shows, the count waits under it for a set or delete.
    let text = entry(Some(at("fra", 5, 1, Some("x"))), vec![]);
    assert_eq!(show(&text, &counted), some("x"));

    // u64 overflow by concurrent increments: shows the largest number, and loses nothing of the count.
    let huge = entry(None, vec![shard("fra", u128::from(u64::MAX), 1, None)]);
    assert_eq!(show(&huge, &counted), some(&u64::MAX.to_string()));
    assert_eq!(join(&huge, &counted).shards.len(), 2);
}
