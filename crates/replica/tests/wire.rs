//! What regions say to each other, byte by byte: another version of this code has to understand it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "wire/text.rs"]
mod text;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use replica::clock::{Hlc, Stamp};
use replica::entry::{Entry, Register, Replaced, Shard, ShardId};
use replica::origin::Origin;
use replica::region::{Author, Region};
use replica::vector::VersionVector;
use replica::wire::{
    decode, encode, Applied, Digest, DigestAsk, Envelope, Hello, Message, Page, Pull, Push, Stage,
    WireError, VERSION,
};

fn author(text: &str) -> Author {
    text.parse().unwrap()
}

fn origin(region: &str, lives: &[(u64, u64)]) -> Origin {
    let lives = lives
        .iter()
        .map(|(life, seq)| ((*life).try_into().unwrap(), *seq));
    Origin {
        region: region.parse().unwrap(),
        lives: lives.collect(),
    }
}

fn envelope(message: Message) -> Envelope {
    Envelope {
        group: "g".to_owned(),
        from: "iad".parse().unwrap(),
        message,
    }
}

fn entry() -> Entry {
    let id = ShardId {
        author: author("fra/2"),
        birth: 3,
    };
    let shard = Shard {
        count: 300,
        replaced: Some(Replaced {
            count: 5,
            author: author("iad/1"),
            seq: 7,
        }),
        seq: 4,
    };
    Entry {
        register: Some(Register {
            stamp: Stamp {
                at: Hlc {
                    wall_ms: 1_800_000_000_000,
                    counter: 1,
                },
                author: author("iad/1"),
            },
            seq: 7,
            value: Some(Bytes::from_static(b"5")),
        }),
        shards: [(id, shard)].into(),
    }
}

/// Counted only, beyond what a `u64` holds.
fn counted() -> Entry {
    let id = ShardId {
        author: author("iad/1"),
        birth: 1,
    };
    let shard = Shard {
        count: u128::from(u64::MAX) + 1,
        replaced: None,
        seq: 2,
    };
    Entry {
        register: None,
        shards: [(id, shard)].into(),
    }
}

/// Deleted, and nothing beside.
fn gone() -> Entry {
    let mut gone = Entry {
        shards: Default::default(),
        ..entry()
    };
    gone.register.as_mut().unwrap().value = None;
    gone
}

/// Of a store that knows of nobody.
fn short_hello() -> Hello {
    Hello {
        author: author("iad/1"),
        vector: VersionVector::default(),
        wall_ms: 1_800_000_000_000,
        stage: Stage::Serving,
        asks: true,
        members: vec![],
        origins: vec![],
        relieves: vec![],
    }
}

