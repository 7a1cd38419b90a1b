//! The names of Fly.io's regions, as its documentation lists them.
//!
//! The codes are also what a lattice on one machine calls its regions. New regions appear
//! without notice: a code that is not here is as good as one that is, it only has no name.

use crate::RegionCode;

/// Code and name, ordered by code.
const REGIONS: [(&str, &str); 18] = [
    ("ams", "Amsterdam, Netherlands"),
    ("arn", "Stockholm, Sweden"),
    ("bom", "Mumbai, India"),
    ("cdg", "Paris, France"),
    ("dfw", "Dallas, Texas (US)"),
    ("ewr", "Secaucus, New Jersey (US)"),
    ("fra", "Frankfurt, Germany"),
    ("gru", "São Paulo, Brazil"),
    ("iad", "Ashburn, Virginia (US)"),
    ("jnb", "Johannesburg, South Africa"),
    ("lax", "Los Angeles, California (US)"),
    ("lhr", "London, United Kingdom"),
    ("nrt", "Tokyo, Japan"),
    ("ord", "Chicago, Illinois (US)"),
    ("sin", "Singapore, Singapore"),
    ("sjc", "San Jose, California (US)"),
    ("syd", "Sydney, Australia"),
    ("yyz", "Toronto, Canada"),
];

/// The name of a region, if it is in the table.
#[must_use]
pub fn name_of(code: &RegionCode) -> Option<&'static str> {
    REGIONS
        .binary_search_by_key(&code.as_str(), |(code, _)| code)
        .ok()
        .and_then(|at| REGIONS.get(at))
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_of_the_table_is_found_by_its_code() {
        for (code, name) in REGIONS {
            assert_eq!(name_of(&code.parse().unwrap()), Some(name));
        }
        assert_eq!(name_of(&"xyz".parse().unwrap()), None);
    }
}
