//! What regions say to each other, and how it is written down.
//!
//! A message is the letter `R`, the version of the protocol, and the rest in [postcard] form. There is
//! one way to write each message: what decodes to a message but is written in another way is refused,
//! so that a digest or a signature of bytes means the message.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::origin::Origin;
use crate::region::{Author, Incarnation, Region};
use crate::store::METADATA;
use crate::vector::VersionVector;

/// The version of the protocol that this code speaks.
pub const VERSION: u8 = 3;

/// Messages beyond this are refused unread.
pub const MAX_BYTES: usize = 64 << 20;

const MAGIC: u8 = b'R';

/// More than any region names ([`Config::origins`](crate::Config::origins)), or knows drains of.
pub(crate) const MAX_ORIGINS: usize = 1_024;

/// Beyond this, with room to count on, the script's numbers are not exact.
const MAX_NUMBER: u64 = 1 << 52;
const BEYOND: &str = "a number that no store counts up to";

/// A message and its sender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The replication group; regions of another group are not listened to.
    pub group: String,
    /// The region that sends.
    pub from: Region,
    /// What it says.
    pub message: Message,
}

/// What a region says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// How far it is. Every second, to all.
    Hello(Hello),
    /// Writes that were just made there. To all.
    Push(Push),
    /// Asks for what changed.
    Pull(Pull),
    /// Answers a pull.
    Page(Page),
    /// Says what was applied, to a writer that waits for it.
    Applied(Applied),
    /// Asks for a digest of everything.
    DigestAsk(DigestAsk),
    /// Answers with one.
    Digest(Digest),
}

/// How far a region is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Who writes there now.
    pub author: Author,
    /// What it covers.
    pub vector: VersionVector,
    /// Its wall clock, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// Whether it serves.
    pub stage: Stage,
    /// Whether it asks for a hello at once.
    pub asks: bool,
    /// The regions that it knows.
    pub members: Vec<Region>,
    /// Its own store, and those that it was filled from; empty: as this author said last.
    pub origins: Vec<Origin>,
    /// The drains that it has heard of while it serves: it will not empty its own store into one of those.
    pub relieves: Vec<u64>,
}

/// Whether a region serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Not yet: it catches up.
    #[default]
    Joining,
    /// It does.
    Serving,
    /// No more: it starts anew once somebody who serves has all that it has. The number is this drain's own.
    Draining(u64),
}

/// Writes of one author, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// Who wrote.
    pub author: Author,
    /// The number of the first write. The receiver has to have everything before.
    pub first: u64,
    /// The number of the last write.
    pub last: u64,
    /// What the author's region covered at the latest before it wrote.
    pub seen: VersionVector,
    /// Whether the writer waits for [`Applied`].
    pub ack: bool,
    /// The keys, and their entries after the writes.
    pub entries: Vec<(String, Entry)>,
}

/// Asks for what changed in a peer's change log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pull {
    /// Comes back with the page.
    pub id: u64,
    /// The incarnation of the peer in which `after` means something.
    pub incarnation: Incarnation,
    /// The position after which to start.
    pub after: u64,
    /// What need not be sent.
    pub vector: VersionVector,
    /// Send all, covered or not.
    pub everything: bool,
}

/// A part of a peer's change log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Of the pull that is answered.
    pub id: u64,
    /// The peer's incarnation: other than that of the pull when the pages start over.
    pub incarnation: Incarnation,
    /// The position up to which the page goes.
    pub upto: u64,
    /// What the peer covered before it read the page.
    pub seen: VersionVector,
    /// What the peer covered at the end of its change log; only on the last page.
    pub end: Option<VersionVector>,
    /// The entries.
    pub entries: Vec<(String, Entry)>,
}

/// What the sender has applied of one author's writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// Whose writes.
    pub author: Author,
    /// Up to which.
    pub seq: u64,
}

/// Asks for a digest of everything visible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DigestAsk {
    /// Comes back with the digest.
    pub id: u64,
}

