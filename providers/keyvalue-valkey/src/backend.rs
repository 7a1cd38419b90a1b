//! What a store has to be able to do.

use std::future::Future;

use bytes::Bytes;

use crate::bucket::{Bucket, Key};
use crate::error::{Error, Result};
use crate::limit::Limits;

/// A place that keeps values under keys.
///
/// Keys, sizes and bucket names are checked before they get here ([`crate::Store`] does it), so that
/// every backend behaves the same; `tests/contract.rs` holds each of them to that.
///
/// Every method is one atomic step, except [`Backend::list`].
pub trait Backend: Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, key: &Key) -> impl Future<Output = Result<Option<Bytes>>> + Send;

    /// Stores a value, whatever was there.
    fn set(&self, key: &Key, value: &Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Removes a key; a missing one is no error.
    fn delete(&self, key: &Key) -> impl Future<Output = Result<()>> + Send;

    /// Whether a key has a value.
    fn exists(&self, key: &Key) -> impl Future<Output = Result<bool>> + Send;

    /// Adds to a decimal `u64` and returns the sum; a missing key counts as 0.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotANumber`] and [`crate::Error::Overflow`], both without a change.
    fn increment(&self, key: &Key, delta: u64) -> impl Future<Output = Result<u64>> + Send;

    /// The values of keys, in the order of the keys.
    fn get_many(&self, keys: &[Key]) -> impl Future<Output = Result<Vec<Option<Bytes>>>> + Send;

    /// Stores all values or none; of a key named twice, the last value.
    fn set_many(&self, entries: &[(Key, Bytes)]) -> impl Future<Output = Result<()>> + Send;

    /// Removes all keys.
    fn delete_many(&self, keys: &[Key]) -> impl Future<Output = Result<()>> + Send;

    /// Whether the backend says how it is ([`Backend::status`]).
    fn has_status(&self) -> bool {
        false
    }

    /// How the backend is, as JSON; a component reads it as a key of [`crate::bucket::STATUS`].
    fn status(&self) -> impl Future<Output = Result<Bytes>> + Send {
        async { Err(Error::NoSuchBucket) }
    }

    /// A page of a bucket's keys, from a cursor of an earlier page or from 0.
    ///
    /// A key that exists during the whole listing is on at least one of its pages; a key that comes or goes
    /// meanwhile may be on none. No page names a key twice.
    fn list(
        &self,
        bucket: &Bucket,
        cursor: u64,
        limits: &Limits,
    ) -> impl Future<Output = Result<Page>> + Send;
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Names of keys within their bucket, without duplicates.
    pub keys: Vec<String>,
    /// Where the next page starts; `None` on the last.
    pub cursor: Option<u64>,
}