fn messages() -> Vec<(&'static str, Envelope)> {
    let vector: VersionVector = [(author("fra/2"), 9), (author("iad/1"), 300)]
        .into_iter()
        .collect();
    let seen = [(author("iad/1"), 6)].into_iter().collect();
    let region = |name: &str| name.parse::<Region>().unwrap();
    vec![
        (
            "hello",
            envelope(Message::Hello(Hello {
                author: author("iad/1"),
                vector: vector.clone(),
                wall_ms: 1_800_000_000_000,
                stage: Stage::Serving,
                asks: false,
                members: vec![region("fra"), region("sin")],
                origins: vec![origin("iad", &[(1, 300)]), origin("fra", &[(1, 0), (2, 9)])],
                relieves: vec![5],
            })),
        ),
        (
            "hello of one that joins",
            envelope(Message::Hello(Hello {
                stage: Stage::Joining,
                ..short_hello()
            })),
        ),
        (
            "hello of one that drains",
            envelope(Message::Hello(Hello {
                stage: Stage::Draining(300),
                ..short_hello()
            })),
        ),
        (
            "push",
            envelope(Message::Push(Push {
                author: author("iad/1"),
                first: 7,
                last: 7,
                seen,
                ack: true,
                entries: vec![("key".to_owned(), entry())],
            })),
        ),
        (
            "pull",
            envelope(Message::Pull(Pull {
                id: 1,
                incarnation: 2.try_into().unwrap(),
                after: 128,
                vector: Default::default(),
                everything: false,
            })),
        ),
        (
            "page",
            envelope(Message::Page(Page {
                id: 1,
                incarnation: 2.try_into().unwrap(),
                upto: 129,
                seen: Default::default(),
                end: None,
                entries: vec![],
            })),
        ),
        (
            "last page",
            envelope(Message::Page(Page {
                id: 2,
                incarnation: 2.try_into().unwrap(),
                upto: 130,
                seen: vector.clone(),
                end: Some(vector.clone()),
                entries: vec![
                    ("counted".to_owned(), counted()),
                    ("gone".to_owned(), gone()),
                ],
            })),
        ),
        (
            "applied",
            envelope(Message::Applied(Applied {
                author: author("iad/1"),
                seq: 300,
            })),
        ),
        (
            "digest ask",
            envelope(Message::DigestAsk(DigestAsk { id: 3 })),
        ),
        (
            "digest",
            envelope(Message::Digest(Digest {
                id: 3,
                vector,
                sum: Some(u128::MAX - 1),
            })),
        ),
        (
            "no digest",
            envelope(Message::Digest(Digest {
                id: 3,
                vector: VersionVector::default(),
                sum: None,
            })),
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn every_message_is_written_as_it_always_was() {
    let golden = include_str!("wire.golden");
    let written: String = messages()
        .iter()
        .map(|(name, envelope)| format!("{name} {}\n", hex(&encode(envelope))))
        .collect();
    assert_eq!(
        written, golden,
        "a change here needs a new protocol version"
    );
}

#[test]
fn every_kind_of_message_is_among_the_golden_ones() {
    // Another kind needs an arm here, and then messages above.
    let kind = |message: &Message| match message {
        Message::Hello(_) => 0_usize,
        Message::Push(_) => 1,
        Message::Pull(_) => 2,
        Message::Page(_) => 3,
        Message::Applied(_) => 4,
        Message::DigestAsk(_) => 5,
        Message::Digest(_) => 6,
    };
    let mut kinds: Vec<usize> = messages()
        .iter()
        .map(|(_, envelope)| kind(&envelope.message))
        .collect();
    kinds.dedup();
    assert_eq!(kinds, [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn every_golden_message_reads_as_what_it_was_written_from() {
    let golden = include_str!("wire.golden").lines();
    for (line, (name, envelope)) in golden.zip(messages()) {
        let (of, digits) = line.rsplit_once(' ').unwrap();
        assert_eq!(of, name);
        assert_eq!(decode(&unhex(digits)), Ok(envelope), "{name}");
    }
}

#[test]
fn every_message_reads_as_it_was_written() {
    for (name, envelope) in messages() {
        assert_eq!(decode(&encode(&envelope)).unwrap(), envelope, "{name}");
    }
}

#[test]
fn another_version_is_named_and_another_protocol_is_not_ours() {
    let mut bytes = encode(&messages()[0].1).to_vec();
    for version in [VERSION - 1, VERSION + 1] {
        bytes[1] = version;
        assert_eq!(decode(&bytes), Err(WireError::Version(version)));
    }
    assert_eq!(decode(b"hello"), Err(WireError::Foreign));
    assert_eq!(decode(b""), Err(WireError::Foreign));
}

#[test]
fn there_is_one_way_to_write_a_message() {
    let bytes = encode(&messages()[2].1).to_vec();
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(decode(&longer), Err(WireError::Malformed));
    // The group's length, 1, written in two bytes.
    let mut padded = bytes.clone();
    padded.splice(2..3, [0x81, 0x00]);
    assert_eq!(decode(&padded), Err(WireError::Malformed));
}

/// One message, changed, which reads as it is unless it would do harm.
fn refused(name: &str, change: impl FnOnce(&mut Message)) -> WireError {
    let mut messages = messages().into_iter();
    let (_, mut envelope) = messages.find(|(of, _)| *of == name).unwrap();
    change(&mut envelope.message);
    decode(&encode(&envelope)).unwrap_err()
}

#[test]
fn what_would_harm_a_store_is_refused() {
    const BEYOND: u64 = (1 << 52) + 1;
    let number = WireError::Harmful("a number that no store counts up to");
    let beyond = || VersionVector::from_iter([(author("fra/2"), BEYOND)]);
    let hello = refused("hello", |message| match message {
        Message::Hello(hello) => hello.vector = beyond(),
        _ => unreachable!(),
    });
    let origins = refused("hello", |message| match message {
        Message::Hello(hello) => hello.origins = vec![origin("iad", &[(1, 1)]); 1_025],
        _ => unreachable!(),
    });
    assert_eq!(
        origins,
        WireError::Harmful("more origins than anybody keeps")
    );
    let origin = refused("hello", |message| match message {
        Message::Hello(hello) => hello.origins[0].lives[0].1 = BEYOND,
        _ => unreachable!(),
    });
    let pull = refused("pull", |message| match message {
        Message::Pull(pull) => pull.vector = beyond(),
        _ => unreachable!(),
    });
    let position = refused("pull", |message| match message {
        Message::Pull(pull) => pull.after = BEYOND,
        _ => unreachable!(),
    });
    let seen = refused("page", |message| match message {
        Message::Page(page) => page.seen = beyond(),
        _ => unreachable!(),
    });
    let upto = refused("page", |message| match message {
        Message::Page(page) => page.upto = BEYOND,
        _ => unreachable!(),
    });
    let end = refused("last page", |message| match message {
        Message::Page(page) => page.end = Some(beyond()),
        _ => unreachable!(),
    });
    let digest = refused("digest", |message| match message {
        Message::Digest(digest) => digest.vector = beyond(),
        _ => unreachable!(),
    });
    let applied = refused("applied", |message| match message {
        Message::Applied(applied) => applied.seq = BEYOND,
        _ => unreachable!(),
    });
    assert_eq!(
        [hello, origin, pull, position, seen, upto, end, digest, applied],
        [number; 9],
        "hello, origin, pull, position, seen, upto, end, digest, applied"
    );

    let push = |change: &dyn Fn(&mut Push)| {
        refused("push", |message| match message {
            Message::Push(push) => change(push),
            _ => unreachable!(),
        })
    };
    let register = |change: &dyn Fn(&mut Register)| {
        push(&|push| change(push.entries[0].1.register.as_mut().unwrap()))
    };
    assert_eq!(push(&|push| push.last = BEYOND), number);
    assert_eq!(push(&|push| push.first = BEYOND), number);
    assert_eq!(push(&|push| push.seen = beyond()), number);
    let shard = |push: &mut Push| {
        push.entries[0]
            .1
            .shards
            .values_mut()
            .for_each(|s| s.seq = BEYOND)
    };
    assert_eq!(push(&shard), number);
    assert_eq!(register(&|register| register.seq = BEYOND), number);
    // The largest that is counted up to.
    let (_, mut envelope) = messages().swap_remove(1);
    if let Message::Push(push) = &mut envelope.message {
        push.last = BEYOND - 1;
    }
    assert_eq!(decode(&encode(&envelope)), Ok(envelope));
    let stamp = WireError::Harmful("a stamp that no clock reaches");
    assert_eq!(
        register(&|register| register.stamp.at.wall_ms = BEYOND),
        stamp
    );
    assert_eq!(
        register(&|register| register.stamp.at.counter = u32::MAX),
        stamp
    );
    assert_eq!(
        push(&|push| push.entries[0].0 = "@kv/r/state".to_owned()),
        WireError::Harmful("a key that is the replication's own")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_bytes_panic_and_what_reads_is_canonical(noise in vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![b'R', VERSION];
        bytes.extend(&noise);
        if let Ok(envelope) = decode(&bytes) {
            prop_assert_eq!(&encode(&envelope)[..], &bytes[..]);
        }
        let _ = decode(&noise);
    }

    #[test]
    fn a_message_with_a_byte_changed_reads_as_another_or_not_at_all(
        which in 0..messages().len(), at in any::<prop::sample::Index>(), to in any::<u8>()
    ) {
        let (_, envelope) = messages().swap_remove(which);
        let mut bytes = encode(&envelope).to_vec();
        let at = at.index(bytes.len());
        let changed = bytes[at] != to;
        bytes[at] = to;
        if let Ok(read) = decode(&bytes) {
            prop_assert_eq!(read != envelope, changed);
        }
    }
}
