//! The reference backend: what Valkey has to do, in the fewest words.
//!
//! It keeps everything in this process and loses it with it. Tests use it to say what the contract
//! is; the provider does not offer it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::backend::{Backend, Page};
use crate::bucket::{Bucket, Key};
use crate::counter;
use crate::error::{Error, Result};
use crate::limit::Limits;

/// A map with a lock.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    /// Insertion number of the newest key. A listing's cursor is an insertion number, so keys that
    /// come or go never move the others.
    last: u64,
}

#[derive(Debug)]
struct Entry {
    inserted: u64,
    value: Bytes,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; if it ever did, the map is still a map.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn get(&self, key: &Key) -> Option<Bytes> {
        self.entries
            .get(key.as_str())
            .map(|entry| entry.value.clone())
    }

    fn set(&mut self, key: &Key, value: Bytes) {
        if let Some(entry) = self.entries.get_mut(key.as_str()) {
            entry.value = value;
            return;
        }
        self.last = self.last.saturating_add(1);
        self.entries.insert(
            key.as_str().to_owned(),
            Entry {
                inserted: self.last,
                value,
            },
        );
    }
}

impl Backend for Memory {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        Ok(self.state().get(key))
    }

    async fn set(&self, key: &Key, value: &Bytes) -> Result<()> {
        self.state().set(key, value.clone());
        Ok(())
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.state().entries.remove(key.as_str());
        Ok(())
    }

    async fn exists(&self, key: &Key) -> Result<bool> {
        Ok(self.state().entries.contains_key(key.as_str()))
    }

    async fn increment(&self, key: &Key, delta: u64) -> Result<u64> {
        let mut state = self.state();
        let old = state
            .get(key)
            .map_or(Ok(0), |value| counter::parse(&value))?;
        let sum = old.checked_add(delta).ok_or(Error::Overflow)?;
        state.set(key, Bytes::from(sum.to_string()));
        Ok(sum)
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let state = self.state();
        Ok(keys.iter().map(|key| state.get(key)).collect())
    }

    async fn set_many(&self, entries: &[(Key, Bytes)]) -> Result<()> {
        let mut state = self.state();
        for (key, value) in entries {
            state.set(key, value.clone());
        }
        Ok(())
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<()> {
        let mut state = self.state();
        for key in keys {
            state.entries.remove(key.as_str());
        }
        Ok(())
    }

    async fn list(&self, bucket: &Bucket, cursor: u64, limits: &Limits) -> Result<Page> {
        let state = self.state();
        let mut rest: Vec<(u64, String)> = state
            .entries
            .iter()
            .filter(|(_, entry)| entry.inserted > cursor)
            .filter_map(|(place, entry)| {
                Some((entry.inserted, bucket.name_of(place, limits.key_bytes)?))
            })
            .collect();
        rest.sort_unstable();
        let mut page = Page::default();
        let mut bytes = 0_usize;
        for (inserted, name) in rest {
            if page.keys.len() >= limits.page.keys || bytes >= limits.page.bytes {
                return Ok(page);
            }
            bytes = bytes.saturating_add(name.len());
            page.keys.push(name);
            page.cursor = Some(inserted);
        }
        page.cursor = None;
        Ok(page)
    }
}
