//! Replies as outcomes.

use bytes::Bytes;

use super::op::{
    Cursor, Identity, Loaded, Names, Op, Outcome, Page, Phase, Row, Version, Write, Written,
};
use super::session::Value;
use crate::blob::{self, Authors, BlobError};
use crate::entry::Entry;
use crate::origin::Origin;
use crate::region::{Author, Region};
use crate::vector::VersionVector;

/// Why a reply has no outcome.
enum Problem {
    /// It names an author whose number is not known here.
    Unknown,
    /// It is none of the script's.
    Malformed,
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::UnknownAuthor => Self::Unknown,
            BlobError::Malformed => Self::Malformed,
        }
    }
}

type Parsed<T> = Result<T, Problem>;

/// The outcome of a reply that no version of the script gives.
pub(super) fn unexpected() -> Outcome {
    Outcome::Failed("the store answered in an unknown form".to_owned())
}

/// What a reply means; `None` when it names an author whose number is not known here.
pub(super) fn outcome(op: &Op, value: &Value, authors: &Authors) -> Option<Outcome> {
    match parse(op, value, authors) {
        Ok(outcome) => Some(outcome),
        Err(Problem::Unknown) => None,
        Err(Problem::Malformed) => Some(unexpected()),
    }
}

/// The numbers that the script gave.
pub(super) fn numbers(value: &Value) -> Result<Vec<u64>, Outcome> {
    let list = opened(value)?;
    list.iter()
        .map(number)
        .collect::<Parsed<_>>()
        .map_err(|_| unexpected())
}

/// The authors that a store lists.
pub(super) fn authors(value: &Value) -> Result<Authors, Outcome> {
    let list = opened(value)?;
    list.get(2)
        .ok_or(Problem::Malformed)
        .and_then(parse_authors)
        .map_err(|_| unexpected())
}

fn opened(value: &Value) -> Result<&[Value], Outcome> {
    match open(value) {
        Ok((b"ok", list)) => Ok(list),
        Ok((b"stale", _)) => Err(Outcome::Stale),
        _ => Err(unexpected()),
    }
}

fn open(value: &Value) -> Parsed<(&[u8], &[Value])> {
    let Value::Array(list) = value else {
        return Err(Problem::Malformed);
    };
    let (first, rest) = list.split_first().ok_or(Problem::Malformed)?;
    Ok((bytes(first)?.as_ref(), rest))
}

fn parse(op: &Op, value: &Value, authors: &Authors) -> Parsed<Outcome> {
    let list = match open(value)? {
        (b"ok", list) => list,
        (b"stale", _) => return Ok(Outcome::Stale),
        (b"joining", _) => return Ok(Outcome::Joining),
        (b"notanumber", _) => return Ok(Outcome::NotANumber),
        (b"overflow", _) => return Ok(Outcome::Overflow),
        (b"conflict", [at]) => {
            let at = usize::try_from(number(at)?).map_err(|_| Problem::Malformed)?;
            return Ok(Outcome::Conflict(at));
        }
        _ => return Err(Problem::Malformed),
    };
    Ok(match op {
        Op::Load => Outcome::Loaded(Box::new(loaded(list, authors)?)),
        Op::Lease { .. } => Outcome::Lease(first(list)?.as_ref() == b"1"),
        Op::Write { writes, .. } => Outcome::Written(written(writes, list, authors)?),
        Op::Read { keys } => Outcome::Rows(rows_of(keys, list, authors)?),
        Op::Dead { .. } => Outcome::Rows(rows(list, authors)?),
        Op::Page { .. } => Outcome::Page(page(list, authors)?),
        Op::Names { .. } => Outcome::Names(names(list, authors)?),
        Op::Adopt { .. } | Op::Beat | Op::Collect { .. } | Op::Wipe { .. } => {
            Outcome::Count(number(list.first().ok_or(Problem::Malformed)?)?)
        }
        Op::Commit(_)
        | Op::Mint { .. }
        | Op::Approve { .. }
        | Op::Trim { .. }
        | Op::Members { .. }
        | Op::Origins { .. } => Outcome::Done,
    })
}

