//! Configuration as it came from the host.

use std::collections::BTreeMap;

use wasmcloud_provider_sdk::core::secrets::SecretValue;

use super::{placeholder, Config, ConfigError, FromConfig};
use crate::{LabelSet, Secret};

/// Config values and secrets as the host sent them: of a link, or of the provider itself.
///
/// `Debug` shows the keys and no value: a URL with a password may be among them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawConfig {
    pub(super) values: BTreeMap<String, String>,
    /// `None` stands for a secret that is not text.
    pub(super) secrets: BTreeMap<String, Option<Secret>>,
}

impl RawConfig {
    /// Takes over what the host sent.
    pub fn new<'a>(
        values: impl IntoIterator<Item = (&'a String, &'a String)>,
        secrets: impl IntoIterator<Item = (&'a String, &'a SecretValue)>,
    ) -> Self {
        Self {
            values: values
                .into_iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            secrets: secrets
                .into_iter()
                .map(|(key, value)| (key.clone(), Secret::from_host(value)))
                .collect(),
        }
    }

    /// Config without secrets, written down: for tests.
    #[must_use]
    pub fn from_values<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self {
            values: values
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            secrets: BTreeMap::new(),
        }
    }

    /// The same config with a secret: for tests.
    #[must_use]
    pub fn with_secret(mut self, key: &str, secret: Secret) -> Self {
        self.secrets.insert(key.to_owned(), Some(secret));
        self
    }

    /// Whether a value names a label, so that the labels must be known before it can be read.
    #[must_use]
    pub fn needs_labels(&self) -> bool {
        self.values
            .values()
            .any(|value| placeholder::present(value))
    }

    /// The secrets of `self` under the values of `newer`: a change of config brings no secrets.
    pub(crate) fn with_values(&self, newer: RawConfig) -> RawConfig {
        RawConfig {
            values: newer.values,
            secrets: self.secrets.clone(),
        }
    }

    /// Reads the whole configuration, with `{label:NAME}` replaced.
    ///
    /// # Errors
    ///
    /// What [`FromConfig::from_config`] finds wrong, and keys that it never asked for.
    pub fn parse<T: FromConfig>(&self, labels: &LabelSet) -> Result<T, ConfigError> {
        let mut config = Config::new(self, labels);
        let parsed = T::from_config(&mut config)?;
        config.refuse_unknown()?;
        Ok(parsed)
    }
}

impl std::fmt::Debug for RawConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawConfig")
            .field("keys", &self.values.keys().collect::<Vec<_>>())
            .field("secrets", &self.secrets.keys().collect::<Vec<_>>())
            .finish()
    }
}
