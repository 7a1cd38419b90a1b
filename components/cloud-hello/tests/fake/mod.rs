//! A host that is not there: everything in memory, every call written down.

#![allow(dead_code)] // Each test file uses its own part.

use std::collections::BTreeMap;
use std::time::Duration;

use cloud_hello::host::{
    Clock, Listing, Log, Metadata, MetadataError, Replication, Serving, Store, StoreError, Values,
};
use cloud_hello::region::RegionCode;

/// What a browser on Linux says; its counter in `iad` is [`OWN_KEY`].
pub const FIREFOX: &[u8] =
    b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
pub const OWN_KEY: &str = "visits:v1:iad:firefox:linux";

/// A store in memory that counts its calls and can be told to fail.
#[derive(Debug, Default)]
pub struct FakeStore {
    pub values: BTreeMap<String, Vec<u8>>,
    /// The names of the calls made, in order.
    pub calls: Vec<&'static str>,
    /// The largest number of keys asked for at once.
    pub most_asked: usize,
    /// The call that fails.
    pub broken: Option<&'static str>,
    /// Lists every key twice, as `SCAN` may.
    pub repeats: bool,
    /// Claims that there are keys beyond the listing.
    pub more: bool,
    /// Keeps these keys out of the listing, as if they had just been written.
    pub unlisted: Vec<String>,
    /// Answers with only this many of the values asked for.
    pub answers_at_most: Option<usize>,
}

impl FakeStore {
    fn call(&mut self, name: &'static str) -> Result<(), StoreError> {
        self.calls.push(name);
        if self.broken == Some(name) {
            return Err(StoreError::Other);
        }
        Ok(())
    }

    pub fn put(&mut self, key: &str, value: impl AsRef<[u8]>) {
        self.values.insert(key.to_owned(), value.as_ref().to_vec());
    }

    pub fn number(&self, key: &str) -> Option<u64> {
        std::str::from_utf8(self.values.get(key)?)
            .ok()?
            .parse()
            .ok()
    }
}

impl Store for FakeStore {
    fn increment(&mut self, key: &str) -> Result<u64, StoreError> {
        self.call("increment")?;
        let before = match self.values.get(key) {
            Some(_) => self.number(key).ok_or(StoreError::Other)?,
            None => 0,
        };
        let after = before.checked_add(1).ok_or(StoreError::Other)?;
        self.put(key, after.to_string());
        Ok(after)
    }

    fn list_keys(&mut self) -> Result<Listing, StoreError> {
        self.call("list-keys")?;
        let mut keys: Vec<String> = self.values.keys().cloned().collect();
        keys.retain(|key| !self.unlisted.contains(key));
        if self.repeats {
            keys.extend(keys.clone());
        }
        Ok(Listing {
            keys,
            more: self.more,
        })
    }

    fn get_many(&mut self, keys: &[String]) -> Result<Values, StoreError> {
        self.call("get-many")?;
        self.most_asked = self.most_asked.max(keys.len());
        let values = keys
            .iter()
            .map(|key| Some((key.clone(), self.values.get(key)?.clone())));
        Ok(values
            .take(self.answers_at_most.unwrap_or(usize::MAX))
            .collect())
    }
}

/// A whole host around a [`FakeStore`].
#[derive(Debug)]
pub struct FakeHost {
    pub store: FakeStore,
    pub metadata: Result<Serving, MetadataError>,
    /// What the store says of its replication.
    pub status: Result<Option<Vec<u8>>, StoreError>,
    pub log: Vec<&'static str>,
    /// The time, which passes a millisecond with every look at the clock.
    pub now: Duration,
}

impl FakeHost {
    pub fn in_region(code: &str) -> Self {
        Self {
            store: FakeStore::default(),
            metadata: Ok(Serving {
                region: RegionCode::normalise(code),
                name: format!("Region {code}"),
                city: None,
                instance: "instance-1".to_owned(),
                platform: "kind".to_owned(),
            }),
            status: Err(StoreError::NoSuchStore),
            log: Vec::new(),
            now: Duration::from_secs(1_000),
        }
    }
}

impl Metadata for FakeHost {
    fn metadata(&mut self) -> Result<Serving, MetadataError> {
        self.store.calls.push("metadata");
        self.metadata.clone()
    }
}

impl Store for FakeHost {
    fn increment(&mut self, key: &str) -> Result<u64, StoreError> {
        self.store.increment(key)
    }

    fn list_keys(&mut self) -> Result<Listing, StoreError> {
        self.store.list_keys()
    }

    fn get_many(&mut self, keys: &[String]) -> Result<Values, StoreError> {
        self.store.get_many(keys)
    }
}

impl Replication for FakeHost {
    fn status(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.calls.push("status");
        self.status.clone()
    }
}

impl Clock for FakeHost {
    fn now(&mut self) -> Duration {
        self.now += Duration::from_millis(1);
        self.now
    }
}

impl Log for FakeHost {
    fn warn(&mut self, message: &'static str) {
        self.log.push(message);
    }

    fn error(&mut self, message: &'static str) {
        self.log.push(message);
    }
}
