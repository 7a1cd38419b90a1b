//! Regions by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::edge::geo;
use crate::error::Error;

/// The region with the hub, wadm and, in the single-store topology, the only store.
pub const HOME: &str = "home";
/// The most edge regions that one machine is asked to carry.
pub const MOST: usize = 8;

/// The code of an edge region, one of Fly.io's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Code(String);

impl Code {
    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.0
    }
}

impl TryFrom<String> for Code {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl FromStr for Code {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known: Vec<&str> = geo::codes().collect();
        if known.contains(&text) {
            return Ok(Self(text.to_owned()));
        }
        let wrong = if text.is_empty() {
            "the name of a region is missing".to_owned()
        } else {
            format!("`{text}` is no region of Fly.io")
        };
        let lower = text.to_lowercase();
        Err(Error::Regions(if known.contains(&lower.as_str()) {
            format!("{wrong}; did you mean `{lower}`?")
        } else {
            format!("{wrong}; choose from {}", known.join(", "))
        }))
    }
}

/// The edge regions of a lattice: one to eight, each once, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes(Vec<Code>);

impl Codes {
    /// The codes in the order given.
    #[must_use]
    pub fn as_slice(&self) -> &[Code] {
        &self.0
    }
}

impl Default for Codes {
    fn default() -> Self {
        Self(
            ["iad", "fra", "sin"]
                .map(|code| Code(code.to_owned()))
                .into(),
        )
    }
}

impl FromStr for Codes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let codes = text
            .split(',')
            .map(|code| code.trim().parse())
            .collect::<Result<Vec<Code>, Error>>()?;
        if codes.len() > MOST {
            return Err(Error::Regions(format!(
                "{} regions given; one machine carries 1 to {MOST}",
                codes.len()
            )));
        }
        for (at, code) in codes.iter().enumerate() {
            if codes[..at].contains(code) {
                return Err(Error::Regions(format!("region `{code}` is given twice")));
            }
        }
        Ok(Self(codes))
    }
}

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes: Vec<&str> = self.0.iter().map(Code::as_str).collect();
        f.write_str(&codes.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_keep_their_order() {
        let codes: Codes = "sin, iad".parse().unwrap();
        assert_eq!(codes.to_string(), "sin,iad");
    }

    #[test]
    fn bad_region_lists_are_refused_by_name() {
        for (list, named) in [
            ("", "the name of a region is missing; choose from ams, "),
            ("iad,,fra", "the name of a region is missing"),
            ("iad,xyz", "`xyz` is no region of Fly.io; choose from ams, "),
            ("iad,iad", "`iad` is given twice"),
            ("IAD", "`IAD` is no region of Fly.io; did you mean `iad`?"),
            ("ams,arn,bom,cdg,dfw,ewr,fra,gru,iad", "1 to 8"),
        ] {
            let error = list.parse::<Codes>().unwrap_err().to_string();
            assert!(error.contains(named), "{list}: {error}");
        }
    }
}
