//! What is known of a machine.

use std::fmt;
use std::net::IpAddr;

use crate::catalogue;

/// The short code of a region: 1 to 64 printable ASCII characters without spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionCode(String);

/// What a region's code may look like, for messages.
pub const REGION_CODE_ALLOWED: &str = "1 to 64 printable ASCII characters without spaces";

/// A text that is no region code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a region code is {REGION_CODE_ALLOWED}")]
pub struct RegionCodeError;

impl RegionCode {
    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for RegionCode {
    type Error = RegionCodeError;

    fn try_from(code: &str) -> Result<Self, Self::Error> {
        let fits = (1..=64).contains(&code.len());
        if fits && code.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(code.to_owned()))
        } else {
            Err(RegionCodeError)
        }
    }
}

impl std::str::FromStr for RegionCode {
    type Err = RegionCodeError;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        Self::try_from(code)
    }
}

impl fmt::Display for RegionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A region of a cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Its code.
    pub code: RegionCode,
    /// Its name for people; the code where nothing better is known.
    pub name: String,
    /// Its city, where known.
    pub city: Option<String>,
}

impl Region {
    /// The region with this code, named by the static catalogue; an unknown code names itself.
    #[must_use]
    pub fn of(code: RegionCode) -> Self {
        match catalogue::name_of(&code) {
            Some(name) => Self::named(code, name),
            None => Self {
                name: code.as_str().to_owned(),
                city: None,
                code,
            },
        }
    }

    /// The region with this code and a name of the form `City, Country`.
    #[must_use]
    pub fn named(code: RegionCode, name: &str) -> Self {
        let city = name.split(',').next().map(str::trim);
        Self {
            code,
            name: name.to_owned(),
            city: city.filter(|city| !city.is_empty()).map(str::to_owned),
        }
    }
}

/// What is known of the machine a provider runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Where it is.
    pub region: Region,
    /// What identifies it within its platform. Not empty.
    pub instance_id: String,
    /// Its address inside the platform's private network.
    pub private_address: Option<IpAddr>,
    /// Its address reachable from outside.
    pub public_address: Option<IpAddr>,
    /// The platform's name.
    pub platform: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_code_is_short_printable_ascii_without_spaces() {
        for good in ["iad", "eu-west-1", "x", "~!<>", &"r".repeat(64)] {
            assert_eq!(RegionCode::try_from(good).unwrap().as_str(), good);
        }
        for bad in ["", " ", "i ad", "iad\n", "ïad", "\u{7f}", &"r".repeat(65)] {
            assert_eq!(RegionCode::try_from(bad), Err(RegionCodeError), "{bad:?}");
        }
    }

    #[test]
    fn a_known_region_has_a_name_and_a_city() {
        let region = Region::of("iad".parse().unwrap());
        assert_eq!(region.name, "Ashburn, Virginia (US)");
        assert_eq!(region.city.as_deref(), Some("Ashburn"));
    }

    #[test]
    fn an_unknown_region_names_itself() {
        let region = Region::of("moon-1".parse().unwrap());
        assert_eq!(region.name, "moon-1");
        assert_eq!(region.city, None);
    }
}
