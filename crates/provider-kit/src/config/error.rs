//! Why a configuration is refused, in words that let a person mend it.

/// A configuration that is not accepted. Every variant names the key; none holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A key that must be there is not.
    #[error("config key `{key}` is missing")]
    Missing {
        /// The key.
        key: String,
    },
    /// A value that is not allowed.
    #[error("config key `{key}` has the value {value:?}, allowed is {allowed}")]
    Invalid {
        /// The key.
        key: String,
        /// The value, cut to a readable length, without the credentials of a URL.
        value: String,
        /// What would be accepted.
        allowed: String,
    },
    /// A secret whose content is not allowed; the content is not repeated.
    #[error("secret `{key}` is not usable, allowed is {allowed}")]
    InvalidSecret {
        /// The key.
        key: String,
        /// What would be accepted.
        allowed: String,
    },
    /// A key that means nothing to this provider.
    #[error("config key `{key}` is unknown, known are {}", list(known))]
    Unknown {
        /// The key.
        key: String,
        /// Every key that would be accepted.
        known: Vec<String>,
    },
    /// A secret that was given as plain configuration, where everybody can read it.
    #[error("config key `{key}` must be given as a secret, not as config")]
    NotASecret {
        /// The key.
        key: String,
    },
    /// A value that was given as a secret although it is none.
    #[error("secret `{key}` must be given as config, not as a secret")]
    NotConfig {
        /// The key.
        key: String,
    },
    /// `{label:NAME}` names a label that the host does not have.
    #[error(
        "config key `{key}` names the host label `{label}`, but the host has only {}",
        list(known)
    )]
    UnknownLabel {
        /// The key.
        key: String,
        /// The label asked for.
        label: String,
        /// The labels of the host.
        known: Vec<String>,
    },
    /// `{label:` without an end or with a name that no label can have.
    #[error("config key `{key}` has a malformed placeholder, allowed is {{label:NAME}}")]
    Placeholder {
        /// The key.
        key: String,
    },
}

impl ConfigError {
    /// A value that is not allowed. Credentials in a URL are taken out of the message; do not
    /// pass secrets otherwise.
    #[must_use]
    pub fn invalid(key: &str, value: &str, allowed: impl Into<String>) -> Self {
        Self::Invalid {
            key: key.to_owned(),
            value: printable(value),
            allowed: allowed.into(),
        }
    }

    /// A secret that is not allowed.
    #[must_use]
    pub fn invalid_secret(key: &str, allowed: impl Into<String>) -> Self {
        Self::InvalidSecret {
            key: key.to_owned(),
            allowed: allowed.into(),
        }
    }

    /// The key that is at fault.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Missing { key }
            | Self::Invalid { key, .. }
            | Self::InvalidSecret { key, .. }
            | Self::Unknown { key, .. }
            | Self::NotASecret { key }
            | Self::NotConfig { key }
            | Self::UnknownLabel { key, .. }
            | Self::Placeholder { key } => key,
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// At most this many characters of a value are repeated.
const SHOWN: usize = 80;

/// A value as it may appear in a message: short, and without what stands before the `@` of a URL's
/// authority (people do put passwords there). Of a URL with a query or fragment, where they do so
/// too, only the scheme.
fn printable(value: &str) -> String {
    let mut text = match (value.rsplit_once('@'), value.split_once("://")) {
        (_, Some((scheme, rest))) if rest.contains(['?', '#']) => format!("{scheme}://…"),
        (Some((_, host)), Some((scheme, _))) => format!("{scheme}://…@{host}"),
        (Some((_, host)), None) => format!("…@{host}"),
        (None, _) => value.to_owned(),
    };
    if text.chars().count() > SHOWN {
        text = text.chars().take(SHOWN).collect();
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_key_the_value_and_what_is_allowed() {
        assert_eq!(
            ConfigError::invalid("port", "http", "1 to 65535").to_string(),
            "config key `port` has the value \"http\", allowed is 1 to 65535"
        );
        let unknown = ConfigError::Unknown {
            key: "ulr".into(),
            known: vec!["url".into(), "timeout_ms".into()],
        };
        assert_eq!(
            unknown.to_string(),
            "config key `ulr` is unknown, known are `url`, `timeout_ms`"
        );
        assert_eq!(unknown.key(), "ulr");
    }

    #[test]
    fn credentials_in_a_url_are_not_repeated() {
        for value in [
            "redis://user:hunter2@valkey:6379",
            "redis://user:hun@ter2@valkey:6379",
            "user:hunter2@valkey:6379",
        ] {
            let message = ConfigError::invalid("url", value, "a URL").to_string();
            assert!(!message.contains("hun"), "{message}");
            assert!(message.contains("@valkey:6379"), "{message}");
        }
        for value in [
            "redis://valkey/?password=hunter2",
            "redis://user:hunt?er2@valkey",
            "redis://valkey/#hunter2@valkey",
        ] {
            let message = ConfigError::invalid("url", value, "a URL").to_string();
            assert!(
                !message.contains("hun") && !message.contains("er2"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_long_value_is_cut_and_control_characters_are_escaped() {
        let message = ConfigError::invalid("k", &"ü".repeat(10_000), "less").to_string();
        assert!(message.len() < 300);
        let message = ConfigError::invalid("k", "a\nb", "one line").to_string();
        assert!(message.contains(r"a\nb"));
    }
}
