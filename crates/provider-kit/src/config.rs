//! Configuration: maps of strings turned into typed values, whole, or refused.

mod error;
mod placeholder;
mod raw;
mod reader;

pub use error::ConfigError;
pub use raw::RawConfig;
pub use reader::Config;

/// A typed configuration, read from a map of strings.
///
/// The implementation asks the [`Config`] for every key it knows; the kit refuses the keys that
/// nobody asked for. So read all keys, whatever their values: do not return early.
///
/// ```
/// use std::time::Duration;
/// use provider_kit::{Config, ConfigError, FromConfig, Secret};
///
/// struct Settings {
///     url: String,
///     timeout: Duration,
///     password: Option<Secret>,
/// }
///
/// impl FromConfig for Settings {
///     fn from_config(config: &mut Config<'_>) -> Result<Self, ConfigError> {
///         let timeout = config.milliseconds("timeout_ms", 10..=60_000)?;
///         Ok(Self {
///             url: config.required("url")?,
///             timeout: timeout.unwrap_or(Duration::from_secs(2)),
///             password: config.secret("password")?,
///         })
///     }
/// }
/// ```
pub trait FromConfig: Sized {
    /// Reads and validates all of it.
    ///
    /// # Errors
    ///
    /// The first key that is missing, malformed, out of bounds or names an unknown label.
    fn from_config(config: &mut Config<'_>) -> Result<Self, ConfigError>;
}

/// For links that take no configuration.
impl FromConfig for () {
    fn from_config(_: &mut Config<'_>) -> Result<Self, ConfigError> {
        Ok(())
    }
}