/// A digest of everything visible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    /// Of the question.
    pub id: u64,
    /// What was covered before and after reading; digests are comparable at equal vectors only.
    pub vector: VersionVector,
    /// The digest; `None` when writes came in between.
    pub sum: Option<u128>,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    /// No message of this protocol.
    #[error("not a replication message")]
    Foreign,
    /// Another version of the protocol.
    #[error("a replication message of protocol version {0}, this is version {VERSION}")]
    Version(u8),
    /// Larger than [`MAX_BYTES`].
    #[error("a replication message of more than {MAX_BYTES} bytes")]
    TooLarge,
    /// The right start and then nonsense.
    #[error("a malformed replication message")]
    Malformed,
    /// A message that no region of this code sends, and that would do harm in a store.
    #[error("a replication message with {0}")]
    Harmful(&'static str),
}

/// The bytes of a message.
pub fn encode(envelope: &Envelope) -> Bytes {
    // Writing to memory fails for no type of ours; what it would leave is refused by every receiver.
    let body = postcard::to_allocvec(envelope).unwrap_or_default();
    let mut bytes = Vec::with_capacity(body.len().saturating_add(2));
    bytes.extend([MAGIC, VERSION]);
    bytes.extend(body);
    bytes.into()
}

/// The message of bytes.
///
/// # Errors
///
/// Every [`WireError`]; no input panics.
pub fn decode(bytes: &[u8]) -> Result<Envelope, WireError> {
    if bytes.len() > MAX_BYTES {
        return Err(WireError::TooLarge);
    }
    let body = match bytes {
        [MAGIC, VERSION, body @ ..] => body,
        [MAGIC, version, ..] => return Err(WireError::Version(*version)),
        _ => return Err(WireError::Foreign),
    };
    let envelope = postcard::from_bytes(body).map_err(|_| WireError::Malformed)?;
    if encode(&envelope) != bytes {
        return Err(WireError::Malformed);
    }
    check(&envelope.message).map_err(WireError::Harmful)?;
    Ok(envelope)
}

/// That a store can hold what a message says, and go on from it.
fn check(message: &Message) -> Result<(), &'static str> {
    let (vectors, numbers, entries) = match message {
        Message::Hello(hello) => ([Some(&hello.vector), None], [0, 0], &[][..]),
        Message::Push(push) => (
            [Some(&push.seen), None],
            [push.first, push.last],
            &push.entries[..],
        ),
        Message::Pull(pull) => ([Some(&pull.vector), None], [pull.after, 0], &[][..]),
        Message::Page(page) => (
            [Some(&page.seen), page.end.as_ref()],
            [page.upto, 0],
            &page.entries[..],
        ),
        Message::Applied(applied) => ([None, None], [applied.seq, 0], &[][..]),
        Message::DigestAsk(_) => ([None, None], [0, 0], &[][..]),
        Message::Digest(digest) => ([Some(&digest.vector), None], [0, 0], &[][..]),
    };
    let covered = vectors.into_iter().flatten().flat_map(VersionVector::iter);
    let (origins, relieves) = match message {
        Message::Hello(hello) => (&hello.origins[..], hello.relieves.len()),
        _ => (&[][..], 0),
    };
    if origins.len() > MAX_ORIGINS || relieves > MAX_ORIGINS {
        return Err("more origins than anybody keeps");
    }
    let taken = origins.iter().flat_map(|origin| &origin.lives);
    if covered
        .map(|(_, seq)| seq)
        .chain(taken.map(|(_, seq)| *seq))
        .chain(numbers)
        .any(|number| number > MAX_NUMBER)
    {
        return Err(BEYOND);
    }
    for (key, entry) in entries {
        check_entry(key, entry)?;
    }
    Ok(())
}

fn check_entry(key: &str, entry: &Entry) -> Result<(), &'static str> {
    if key.starts_with(METADATA) {
        return Err("a key that is the replication's own");
    }
    if entry.dots().any(|(_, seq)| seq > MAX_NUMBER) {
        return Err(BEYOND);
    }
    let Some(register) = &entry.register else {
        return Ok(());
    };
    let at = register.stamp.at;
    if at.wall_ms > MAX_NUMBER || at.counter > u32::MAX / 2 {
        return Err("a stamp that no clock reaches");
    }
    Ok(())
}
