//! A replicated store as one link sees it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use replica::store::Write;

use super::settings::Ack;
use super::writer::Deadline;
use super::Replica;
use crate::backend::{Backend, Page};
use crate::bucket::{Bucket, Key};
use crate::error::{Error, Result};
use crate::limit::Limits;
use crate::valkey::Valkey;

/// Reads what lies in this region's Valkey, and writes so that every region gets it.
#[derive(Clone, Debug)]
pub struct Replicated {
    replica: Arc<Replica>,
    plain: Valkey,
    timeout: Duration,
    ack: Ack,
}

impl Replicated {
    /// `timeout` bounds what happens in this region, `ack` what is waited for beyond.
    pub fn new(replica: Arc<Replica>, timeout: Duration, ack: Ack) -> Self {
        let plain = Valkey::new(replica.shared.data.clone(), timeout);
        Self {
            replica,
            plain,
            timeout,
            ack,
        }
    }

    /// As [`Valkey::with_answer_bytes`].
    #[must_use]
    pub fn with_answer_bytes(mut self, bytes: usize) -> Self {
        self.plain = self.plain.with_answer_bytes(bytes);
        self
    }

    /// What reads go through, if the store can be read.
    fn readable(&self) -> Result<&Valkey> {
        match self.replica.shared.unavailable() {
            None => Ok(&self.plain),
            Some(error) => Err(error),
        }
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Option<u64>> {
        let deadline = Deadline::after(self.timeout);
        let written = self
            .replica
            .writer
            .write(writes, deadline, self.ack)
            .await?;
        Ok(written.into_iter().find_map(|written| written.sum))
    }
}

impl Backend for Replicated {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.readable()?.get(key).await
    }

    async fn set(&self, key: &Key, value: &Bytes) -> Result<()> {
        let set = Write::Set(key.as_str().to_owned(), value.clone());
        self.write(vec![set]).await.map(drop)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let delete = Write::Delete(key.as_str().to_owned());
        self.write(vec![delete]).await.map(drop)
    }

    async fn exists(&self, key: &Key) -> Result<bool> {
        self.readable()?.exists(key).await
    }

    async fn increment(&self, key: &Key, delta: u64) -> Result<u64> {
        let increment = Write::Increment(key.as_str().to_owned(), delta);
        let sum = self.write(vec![increment]).await?;
        sum.ok_or(Error::UnexpectedReply)
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.readable()?.get_many(keys).await
    }

    async fn set_many(&self, entries: &[(Key, Bytes)]) -> Result<()> {
        let set = |(key, value): &(Key, Bytes)| Write::Set(key.as_str().to_owned(), value.clone());
        self.write(entries.iter().map(set).collect())
            .await
            .map(drop)
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<()> {
        let delete = |key: &Key| Write::Delete(key.as_str().to_owned());
        self.write(keys.iter().map(delete).collect())
            .await
            .map(drop)
    }

    async fn list(&self, bucket: &Bucket, cursor: u64, limits: &Limits) -> Result<Page> {
        self.readable()?.list(bucket, cursor, limits).await
    }

    fn has_status(&self) -> bool {
        true
    }

    async fn status(&self) -> Result<Bytes> {
        Ok(self.replica.status().await)
    }
}
