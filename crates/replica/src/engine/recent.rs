//! Entries as they were put in place here last.
//!
//! A key that others write again and again need not be read before each merge: what is put in place names the entry that it
//! replaces, and is refused if the store holds another one by now. Then, and for good, that key is read.

use std::collections::{BTreeMap, VecDeque};

use super::apply::weight;
use crate::entry::Entry;

/// Keys that are remembered.
const MAX_KEYS: usize = 16_384;
/// What they and their entries may weigh, in bytes.
const MAX_BYTES: usize = 8 << 20;

#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Nothing of a key that others write as well.
    entries: BTreeMap<String, Option<Entry>>,
    /// The oldest first.
    order: VecDeque<String>,
    bytes: usize,
}

impl Recent {
    /// What lies there as far as is known.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)?.as_ref()
    }

    /// It was put in place.
    pub(super) fn put(&mut self, key: String, entry: Entry) {
        if self.entries.get(&key).is_none_or(Option::is_some) {
            self.insert(key, Some(entry));
        }
    }

    /// Another one lay there.
    pub(super) fn contested(&mut self, key: String) {
        self.insert(key, None);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn insert(&mut self, key: String, entry: Option<Entry>) {
        let more = heft(&key, entry.as_ref());
        match self.entries.insert(key.clone(), entry) {
            Some(before) => {
                self.bytes = self.bytes.saturating_sub(heft(&key, before.as_ref()));
            }
            None => self.order.push_back(key),
        }
        self.bytes = self.bytes.saturating_add(more);
        while self.order.len() > MAX_KEYS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            if let Some(gone) = self.entries.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(heft(&oldest, gone.as_ref()));
            }
        }
    }
}

/// A key lies there twice.
fn heft(key: &str, entry: Option<&Entry>) -> usize {
    let entry = entry.map_or(0, |entry| weight(key, entry));
    key.len().saturating_mul(2).saturating_add(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Hlc, Stamp};
    use crate::entry::Register;

    fn text(bytes: usize) -> Entry {
        let stamp = Stamp {
            at: Hlc::default(),
            author: "iad/1".parse().unwrap(),
        };
        Entry {
            register: Some(Register {
                stamp,
                seq: 1,
                value: Some(vec![b'v'; bytes].into()),
            }),
            ..Entry::default()
        }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_much() {
        let mut recent = Recent::default();
        for key in 0..MAX_KEYS + 10 {
            recent.put(key.to_string(), text(1));
        }
        assert_eq!(recent.entries.len(), MAX_KEYS);
        assert!(recent.get("9").is_none() && recent.get("10").is_some());
        recent.put("large".to_owned(), text(MAX_BYTES - 1_000));
        assert!(recent.entries.len() < 100 && recent.get("large").is_some());
        recent.put("larger".to_owned(), text(MAX_BYTES + 1));
        assert_eq!(
            (recent.entries.len(), recent.order.len(), recent.bytes),
            (0, 0, 0)
        );
    }

    #[test]
    fn what_others_write_as_well_is_not_known() {
        let mut recent = Recent::default();
        recent.put("key".to_owned(), text(1));
        recent.put("key".to_owned(), text(2));
        assert_eq!(recent.get("key"), Some(&text(2)));
        recent.contested("key".to_owned());
        recent.put("key".to_owned(), text(3));
        assert_eq!(recent.get("key"), None);
        assert_eq!((recent.order.len(), recent.bytes), (1, heft("key", None)));
    }
}
