//! Entries as they were put in place here last.
//!
//! A key that another region writes again and again need not be read before each merge: what is put in place names the entry
//! that it replaces, and is refused if the store holds another one by now. From then on that key is read, until others that
//! came later have taken its place.

use std::collections::{BTreeMap, VecDeque};

use super::apply::weight;
use crate::entry::Entry;

/// Keys that are remembered.
const MAX_KEYS: usize = 16_384;
/// What they and their entries may weigh, in bytes.
const MAX_BYTES: usize = 8 << 20;
/// What one of them may.
const MAX_EACH: usize = 64 << 10;
/// What each takes beside its texts, about.
const FIXED: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Nothing of a key that was found changed, or whose entry was too large: it is read.
    entries: BTreeMap<String, Option<Entry>>,
    /// Who came first goes first.
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
            let fits = heft(&key, Some(&entry)) <= MAX_EACH;
            self.insert(key, fits.then_some(entry));
        }
    }

    /// Another one lay there.
    pub(super) fn contested(&mut self, key: String) {
        self.insert(key, None);
    }

    /// It was collected.
    pub(super) fn gone(&mut self, key: &str) {
        if self.get(key).is_some() {
            self.insert(key.to_owned(), Some(Entry::default()));
        }
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
    let texts = key.len().saturating_mul(2).saturating_add(entry);
    texts.saturating_add(FIXED)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
    fn who_came_first_goes_when_there_are_too_many_or_too_much() {
        let mut recent = Recent::default();
        for key in 0..MAX_KEYS + 10 {
            recent.put(key.to_string(), text(1));
        }
        assert_eq!(recent.entries.len(), MAX_KEYS);
        assert!(recent.get("9").is_none() && recent.get("10").is_some());
        let large = MAX_EACH - 2 * FIXED;
        for key in 0..200 {
            recent.put(format!("large {key}"), text(large));
        }
        assert!(recent.bytes <= MAX_BYTES && recent.bytes > MAX_BYTES - MAX_EACH);
        assert_eq!(recent.entries.len(), MAX_BYTES / MAX_EACH);
        assert!(recent.get("large 199").is_some());
    }

    #[test]
    fn an_entry_that_is_too_large_is_not_known() {
        let mut recent = Recent::default();
        recent.put("key".to_owned(), text(1));
        recent.put("key".to_owned(), text(MAX_EACH));
        assert_eq!((recent.get("key"), recent.bytes), (None, heft("key", None)));
    }

    #[test]
    fn what_was_found_changed_is_not_known() {
        let mut recent = Recent::default();
        recent.put("key".to_owned(), text(1));
        recent.put("key".to_owned(), text(2));
        assert_eq!(recent.get("key"), Some(&text(2)));
        recent.contested("key".to_owned());
        recent.put("key".to_owned(), text(3));
        recent.gone("key");
        assert_eq!(recent.get("key"), None);
        assert_eq!((recent.order.len(), recent.bytes), (1, heft("key", None)));
    }

    #[test]
    fn of_what_was_collected_nothing_is_there() {
        let mut recent = Recent::default();
        recent.gone("other");
        recent.put("key".to_owned(), text(1));
        recent.gone("key");
        assert_eq!(recent.get("key"), Some(&Entry::default()));
        assert_eq!(recent.get("other"), None);
    }
}
