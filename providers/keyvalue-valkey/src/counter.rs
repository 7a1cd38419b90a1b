//! The text of a counter: what `INCR` keeps, up to `u64::MAX`.

use crate::error::{Error, Result};

/// The number a value stands for.
///
/// Only the canonical decimal form is a counter, exactly as in Valkey's own `INCR`: no sign, no
/// space, no leading zero.
///
/// # Errors
///
/// [`Error::NotANumber`] for everything else, numbers past `u64::MAX` included.
pub(crate) fn parse(value: &[u8]) -> Result<u64> {
    replica::number::parse(value).ok_or(Error::NotANumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_decimals_up_to_u64_max_are_counters() {
        for (text, number) in [("0", 0), ("7", 7), ("18446744073709551615", u64::MAX)] {
            assert_eq!(parse(text.as_bytes()), Ok(number));
        }
        for text in [
            "",
            "-1",
            "+1",
            " 1",
            "1 ",
            "01",
            "00",
            "1.0",
            "1e3",
            "0x1",
            "one",
            "18446744073709551616",
            "1\0",
            "1\n",
            "١",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Error::NotANumber), "{text:?}");
        }
    }
}
