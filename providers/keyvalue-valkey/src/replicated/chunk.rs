//! Messages larger than NATS carries, in parts.
//!
//! A message that fits is sent as it is. Of a larger one, each part is the letter `C`, the version of this
//! form, the message's id (16 bytes, random), the part's number and the number of parts (16 bits each, most significant byte
//! first), and a piece of the message. Parts may be lost, repeated and reordered; a message of which
//! a part is missing is forgotten, as a lost one would be.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use replica::wire;

const MAGIC: u8 = b'C';
const VERSION: u8 = 1;
const HEADER: usize = 22;

/// Messages beyond this are not sent: no receiver would take them.
const MAX_BYTES: usize = wire::MAX_BYTES;
/// Bytes of unfinished messages that are kept.
const MAX_KEPT: usize = 2 * MAX_BYTES;
/// Unfinished messages that are kept.
const MAX_OPEN: usize = 64;
/// How long the parts of a message may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Names a message among all that are under way.
pub(super) type Id = [u8; 16];

/// Why a part is refused.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum ChunkError {
    /// Another version of the form.
    #[error("a part of a message in form version {0}, this is version {VERSION}")]
    Version(u8),
    /// Numbers that make no sense.
    #[error("a malformed part of a message")]
    Malformed,
    /// More than a message may have.
    #[error("parts of a message of more than {MAX_BYTES} bytes")]
    TooLarge,
}

/// The payloads that carry a message, none of them larger than `most`; nothing when it cannot be sent.
pub(super) fn split(id: Id, message: Bytes, most: usize) -> Vec<Bytes> {
    if message.len() <= most {
        return vec![message];
    }
    let piece = most.saturating_sub(HEADER).max(1);
    let pieces = message.len().div_ceil(piece);
    let (Ok(parts), true) = (u16::try_from(pieces), message.len() <= MAX_BYTES) else {
        return Vec::new();
    };
    let part = |(number, piece): (u16, &[u8])| {
        let mut payload = BytesMut::with_capacity(HEADER.saturating_add(piece.len()));
        payload.put_slice(&[MAGIC, VERSION]);
        payload.put_slice(&id);
        payload.put_u16(number);
        payload.put_u16(parts);
        payload.put_slice(piece);
        payload.freeze()
    };
    (0..).zip(message.chunks(piece)).map(part).collect()
}

/// Puts parts together.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    open: BTreeMap<Id, Open>,
    bytes: usize,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    parts: u16,
    pieces: BTreeMap<u16, Bytes>,
    bytes: usize,
}

impl Assembler {
    /// Takes a payload; the message that it is, or that it completes.
    pub(super) fn accept(
        &mut self,
        payload: Bytes,
        now: Instant,
    ) -> Result<Option<Bytes>, ChunkError> {
        let Some((id, number, parts)) = header(&payload)? else {
            return Ok(Some(payload));
        };
        self.forget_late(now);
        let piece = payload.slice(HEADER..);
        let length = piece.len();
        let open = self.open.entry(id).or_insert_with(|| Open {
            since: now,
            parts,
            pieces: BTreeMap::new(),
            bytes: 0,
        });
        if open.parts != parts || open.pieces.contains_key(&number) {
            // A part that came twice, or two messages of one id, of which one is a forgery.
            return Ok(None);
        }
        if open.bytes.saturating_add(length) > MAX_BYTES {
            self.forget(id);
            return Err(ChunkError::TooLarge);
        }
        open.pieces.insert(number, piece);
        open.bytes = open.bytes.saturating_add(length);
        self.bytes = self.bytes.saturating_add(length);
        if open.pieces.len() < usize::from(parts) {
            self.forget_surplus();
            return Ok(None);
        }
        Ok(self.forget(id).map(|whole| {
            let mut message = BytesMut::with_capacity(whole.bytes);
            for piece in whole.pieces.values() {
                message.put_slice(piece);
            }
            message.freeze()
        }))
    }

    fn forget(&mut self, id: Id) -> Option<Open> {
        let gone = self.open.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(gone.bytes);
        Some(gone)
    }

    fn forget_late(&mut self, now: Instant) {
        let late = |open: &Open| now.saturating_duration_since(open.since) > PATIENCE;
        while let Some(id) = self
            .oldest()
            .filter(|(_, open)| late(open))
            .map(|(id, _)| *id)
        {
            self.forget(id);
        }
    }

