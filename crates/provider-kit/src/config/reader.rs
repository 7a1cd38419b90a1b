//! Reading typed values, one key at a time.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::{placeholder, ConfigError, RawConfig};
use crate::{LabelSet, Secret};

/// A configuration being read. It remembers which keys were asked for, so that the others can
/// be refused. An empty value counts as given.
#[derive(Debug)]
pub struct Config<'a> {
    raw: &'a RawConfig,
    labels: &'a LabelSet,
    known: BTreeSet<&'static str>,
}

impl<'a> Config<'a> {
    pub(super) fn new(raw: &'a RawConfig, labels: &'a LabelSet) -> Self {
        Self {
            raw,
            labels,
            known: BTreeSet::new(),
        }
    }

    /// Whether there is nothing in it, neither values nor secrets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.values.is_empty() && self.raw.secrets.is_empty()
    }

    /// The labels of the host, for values that default to one.
    #[must_use]
    pub fn labels(&self) -> &LabelSet {
        self.labels
    }

    /// The text of a key, with the host's labels put in.
    ///
    /// # Errors
    ///
    /// An unknown label, a malformed placeholder, or a value that came as a secret.
    pub fn optional(&mut self, key: &'static str) -> Result<Option<String>, ConfigError> {
        self.known.insert(key);
        if self.raw.secrets.contains_key(key) {
            return Err(ConfigError::NotConfig { key: key.into() });
        }
        self.raw
            .values
            .get(key)
            .map(|value| placeholder::expand(key, value, self.labels))
            .transpose()
    }

    /// The text of a key that must be there.
    ///
    /// # Errors
    ///
    /// As [`optional`](Self::optional), and when the key is missing.
    pub fn required(&mut self, key: &'static str) -> Result<String, ConfigError> {
        self.optional(key)?
            .ok_or_else(|| ConfigError::Missing { key: key.into() })
    }

    /// A value of any type that can be read from text; `allowed` says what that is.
    ///
    /// # Errors
    ///
    /// As [`optional`](Self::optional), and when the text cannot be read.
    pub fn parsed<T: FromStr>(
        &mut self,
        key: &'static str,
        allowed: &str,
    ) -> Result<Option<T>, ConfigError> {
        self.optional(key)?
            .map(|value| {
                value
                    .parse()
                    .map_err(|_| ConfigError::invalid(key, &value, allowed))
            })
            .transpose()
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    ///
    /// As [`optional`](Self::optional), and when it is no number or out of bounds.
    pub fn integer(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ConfigError> {
        let allowed = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        self.optional(key)?
            .map(|value| {
                value
                    .parse()
                    .ok()
                    .filter(|number| bounds.contains(number))
                    .ok_or_else(|| ConfigError::invalid(key, &value, allowed))
            })
            .transpose()
    }

    /// A duration given in whole milliseconds, within bounds.
    ///
    /// # Errors
    ///
    /// As [`integer`](Self::integer).
    pub fn milliseconds(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<u64>,
    ) -> Result<Option<Duration>, ConfigError> {
        Ok(self.integer(key, bounds)?.map(Duration::from_millis))
    }

    /// A duration given in whole seconds, within bounds.
    ///
    /// # Errors
    ///
    /// As [`integer`](Self::integer).
    pub fn seconds(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<u64>,
    ) -> Result<Option<Duration>, ConfigError> {
        Ok(self.integer(key, bounds)?.map(Duration::from_secs))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    ///
    /// As [`optional`](Self::optional), and for any other word.
    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        self.choice(key, &[("true", true), ("false", false)])
    }

    /// One of a few words.
    ///
    /// # Errors
    ///
    /// As [`optional`](Self::optional), and for any other word.
    pub fn choice<T: Clone>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.optional(key)? else {
            return Ok(None);
        };
        let chosen = choices.iter().find(|(word, _)| *word == value);
        match chosen {
            Some((_, meaning)) => Ok(Some(meaning.clone())),
            None => {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                Err(ConfigError::invalid(key, &value, words.join(" or ")))
            }
        }
    }

    /// The address of a server: an `https` or `http` URL and nothing behind the authority.
    ///
    /// # Errors
    ///
    /// As [`optional`](Self::optional), and for any other URL.
    pub fn origin(&mut self, key: &'static str) -> Result<Option<Url>, ConfigError> {
        let allowed = "an https:// or http:// URL without user, path or query";
        self.optional(key)?
            .map(|value| {
                Url::parse(&value)
                    .ok()
                    .filter(|url| matches!(url.scheme(), "https" | "http"))
                    .filter(|url| url.username().is_empty() && url.password().is_none())
                    .filter(|url| url.path() == "/")
                    .filter(|url| url.query().is_none() && url.fragment().is_none())
                    .ok_or_else(|| ConfigError::invalid(key, &value, allowed))
            })
            .transpose()
    }

    /// A secret. It must come as a secret: config is readable by everybody in the lattice.
    ///
    /// # Errors
    ///
    /// A secret that was given as config, or one that is not text.
    pub fn secret(&mut self, key: &'static str) -> Result<Option<Secret>, ConfigError> {
        self.known.insert(key);
        if self.raw.values.contains_key(key) {
            return Err(ConfigError::NotASecret { key: key.into() });
        }
        match self.raw.secrets.get(key) {
            None => Ok(None),
            Some(Some(secret)) => Ok(Some(secret.clone())),
            Some(None) => Err(ConfigError::invalid_secret(key, "UTF-8 text")),
        }
    }

    pub(super) fn refuse_unknown(&self) -> Result<(), ConfigError> {
        let given = self.raw.values.keys().chain(self.raw.secrets.keys());
        for key in given {
            if !self.known.contains(key.as_str()) {
                return Err(ConfigError::Unknown {
                    key: key.clone(),
                    known: self.known.iter().map(|known| (*known).to_owned()).collect(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FromConfig;

    #[derive(Debug, PartialEq)]
    struct Everything {
        url: String,
        size: Option<u64>,
        wait: Option<Duration>,
        keep: Option<bool>,
        password: Option<Secret>,
    }

    impl FromConfig for Everything {
        fn from_config(config: &mut Config<'_>) -> Result<Self, ConfigError> {
            Ok(Self {
                url: config.required("url")?,
                size: config.integer("size", 1..=10)?,
                wait: config.milliseconds("wait_ms", 0..=1000)?,
                keep: config.flag("keep")?,
                password: config.secret("password")?,
            })
        }
    }

    fn parse(raw: &RawConfig) -> Result<Everything, String> {
        raw.parse(&LabelSet::from_iter([("valkey", "v:1")]))
            .map_err(|err| err.to_string())
    }

    #[test]
    fn a_complete_config_is_read_whole() {
        let raw = RawConfig::from_values([
            ("url", "redis://{label:valkey}"),
            ("size", "10"),
            ("wait_ms", "250"),
            ("keep", "false"),
        ])
        .with_secret("password", Secret::new("p"));
        assert_eq!(
            parse(&raw),
            Ok(Everything {
                url: "redis://v:1".into(),
                size: Some(10),
                wait: Some(Duration::from_millis(250)),
                keep: Some(false),
                password: Some(Secret::new("p")),
            })
        );
    }

    #[test]
    fn every_fault_is_refused_by_name() {
        let cases = [
            (RawConfig::default(), "config key `url` is missing"),
            (
                RawConfig::from_values([("url", "u"), ("size", "11")]),
                "config key `size` has the value \"11\", allowed is a whole number from 1 to 10",
            ),
            (
                RawConfig::from_values([("url", "u"), ("size", "-1")]),
                "config key `size` has the value \"-1\", allowed is a whole number from 1 to 10",
            ),
            (
                RawConfig::from_values([("url", "u"), ("keep", "yes")]),
                "config key `keep` has the value \"yes\", allowed is true or false",
            ),
            (
                RawConfig::from_values([("url", "u"), ("password", "p")]),
                "config key `password` must be given as a secret, not as config",
            ),
            (
                RawConfig::default().with_secret("url", Secret::new("u")),
                "secret `url` must be given as config, not as a secret",
            ),
            (
                RawConfig::from_values([("url", "u"), ("ulr", "u")]),
                "config key `ulr` is unknown, known are \
                 `keep`, `password`, `size`, `url`, `wait_ms`",
            ),
            (
                RawConfig::from_values([("url", "u")]).with_secret("token", Secret::new("t")),
                "config key `token` is unknown, known are \
                 `keep`, `password`, `size`, `url`, `wait_ms`",
            ),
        ];
        for (raw, message) in cases {
            assert_eq!(parse(&raw), Err(message.to_owned()));
        }
    }

    #[test]
    fn the_address_of_a_server_is_a_url_with_nothing_behind_the_authority() {
        struct Address(Option<Url>);
        impl FromConfig for Address {
            fn from_config(config: &mut Config<'_>) -> Result<Self, ConfigError> {
                config.origin("api").map(Self)
            }
        }
        let parse = |address| {
            let raw = RawConfig::from_values([("api", address)]);
            raw.parse::<Address>(&LabelSet::default())
        };
        for good in ["https://10.96.0.1:443", "http://_api.internal:4280/"] {
            assert!(parse(good).unwrap().0.is_some(), "{good}");
        }
        for bad in [
            "",
            "x:443",
            "ftp://x",
            "https://user@x",
            "https://:hunter2@x",
            "https://x/api",
            "https://x?a",
            "https://x#a",
        ] {
            let refused = parse(bad).err().unwrap().to_string();
            assert!(refused.contains("`api`"), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn debug_output_of_raw_config_shows_keys_only() {
        let raw = RawConfig::from_values([("url", "redis://u:hunter2@v")])
            .with_secret("password", Secret::new("hunter3"));
        let shown = format!("{raw:?}");
        assert!(shown.contains("url") && shown.contains("password"));
        assert!(!shown.contains("hunter"));
    }
}
