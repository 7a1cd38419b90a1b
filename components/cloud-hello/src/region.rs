//! The code of a region, as it appears in keys, in JSON and on the page.

use std::fmt;

use serde::Deserialize;

/// The longest code that `cloud-metadata` promises, in bytes.
pub const MAX_LENGTH: usize = 64;

/// What a region is called whose code breaks the contract of `cloud-metadata`.
const UNKNOWN: &str = "unknown";

/// A region's code: 1 to 64 bytes of printable ASCII without spaces.
///
/// It may still hold `<` or `:`; whoever writes it into HTML or into a key escapes it there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct RegionCode(String);

/// The text is empty, longer than [`MAX_LENGTH`] bytes, or not printable ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a region code is 1 to {MAX_LENGTH} bytes of printable ASCII without spaces")]
pub struct InvalidRegionCode;

impl RegionCode {
    /// The code if it is valid, `unknown` otherwise: a provider that breaks its contract costs
    /// its region the name, not the page.
    pub fn normalise(code: &str) -> Self {
        Self::try_from(code).unwrap_or_else(|InvalidRegionCode| Self(UNKNOWN.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for RegionCode {
    type Error = InvalidRegionCode;

    fn try_from(code: &str) -> Result<Self, Self::Error> {
        let valid = !code.is_empty()
            && code.len() <= MAX_LENGTH
            && code.bytes().all(|byte| byte.is_ascii_graphic());
        if valid {
            Ok(Self(code.to_owned()))
        } else {
            Err(InvalidRegionCode)
        }
    }
}

impl TryFrom<String> for RegionCode {
    type Error = InvalidRegionCode;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        Self::try_from(code.as_str())
    }
}

impl fmt::Display for RegionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_every_cloud_are_kept_as_they_are() {
        for code in ["iad", "eu-west-1", "kind", "europe-west4", "region_1.a"] {
            assert_eq!(RegionCode::normalise(code).as_str(), code);
        }
    }

    #[test]
    fn what_breaks_the_contract_becomes_unknown() {
        let long = "x".repeat(MAX_LENGTH + 1);
        for code in ["", "two words", "tab\t", "zürich", "\u{0}", "a\nb", &long] {
            assert_eq!(RegionCode::normalise(code).as_str(), "unknown");
        }
    }
}
