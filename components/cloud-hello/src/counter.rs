//! The keys and values of the visit counters.
//!
//! One counter per region, browser and operating system, so that a visit is one increment and
//! every total is a sum: `visits:v1:<region>:<browser>:<os>`, for example
//! `visits:v1:iad:firefox:linux`. The value is the count as a decimal number.
//!
//! Keys are canonical: each counter has exactly one key and [`CounterKey::parse`] accepts no
//! other spelling. Bytes of a region code outside `A-Z a-z 0-9 . _ -` are written `%XX`, so a
//! region can neither end a key early nor claim another region's counter.

use std::fmt;

use crate::region::{RegionCode, MAX_LENGTH};
use crate::user_agent::{Browser, Os};

/// The prefix of our keys. A change of the format is a new version, never a reinterpretation.
const PREFIX: &str = "visits:v1:";

/// No key of ours is longer: anything above is not worth looking at.
const MAX_KEY_LENGTH: usize = PREFIX.len() + 3 * MAX_LENGTH + 64;

/// Who is counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CounterKey {
    pub region: RegionCode,
    pub browser: Browser,
    pub os: Os,
}

impl CounterKey {
    /// Reads a key of ours; `None` for any other key.
    pub fn parse(key: &str) -> Option<Self> {
        if key.len() > MAX_KEY_LENGTH {
            return None;
        }
        let mut parts = key.strip_prefix(PREFIX)?.split(':');
        let (region, browser, os) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        Some(Self {
            region: decode_region(region)?,
            browser: Browser::from_slug(browser)?,
            os: Os::from_slug(os)?,
        })
    }
}

impl fmt::Display for CounterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        for byte in self.region.as_str().bytes() {
            if is_plain(byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        write!(f, ":{}:{}", self.browser.slug(), self.os.slug())
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn decode_region(text: &str) -> Option<RegionCode> {
    let mut code = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let escaped = hex(bytes.next()?)? * 16 + hex(bytes.next()?)?;
            // `%41` for `A` would give one counter two keys.
            if is_plain(escaped) {
                return None;
            }
            code.push(char::from(escaped));
        } else if is_plain(byte) {
            code.push(char::from(byte));
        } else {
            return None;
        }
    }
    RegionCode::try_from(code.as_str()).ok()
}

/// Capital hexadecimal digits only, as we write them.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Reads a counter's value: a `u64` in plain decimal, as an increment writes it. No sign, no
/// space and no leading zero, since the stores refuse to increment those.
pub fn parse_value(value: &[u8]) -> Option<u64> {
    let canonical = match value {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(region: &str, browser: Browser, os: Os) -> CounterKey {
        CounterKey {
            region: RegionCode::normalise(region),
            browser,
            os,
        }
    }

    #[test]
    fn the_format_is_the_documented_one() {
        let plain = key("iad", Browser::Firefox, Os::Linux);
        assert_eq!(plain.to_string(), "visits:v1:iad:firefox:linux");
        let odd = key("a:b%<", Browser::SamsungInternet, Os::ChromeOs);
        assert_eq!(
            odd.to_string(),
            "visits:v1:a%3Ab%25%3C:samsung-internet:chromeos"
        );
        assert_eq!(CounterKey::parse(&odd.to_string()), Some(odd));
    }

    #[test]
    fn keys_that_are_not_ours_are_refused() {
        for key in [
            "",
            "visits",
            "visits:v1:",
            "visits:v2:iad:firefox:linux",
            "visits:v1:iad:firefox",
            "visits:v1:iad:firefox:linux:x",
            "visits:v1::firefox:linux",
            "visits:v1:iad:netscape:linux",
            "visits:v1:iad:firefox:amiga",
            "visits:v1:iad:Firefox:linux",
            "Visits:v1:iad:firefox:linux",
            " visits:v1:iad:firefox:linux",
            "visits:v1:i d:firefox:linux",
            "visits:v1:zürich:firefox:linux",
            "visits:v1:%69ad:firefox:linux",
            "visits:v1:%3a:firefox:linux",
            "visits:v1:%3:firefox:linux",
            "visits:v1:%20:firefox:linux",
            "visits:v1:%00:firefox:linux",
            "visits:v1:%FF:firefox:linux",
        ] {
            assert_eq!(CounterKey::parse(key), None, "{key}");
        }
    }

    #[test]
    fn values_are_plain_decimal_numbers() {
        assert_eq!(parse_value(b"0"), Some(0));
        assert_eq!(parse_value(b"18446744073709551615"), Some(u64::MAX));
        for value in [
            &b""[..],
            b"18446744073709551616",
            b"99999999999999999999999999999999999999",
            b"-1",
            b"+1",
            b"007",
            b" 1",
            b"1\n",
            b"1.0",
            b"1e3",
            b"banana",
            b"\xff\xfe",
            "１".as_bytes(),
        ] {
            assert_eq!(parse_value(value), None);
        }
    }

    proptest! {
        #[test]
        fn every_key_round_trips(
            region in "[!-~]{1,64}",
            browser in proptest::sample::select(Browser::ALL),
            os in proptest::sample::select(Os::ALL),
        ) {
            let key = key(&region, browser, os);
            prop_assert_eq!(key.region.as_str(), region.as_str());
            prop_assert_eq!(CounterKey::parse(&key.to_string()), Some(key));
        }

        #[test]
        fn a_key_that_parses_is_the_one_we_would_write(text in "visits:v1:[ -~]{0,40}:[a-z-]{1,16}:[a-z]{1,8}") {
            if let Some(key) = CounterKey::parse(&text) {
                prop_assert_eq!(key.to_string(), text);
            }
        }

        #[test]
        fn parsing_survives_anything(text in any::<String>(), value in any::<Vec<u8>>()) {
            let _ = CounterKey::parse(&text);
            let _ = CounterKey::parse(&format!("{PREFIX}{text}"));
            let _ = parse_value(&value);
        }

        #[test]
        fn every_number_round_trips(number in any::<u64>()) {
            prop_assert_eq!(parse_value(number.to_string().as_bytes()), Some(number));
        }
    }
}