    fn forget_surplus(&mut self) {
        while self.open.len() > MAX_OPEN || self.bytes > MAX_KEPT {
            let Some(id) = self.oldest().map(|(id, _)| *id) else {
                return;
            };
            self.forget(id);
        }
    }

    fn oldest(&self) -> Option<(&Id, &Open)> {
        self.open.iter().min_by_key(|(_, open)| open.since)
    }
}

/// Id, number and number of parts; `None` of a payload that is no part.
fn header(payload: &[u8]) -> Result<Option<(Id, u16, u16)>, ChunkError> {
    match payload {
        [MAGIC, VERSION, rest @ ..] => {
            let (id, rest) = rest.split_first_chunk().ok_or(ChunkError::Malformed)?;
            let (number, rest) = rest.split_first_chunk().ok_or(ChunkError::Malformed)?;
            let (parts, _) = rest.split_first_chunk().ok_or(ChunkError::Malformed)?;
            let (number, parts) = (u16::from_be_bytes(*number), u16::from_be_bytes(*parts));
            if number >= parts || payload.len() <= HEADER {
                return Err(ChunkError::Malformed);
            }
            Ok(Some((*id, number, parts)))
        }
        [MAGIC, version, ..] => Err(ChunkError::Version(*version)),
        [MAGIC] => Err(ChunkError::Malformed),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Bytes {
        (0..length)
            .map(|n| u8::try_from(n % 251).unwrap())
            .collect()
    }

    #[test]
    fn a_message_that_fits_is_sent_as_it_is() {
        let message = Bytes::from_static(b"R\x01abc");
        assert_eq!(
            split([0; 16], message.clone(), 5),
            std::slice::from_ref(&message)
        );
        let arrived = Assembler::default().accept(message.clone(), Instant::now());
        assert_eq!(arrived, Ok(Some(message)));
    }

    #[test]
    fn parts_come_together_in_any_order_and_any_number() {
        let message = message(1000);
        let parts = split([7; 16], message.clone(), 100);
        assert!(parts.len() > 10 && parts.iter().all(|part| part.len() <= 100));
        let mut assembler = Assembler::default();
        let (first, rest) = parts.split_first().unwrap();
        for part in rest.iter().rev().chain(rest) {
            assert_eq!(assembler.accept(part.clone(), Instant::now()), Ok(None));
        }
        let whole = assembler.accept(first.clone(), Instant::now());
        assert_eq!(whole, Ok(Some(message)));
        assert_eq!((assembler.open.len(), assembler.bytes), (0, 0));
    }

    #[test]
    fn unfinished_messages_are_forgotten_in_time_and_in_number() {
        let start = Instant::now();
        let mut assembler = Assembler::default();
        for id in 0..200 {
            let parts = split([id; 16], message(300), 100);
            assert_eq!(assembler.accept(parts[0].clone(), start), Ok(None));
            assert!(assembler.open.len() <= MAX_OPEN);
        }
        let parts = split([201; 16], message(300), 100);
        let late = start + PATIENCE + Duration::from_secs(1);
        assert_eq!(assembler.accept(parts[0].clone(), late), Ok(None));
        assert_eq!(assembler.open.len(), 1);
    }

    #[test]
    fn what_is_no_part_is_refused_and_kept_nowhere() {
        let mut assembler = Assembler::default();
        let mut zero_parts = split([1; 16], message(300), 100)[0].to_vec();
        zero_parts[18..22].fill(0);
        for (payload, error) in [
            (b"C".to_vec(), ChunkError::Malformed),
            (b"C\x01short".to_vec(), ChunkError::Malformed),
            (b"C\x02whatever".to_vec(), ChunkError::Version(2)),
            (zero_parts, ChunkError::Malformed),
        ] {
            let refused = assembler.accept(payload.into(), Instant::now());
            assert_eq!(refused, Err(error));
        }
        assert!(assembler.open.is_empty());
    }

    #[test]
    fn a_message_that_no_receiver_takes_is_not_sent() {
        let message = Bytes::from(vec![0; MAX_BYTES + 1]);
        assert!(split([0; 16], message, 1 << 20).is_empty());
    }
}
