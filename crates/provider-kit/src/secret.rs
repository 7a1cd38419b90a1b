//! A string that cannot be printed by accident.

use std::fmt;

use wasmcloud_provider_sdk::core::secrets::SecretValue;

/// A password, token or other secret text. `Debug` shows nothing of it and there is no
/// `Display`: whoever needs the text has to ask for it by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps secret text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself. Never log what this returns.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Text of a secret the host handed over, or `None` when its bytes are not UTF-8.
    pub(crate) fn from_host(value: &SecretValue) -> Option<Self> {
        match value {
            SecretValue::String(text) => Some(Self(text.clone())),
            SecretValue::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(Self::new),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_nothing_of_the_secret() {
        let shown = format!("{:?} {:?}", Secret::new("hunter2"), Some(Secret::new("")));
        assert!(!shown.contains("hunter2"));
        assert_eq!(shown, "Secret(redacted) Some(Secret(redacted))");
    }

    #[test]
    fn a_secret_of_bytes_must_be_text() {
        let text = SecretValue::Bytes(b"token".to_vec());
        assert_eq!(Secret::from_host(&text), Some(Secret::new("token")));
        assert_eq!(
            Secret::from_host(&SecretValue::Bytes(vec![0xff, 0xfe])),
            None
        );
    }
}
