//! Who writes: regions, their incarnations, and the two together.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a region: 1 to 32 of `a-z`, `0-9` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(Arc<str>);

/// Why a text names no region or no author.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// Not 1 to 32 of the allowed characters.
    #[error("a region's name is 1 to 32 of `a-z`, `0-9` and `-`")]
    Region,
    /// Not a positive number.
    #[error("an incarnation is a positive whole number, in hexadecimal")]
    Incarnation,
    /// No `/` between region and incarnation.
    #[error("an author is REGION/INCARNATION")]
    Author,
}

impl Region {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Region {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if (1..=32).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name.into()))
        } else {
            Err(NameError::Region)
        }
    }
}

impl FromStr for Region {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        name.to_owned().try_into()
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.as_str().to_owned()
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One uninterrupted life of a region's store.
///
/// A region takes a new one whenever its store may have forgotten something (a restored backup, a wiped
/// disk), so that a sequence number never means two different writes. Chosen by whoever drives the
/// engine, unique among the lives of a region; a later one is usually higher, and nothing is lost where it is not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Incarnation(u64);

impl TryFrom<u64> for Incarnation {
    type Error = NameError;

    fn try_from(number: u64) -> Result<Self, NameError> {
        if number == 0 {
            return Err(NameError::Incarnation);
        }
        Ok(Self(number))
    }
}

impl From<Incarnation> for u64 {
    fn from(incarnation: Incarnation) -> Self {
        incarnation.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Incarnation {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        u64::from_str_radix(text, 16)
            .map_err(|_| NameError::Incarnation)?
            .try_into()
    }
}

/// A region in one of its incarnations: the unit that numbers its writes without a gap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Author {
    /// Where the write was made.
    pub region: Region,
    /// In which life of that region's store.
    pub incarnation: Incarnation,
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region, self.incarnation)
    }
}

impl fmt::Debug for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Author {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (region, incarnation) = text.split_once('/').ok_or(NameError::Author)?;
        Ok(Self {
            region: region.parse()?,
            incarnation: incarnation.parse()?,
        })
    }
}
