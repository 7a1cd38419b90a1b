//! A link's view of a backend: named buckets and bounded input.

use bytes::Bytes;

use crate::backend::{Backend, Page};
use crate::bucket::{Bucket, Buckets, Key, STATUS, STATUS_KEY};
use crate::error::{Error, Result};
use crate::limit::Limits;

/// A backend, the buckets a link may use and the bounds it has to keep.
///
/// Methods take what a component sent; nothing unchecked reaches the backend.
#[derive(Clone, Debug)]
pub struct Store<B> {
    backend: B,
    buckets: Buckets,
    limits: Limits,
}

impl<B: Backend> Store<B> {
    /// A store over a backend.
    pub fn new(backend: B, buckets: Buckets, limits: Limits) -> Self {
        Self {
            backend,
            buckets,
            limits,
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// As every method: an unknown bucket, a refused key, and what the backend meets. A value larger
    /// than `batch_bytes` (somebody else's) is [`Error::BatchTooLarge`].
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Option<Bytes>> {
        if self.is_status(bucket) {
            return self.status(key).await;
        }
        let value = self.backend.get(&self.key(bucket, key)?).await?;
        self.limits
            .check_batch_bytes(value.iter().map(Bytes::len))?;
        Ok(value)
    }

    /// Stores a value.
    pub async fn set(&self, bucket: &str, key: &str, value: &Bytes) -> Result<()> {
        let key = self.key(bucket, key)?;
        self.limits.check_value(value)?;
        self.backend.set(&key, value).await
    }

    /// Removes a key.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<()> {
        self.backend.delete(&self.key(bucket, key)?).await
    }

    /// Whether a key has a value.
    pub async fn exists(&self, bucket: &str, key: &str) -> Result<bool> {
        if self.is_status(bucket) {
            return Ok(key == STATUS_KEY);
        }
        self.backend.exists(&self.key(bucket, key)?).await
    }

    /// Adds to a counter and returns the sum.
    pub async fn increment(&self, bucket: &str, key: &str, delta: u64) -> Result<u64> {
        self.backend.increment(&self.key(bucket, key)?, delta).await
    }

    /// A page of keys. `None` and `Some(0)` both start a listing.
    pub async fn list_keys(&self, bucket: &str, cursor: Option<u64>) -> Result<Page> {
        if self.is_status(bucket) {
            let keys = vec![STATUS_KEY.to_owned()];
            return Ok(Page { keys, cursor: None });
        }
        let bucket = self.bucket(bucket)?;
        self.backend
            .list(bucket, cursor.unwrap_or(0), &self.limits)
            .await
    }

    /// Values in the order of the keys, each with its key.
    pub async fn get_many(
        &self,
        bucket: &str,
        names: Vec<String>,
    ) -> Result<Vec<Option<(String, Bytes)>>> {
        if self.is_status(bucket) {
            self.limits.check_batch_keys(names.len())?;
            let mut values = Vec::new();
            for name in names {
                values.push(self.status(&name).await?.map(|value| (name, value)));
            }
            return Ok(values);
        }
        let keys = self.keys(bucket, &names)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let values = self.backend.get_many(&keys).await?;
        if values.len() != names.len() {
            return Err(Error::UnexpectedReply);
        }
        self.limits
            .check_batch_bytes(values.iter().flatten().map(Bytes::len))?;
        Ok(names
            .into_iter()
            .zip(values)
            .map(|(name, value)| Some((name, value?)))
            .collect())
    }

    /// Stores all values at once.
    pub async fn set_many(&self, bucket: &str, entries: Vec<(String, Bytes)>) -> Result<()> {
        let bucket = self.bucket(bucket)?;
        self.limits.check_batch_keys(entries.len())?;
        self.limits.check_batch_bytes(
            entries
                .iter()
                .map(|(name, value)| name.len().saturating_add(value.len())),
        )?;
        let entries = entries
            .into_iter()
            .map(|(name, value)| {
                self.limits.check_value(&value)?;
                Ok((self.place(bucket, &name)?, value))
            })
            .collect::<Result<Vec<_>>>()?;
        if entries.is_empty() {
            return Ok(());
        }
        self.backend.set_many(&entries).await
    }

    /// Removes all keys at once.
    pub async fn delete_many(&self, bucket: &str, names: Vec<String>) -> Result<()> {
        let keys = self.keys(bucket, &names)?;
        if keys.is_empty() {
            return Ok(());
        }
        self.backend.delete_many(&keys).await
    }

    fn key(&self, bucket: &str, key: &str) -> Result<Key> {
        self.place(self.bucket(bucket)?, key)
    }

    fn keys(&self, bucket: &str, names: &[String]) -> Result<Vec<Key>> {
        let bucket = self.bucket(bucket)?;
        self.limits.check_batch_keys(names.len())?;
        self.limits
            .check_batch_bytes(names.iter().map(String::len))?;
        names.iter().map(|name| self.place(bucket, name)).collect()
    }

    /// A bucket of the component's own: any that is declared.
    fn bucket(&self, name: &str) -> Result<&Bucket> {
        if self.is_status(name) {
            return Err(Error::ReadOnlyBucket);
        }
        self.buckets.resolve(name)
    }

    fn is_status(&self, bucket: &str) -> bool {
        bucket == STATUS && self.backend.has_status()
    }

    async fn status(&self, key: &str) -> Result<Option<Bytes>> {
        if key != STATUS_KEY {
            return Ok(None);
        }
        let status = self.backend.status().await?;
        self.limits.check_batch_bytes([status.len()].into_iter())?;
        Ok(Some(status))
    }

    fn place(&self, bucket: &Bucket, key: &str) -> Result<Key> {
        bucket.key(key, self.limits.key_bytes)
    }
}
