//! The outside, as the page sees it: five small traits that the component implements with its
//! imports and tests with fakes.
//!
//! Errors carry no text on purpose. What a provider says about a failure may name hosts or
//! values, and neither the page nor the log is the place for that.

use std::time::Duration;

use crate::region::RegionCode;

/// Where the request is being served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    pub region: RegionCode,
    /// The region's human name, for example `Ashburn, Virginia (US)`.
    pub name: String,
    pub city: Option<String>,
    pub instance: String,
    pub platform: String,
}

/// Why the metadata provider has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("the platform has not answered yet")]
    Unavailable,
    #[error("the metadata provider is not configured for this component")]
    Misconfigured,
}

/// Why the key-value provider has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("there is no such bucket")]
    NoSuchStore,
    #[error("access to the bucket is denied")]
    AccessDenied,
    #[error("the store failed")]
    Other,
}

/// One page of the keys in the bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub keys: Vec<String>,
    /// Whether the store has keys beyond this page.
    pub more: bool,
}

/// Values with their keys, `None` for a key that is not there.
pub type Values = Vec<Option<(String, Vec<u8>)>>;

pub trait Metadata {
    fn metadata(&mut self) -> Result<Serving, MetadataError>;
}

/// The bucket of visit counters. Every method is one call to the provider.
pub trait Store {
    /// Adds one to a counter and returns its new value.
    fn increment(&mut self, key: &str) -> Result<u64, StoreError>;

    /// The first page of keys, in any order, possibly with repetitions.
    fn list_keys(&mut self) -> Result<Listing, StoreError>;

    /// The values of `keys`, in any order.
    fn get_many(&mut self, keys: &[String]) -> Result<Values, StoreError>;
}

/// What the store says of how it is replicated. One call to the provider.
pub trait Replication {
    /// The status document as it came, of any size and content; `None` if the store has none.
    ///
    /// A store that does not replicate has no bucket for it: [`StoreError::NoSuchStore`].
    fn status(&mut self) -> Result<Option<Vec<u8>>, StoreError>;
}

pub trait Clock {
    /// Time since an arbitrary fixed moment; never goes back.
    fn now(&mut self) -> Duration;
}

/// The log takes constant messages only, so that no value and no header can reach it.
pub trait Log {
    fn warn(&mut self, message: &'static str);
    fn error(&mut self, message: &'static str);
}

/// Everything at once.
pub trait Host: Metadata + Store + Replication + Clock + Log {}

impl<T: Metadata + Store + Replication + Clock + Log> Host for T {}
