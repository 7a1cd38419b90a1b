//! Bounds on what a component may ask for: guest input is hostile.

use crate::error::{Error, Result};

/// The bounds of one link. A bound is inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a key, bucket prefix not counted.
    pub key_bytes: usize,
    /// Bytes of a value written.
    pub value_bytes: usize,
    /// Keys of a batch.
    pub batch_keys: usize,
    /// Bytes of a batch's keys and values; also of any answer that carries values.
    pub batch_bytes: usize,
    /// Size of a page of `list-keys`.
    pub page: PageLimits,
}

/// When a page of `list-keys` is full. A page ends after the scan step that reaches a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimits {
    /// Keys.
    pub keys: usize,
    /// Bytes of all keys.
    pub bytes: usize,
}

impl Limits {
    /// The bounds of a link that configures none. A page of keys stays below NATS's usual 1 MiB
    /// message, a value at half of it.
    pub const DEFAULT: Self = Self {
        key_bytes: 1024,
        value_bytes: 512 * 1024,
        batch_keys: 10_000,
        batch_bytes: 8 * 1024 * 1024,
        page: PageLimits {
            keys: 10_000,
            bytes: 700 * 1024,
        },
    };

    pub(crate) fn check_value(&self, value: &[u8]) -> Result<()> {
        let (bytes, max) = (value.len(), self.value_bytes);
        if bytes > max {
            return Err(Error::ValueTooLarge { bytes, max });
        }
        Ok(())
    }

    pub(crate) fn check_batch_keys(&self, keys: usize) -> Result<()> {
        let max = self.batch_keys;
        if keys > max {
            return Err(Error::BatchTooLong { keys, max });
        }
        Ok(())
    }

    pub(crate) fn check_batch_bytes(&self, sizes: impl Iterator<Item = usize>) -> Result<()> {
        let bytes = sizes.fold(0, usize::saturating_add);
        let max = self.batch_bytes;
        if bytes > max {
            return Err(Error::BatchTooLarge { bytes, max });
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
