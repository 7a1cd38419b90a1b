//! Buckets: where the keys of each lie in one Valkey database.
//!
//! The bucket `default` (also written as the empty string) holds its keys as they are, which makes
//! it interchangeable with providers that know no buckets. Every other bucket `NAME` keeps its key
//! `KEY` at `@kv/bucket/NAME/KEY`. All of `@kv/` belongs to the provider: `default` neither lists
//! nor accepts such keys.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Start of every Valkey key that does not belong to the bucket `default`.
pub const RESERVED: &str = "@kv/";

/// Name of the bucket whose keys are top level.
pub const DEFAULT: &str = "default";

/// Name of the read-only bucket that holds what a replicated store says of itself, under [`STATUS_KEY`].
/// No link can declare it: `@` is in no bucket's name.
pub const STATUS: &str = "@replication";

/// The only key of the bucket [`STATUS`]; its value is JSON.
pub const STATUS_KEY: &str = "status";

/// One bucket that the link may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Empty for `default`.
    prefix: String,
}

impl Bucket {
    /// The bucket of this name: 1 to 64 of `a-z`, `0-9`, `-`, `_`. `None` for any other name.
    pub fn named(name: &str) -> Option<Self> {
        if name == DEFAULT {
            return Some(Self {
                prefix: String::new(),
            });
        }
        let allowed =
            |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_');
        // No glob character can occur, so the prefix is its own SCAN pattern.
        let valid = (1..=64).contains(&name.len()) && name.bytes().all(allowed);
        valid.then(|| Self {
            prefix: format!("{RESERVED}bucket/{name}/"),
        })
    }

    /// The place of a key in this bucket, if the key is allowed.
    pub(crate) fn key(&self, key: &str, max: usize) -> Result<Key> {
        if key.is_empty() {
            return Err(Error::EmptyKey);
        }
        if key.len() > max {
            return Err(Error::KeyTooLong {
                bytes: key.len(),
                max,
            });
        }
        if self.prefix.is_empty() && key.starts_with(RESERVED) {
            return Err(Error::ReservedKey);
        }
        Ok(Key(format!("{}{key}", self.prefix)))
    }

    /// The name, within this bucket, of what lies at a place; `None` when it is not in this bucket
    /// or has a name that [`Bucket::key`] refuses.
    pub(crate) fn name_of(&self, place: &str, max: usize) -> Option<String> {
        let name = place.strip_prefix(&self.prefix)?;
        self.key(name, max).is_ok().then(|| name.to_owned())
    }

    /// What every place in this bucket starts with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// A checked key, as it lies in Valkey.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// The Valkey key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The buckets a link declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets(BTreeMap<String, Bucket>);

impl Buckets {
    /// Buckets by name; the first invalid name is handed back.
    pub fn declared<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut buckets = BTreeMap::new();
        for name in names {
            let bucket = Bucket::named(name).ok_or(name)?;
            buckets.insert(name.to_owned(), bucket);
        }
        Ok(Self(buckets))
    }

    /// The bucket a caller names. The empty name is `default`.
    pub(crate) fn resolve(&self, name: &str) -> Result<&Bucket> {
        let name = if name.is_empty() { DEFAULT } else { name };
        self.0.get(name).ok_or(Error::NoSuchBucket)
    }
}

impl Default for Buckets {
    fn default() -> Self {
        Self(
            Bucket::named(DEFAULT)
                .map(|bucket| (DEFAULT.to_owned(), bucket))
                .into_iter()
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_name_outside_the_alphabet_is_no_bucket() {
        for name in ["", "a b", "A", "a/b", "a*", "é", &"x".repeat(65)] {
            assert_eq!(Bucket::named(name), None, "{name:?}");
        }
    }

    #[test]
    fn keys_of_one_bucket_are_never_names_in_another() {
        let (default, a, b) = (
            Bucket::named("default").unwrap(),
            Bucket::named("a").unwrap(),
            Bucket::named("b").unwrap(),
        );
        let place = a.key("k", 10).unwrap();
        assert_eq!(place.as_str(), "@kv/bucket/a/k");
        assert_eq!(a.name_of(place.as_str(), 10).as_deref(), Some("k"));
        assert_eq!(b.name_of(place.as_str(), 10), None);
        assert_eq!(default.name_of(place.as_str(), 100), None);
        assert_eq!(default.key(place.as_str(), 100), Err(Error::ReservedKey));
    }

    #[test]
    fn a_reserved_looking_key_inside_a_bucket_is_an_ordinary_key() {
        let a = Bucket::named("a").unwrap();
        let place = a.key("@kv/bucket/b/k", 100).unwrap();
        assert_eq!(
            a.name_of(place.as_str(), 100).as_deref(),
            Some("@kv/bucket/b/k")
        );
        assert_eq!(
            Bucket::named("b").unwrap().name_of(place.as_str(), 100),
            None
        );
    }
}
