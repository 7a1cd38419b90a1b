//! An entry's metadata as it lies in the store: short text that a Valkey script can take apart.
//!
//! ```text
//! WALL,COUNTER,AUTHOR,SEQ | KIND MORE | AUTHOR.BIRTH:COUNT/REPLACED!AUTHOR.SEQ@SEQ;…
//! └──── register ───────┘   └ value ┘   └───────────────── shards ─────────────────┘
//! ```
//!
//! Authors are numbers of this store ([`Authors`]). A register that was never written is `0,0,0,0`. The kinds:
//! `-` nothing is visible; `=` the visible value is the register's, and the rest is the value's fingerprint (eight hexadecimal
//! digits of its SHA-1), by which a change behind the provider's back shows; `+` the visible value is a sum, and the rest
//! is the register's number, or empty without one. `/REPLACED!AUTHOR.SEQ` is left out where nothing
//! was.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::clock::{Hlc, Stamp};
use crate::entry::{Entry, Register, Replaced, Shard, ShardId, Visible};
use crate::region::Author;

/// The numbers that one store has given to authors.
#[derive(Clone, Debug, Default)]
pub struct Authors {
    by_number: BTreeMap<u64, Author>,
    by_name: BTreeMap<Author, u64>,
}

impl Authors {
    /// Notes a number.
    pub fn insert(&mut self, number: u64, author: Author) {
        self.by_name.insert(author.clone(), number);
        self.by_number.insert(number, author);
    }

    /// The number of an author, if it has one.
    pub fn number(&self, author: &Author) -> Option<u64> {
        self.by_name.get(author).copied()
    }

    /// The author of a number.
    pub fn author(&self, number: u64) -> Option<&Author> {
        self.by_number.get(&number)
    }

    /// The authors of an entry that have no number yet.
    pub fn unknown<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a Author> {
        entry
            .dots()
            .map(|(author, _)| author)
            .filter(|author| !self.by_name.contains_key(author))
    }
}

/// What in a store is no entry.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BlobError {
    /// The text has another form.
    #[error("the store holds an entry in an unknown form")]
    Malformed,
    /// An author without a number, or a number without an author.
    #[error("the store holds an entry of an author that it does not list")]
    UnknownAuthor,
}

/// The entry as text.
///
/// # Errors
///
/// [`BlobError::UnknownAuthor`] when `authors` lacks one ([`Authors::unknown`]).
pub fn encode(entry: &Entry, authors: &Authors) -> Result<String, BlobError> {
    let number = |author| authors.number(author).ok_or(BlobError::UnknownAuthor);
    let mut text = match &entry.register {
        None => "0,0,0,0".to_owned(),
        Some(Register { stamp, seq, .. }) => format!(
            "{},{},{},{seq}",
            stamp.at.wall_ms,
            stamp.at.counter,
            number(&stamp.author)?
        ),
    };
    let value = entry.register.as_ref().and_then(|r| r.value.as_ref());
    match entry.visible() {
        Visible::Absent => text.push_str("|-|"),
        Visible::Register(value) => {
            text.push_str("|=");
            text.push_str(&fingerprint(&value));
            text.push('|');
        }
        Visible::Sum(_) => {
            text.push_str("|+");
            text.push_str(&String::from_utf8_lossy(value.map_or(b"", |v| v)));
            text.push('|');
        }
    }
    for (at, (id, shard)) in entry.shards.iter().enumerate() {
        if at > 0 {
            text.push(';');
        }
        text.push_str(&format!(
            "{}.{}:{}",
            number(&id.author)?,
            id.birth,
            shard.count
        ));
        if let Some(Replaced { count, author, seq }) = &shard.replaced {
            text.push_str(&format!("/{count}!{}.{seq}", number(author)?));
        }
        text.push_str(&format!("@{}", shard.seq));
    }
    Ok(text)
}

/// Tells a register's value from another that was put in its place.
pub(crate) fn fingerprint(value: &[u8]) -> String {
    let mut digits = sha1_smol::Sha1::from(value).digest().to_string();
    digits.truncate(8);
    digits
}

/// The entry of a text and of the visible value beside it.
///
/// # Errors
///
/// Both of [`BlobError`]: the store was written by something else, or by a newer version.
pub fn decode(text: &str, visible: Option<Bytes>, authors: &Authors) -> Result<Entry, BlobError> {
    let mut parts = text.split('|');
    let mut part = || parts.next().ok_or(BlobError::Malformed);
    let (register, value, shards) = (part()?, part()?, part()?);
    if parts.next().is_some() {
        return Err(BlobError::Malformed);
    }
    let value = match value.split_at_checked(1) {
        Some(("-", "")) => None,
        Some(("=", _)) => Some(visible.ok_or(BlobError::Malformed)?),
        Some(("+", "")) => None,
        Some(("+", base)) => Some(Bytes::copy_from_slice(base.as_bytes())),
        _ => return Err(BlobError::Malformed),
    };
    Ok(Entry {
        register: decode_register(register, value, authors)?,
        shards: decode_shards(shards, authors)?,
    })
}

fn decode_register(
    text: &str,
    value: Option<Bytes>,
    authors: &Authors,
) -> Result<Option<Register>, BlobError> {
    if text == "0,0,0,0" {
        return Ok(None);
    }
    let numbers: Vec<u64> = text
        .split(',')
        .map(digits)
        .collect::<Result<_, BlobError>>()?;
    let [wall_ms, counter, author, seq] = numbers[..] else {
        return Err(BlobError::Malformed);
    };
    let author = authors.author(author).ok_or(BlobError::UnknownAuthor)?;
    Ok(Some(Register {
        stamp: Stamp {
            at: Hlc {
                wall_ms,
                counter: u32::try_from(counter).map_err(|_| BlobError::Malformed)?,
            },
            author: author.clone(),
        },
        seq,
        value,
    }))
}

fn decode_shards(text: &str, authors: &Authors) -> Result<BTreeMap<ShardId, Shard>, BlobError> {
    let mut shards = BTreeMap::new();
    for part in list(text) {
        let (id, rest) = part.split_once(':').ok_or(BlobError::Malformed)?;
        let (count, seq) = rest.split_once('@').ok_or(BlobError::Malformed)?;
        let (count, replaced) = match count.split_once('/') {
            Some((count, replaced)) => (count, Some(decode_replaced(replaced, authors)?)),
            None => (count, None),
        };
        let shard = Shard {
            count: digits(count)?,
            replaced,
            seq: digits(seq)?,
        };
        shards.insert(decode_id(id, authors)?, shard);
    }
    Ok(shards)
}

fn decode_replaced(text: &str, authors: &Authors) -> Result<Replaced, BlobError> {
    let (count, dot) = text.split_once('!').ok_or(BlobError::Malformed)?;
    let id = decode_id(dot, authors)?;
    Ok(Replaced {
        count: digits(count)?,
        author: id.author,
        seq: id.birth,
    })
}

fn decode_id(text: &str, authors: &Authors) -> Result<ShardId, BlobError> {
    let (author, birth) = text.split_once('.').ok_or(BlobError::Malformed)?;
    let author = authors.author(digits(author)?);
    Ok(ShardId {
        author: author.ok_or(BlobError::UnknownAuthor)?.clone(),
        birth: digits(birth)?,
    })
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').filter(|part| !part.is_empty())
}

fn digits<N: std::str::FromStr>(text: &str) -> Result<N, BlobError> {
    text.parse().map_err(|_| BlobError::Malformed)
}