fn loaded(list: &[Value], authors: &Authors) -> Parsed<Loaded> {
    let [state, vector, _, members, emptied, plain, forgotten, origins] = list else {
        return Err(Problem::Malformed);
    };
    let mut loaded = Loaded {
        vector: parse_vector(vector, authors)?,
        emptied: bytes(emptied)?.as_ref() == b"1",
        plain: !bytes(plain)?.is_empty(),
        ..Loaded::default()
    };
    if let Value::Array(forgotten) = forgotten {
        // An operator wrote them: what is no region's name names none.
        let regions = forgotten.iter().filter_map(|region| text(region).ok());
        loaded.forgotten = regions.filter_map(|region| region.parse().ok()).collect();
    }
    for (region, kept) in pairs(members)? {
        loaded.members.push((
            region.parse().map_err(|_| Problem::Malformed)?,
            kept.to_owned(),
        ));
    }
    for (store, lives) in pairs(origins)? {
        let origin = Origin::from_kept(store, lives).ok_or(Problem::Malformed)?;
        loaded.origins.push(origin);
    }
    let mut fields = std::collections::BTreeMap::new();
    for (name, field) in pairs(state)? {
        match name.strip_prefix("c:") {
            Some(region) => {
                let region: Region = region.parse().map_err(|_| Problem::Malformed)?;
                let (incarnation, position) = field.split_once(',').ok_or(Problem::Malformed)?;
                let cursor = Cursor {
                    incarnation: incarnation.parse().map_err(|_| Problem::Malformed)?,
                    position: digits(position)?,
                };
                loaded.cursors.push((region, cursor));
            }
            None => {
                fields.insert(name, field);
            }
        }
    }
    if fields.is_empty() {
        return Ok(loaded);
    }
    let field = |name: &str| fields.get(name).copied().ok_or(Problem::Malformed);
    let author: Author = format!("{}/{}", field("r")?, field("i")?)
        .parse()
        .map_err(|_| Problem::Malformed)?;
    loaded.vector.raise(&author, digits(field("q")?)?);
    loaded.identity = Some(Identity {
        group: field("g")?.to_owned(),
        author,
        lineage: field("l")?
            .split(',')
            .map(|name| name.parse().map_err(|_| Problem::Malformed))
            .collect::<Parsed<_>>()?,
        run: field("u")?.to_owned(),
        phase: match field("f")? {
            "adopting" => Phase::Adopting,
            "ready" => Phase::Ready,
            "joining" => Phase::Joining,
            "wiping" => Phase::Wiping,
            _ => return Err(Problem::Malformed),
        },
    });
    Ok(loaded)
}

fn written(writes: &[Write], list: &[Value], authors: &Authors) -> Parsed<Vec<Written>> {
    if writes.len() != list.len() {
        return Err(Problem::Malformed);
    }
    writes
        .iter()
        .zip(list)
        .map(|(write, reply)| {
            let (status, rest) = open(reply)?;
            let [seq, blob, visible] = rest else {
                return Err(Problem::Malformed);
            };
            let sum = match write {
                Write::Increment(..) => Some(number(visible)?),
                _ => None,
            };
            if status != b"ok" {
                return Ok(Written {
                    seq: None,
                    sum,
                    entry: None,
                });
            }
            let visible = match write {
                Write::Set(_, value) => value.clone(),
                _ => bytes(visible)?.clone(),
            };
            Ok(Written {
                seq: Some(number(seq)?),
                sum,
                entry: Some(entry(text(blob)?, visible, authors)?),
            })
        })
        .collect()
}

fn page(list: &[Value], authors: &Authors) -> Parsed<Page> {
    let [head, upto, ends, seq, author, vector, rest @ ..] = list else {
        return Err(Problem::Malformed);
    };
    Ok(Page {
        head: number(head)?,
        upto: number(upto)?,
        ends: bytes(ends)?.as_ref() == b"1",
        vector: covered(vector, author, seq, authors)?,
        rows: rows(rest, authors)?,
    })
}

fn names(list: &[Value], authors: &Authors) -> Parsed<Names> {
    let [head, seq, author, vector, count, next, rest @ ..] = list else {
        return Err(Problem::Malformed);
    };
    let name = |pair: &[Value]| match pair {
        [name, bytes] => Ok((text(name)?.to_owned(), digits(text(bytes)?)?)),
        _ => Err(Problem::Malformed),
    };
    Ok(Names {
        head: number(head)?,
        vector: covered(vector, author, seq, authors)?,
        count: number(count)?,
        next: Some(number(next)?).filter(|next| *next > 0),
        names: rest.chunks(2).map(name).collect::<Parsed<_>>()?,
    })
}

/// What a store covers, its own last number included.
fn covered(
    vector: &Value,
    author: &Value,
    seq: &Value,
    authors: &Authors,
) -> Parsed<VersionVector> {
    let mut vector = parse_vector(vector, authors)?;
    let author = authors.author(number(author)?).ok_or(Problem::Unknown)?;
    vector.raise(author, number(seq)?);
    Ok(vector)
}

fn rows(list: &[Value], authors: &Authors) -> Parsed<Vec<Row>> {
    list.chunks(3)
        .map(|row| match row {
            [key, blob, visible] => self::row(text(key)?, blob, visible, authors),
            _ => Err(Problem::Malformed),
        })
        .collect()
}

fn rows_of(keys: &[String], list: &[Value], authors: &Authors) -> Parsed<Vec<Row>> {
    let (pairs, rest) = list.as_chunks();
    if !rest.is_empty() || pairs.len() != keys.len() {
        return Err(Problem::Malformed);
    }
    keys.iter()
        .zip(pairs)
        .map(|(key, [blob, visible])| row(key, blob, visible, authors))
        .collect()
}

fn row(key: &str, blob: &Value, visible: &Value, authors: &Authors) -> Parsed<Row> {
    let entry = match text(blob)? {
        "" => Entry::default(),
        blob => entry(blob, bytes(visible)?.clone(), authors)?,
    };
    Ok(Row {
        key: key.to_owned(),
        entry,
        version: Version(bytes(blob)?.clone()),
    })
}

fn entry(blob: &str, visible: Bytes, authors: &Authors) -> Parsed<Entry> {
    Ok(blob::decode(blob, Some(visible), authors)?)
}

fn parse_vector(hash: &Value, authors: &Authors) -> Parsed<VersionVector> {
    pairs(hash)?
        .into_iter()
        .map(|(author, seq)| {
            let author = authors.author(digits(author)?).ok_or(Problem::Unknown)?;
            Ok((author.clone(), digits(seq)?))
        })
        .collect()
}

fn parse_authors(hash: &Value) -> Parsed<Authors> {
    let mut authors = Authors::default();
    for (number, name) in pairs(hash)? {
        // The other direction and the counter lie in the same hash.
        if let Ok(number) = number.parse() {
            authors.insert(number, name.parse().map_err(|_| Problem::Malformed)?);
        }
    }
    Ok(authors)
}

fn pairs(hash: &Value) -> Parsed<Vec<(&str, &str)>> {
    let Value::Array(list) = hash else {
        return Err(Problem::Malformed);
    };
    list.chunks(2)
        .map(|pair| match pair {
            [name, field] => Ok((text(name)?, text(field)?)),
            _ => Err(Problem::Malformed),
        })
        .collect()
}

fn first(list: &[Value]) -> Parsed<&Bytes> {
    bytes(list.first().ok_or(Problem::Malformed)?)
}

fn bytes(value: &Value) -> Parsed<&Bytes> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::Array(_) => Err(Problem::Malformed),
    }
}

fn text(value: &Value) -> Parsed<&str> {
    std::str::from_utf8(bytes(value)?).map_err(|_| Problem::Malformed)
}

fn number(value: &Value) -> Parsed<u64> {
    digits(text(value)?)
}

fn digits<N: std::str::FromStr>(text: &str) -> Parsed<N> {
    text.parse().map_err(|_| Problem::Malformed)
}
