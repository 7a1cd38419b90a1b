//! The config of a link, and that of the provider.

use std::path::PathBuf;
use std::time::Duration;

use provider_kit::{Config, ConfigError, FromConfig};

/// What a link brings.
#[derive(Debug)]
pub struct LinkConfig {
    /// `greeting`: the words before the name.
    pub greeting: String,
    /// `delay_ms`: how long to think.
    pub delay: Duration,
}

impl FromConfig for LinkConfig {
    fn from_config(config: &mut Config<'_>) -> Result<Self, ConfigError> {
        let delay = config.milliseconds("delay_ms", 0..=60_000)?;
        Ok(Self {
            greeting: config.required("greeting")?,
            delay: delay.unwrap_or_default(),
        })
    }
}

/// What the provider was started with.
#[derive(Debug)]
pub struct StartConfig {
    /// `pause_file`: while it exists, do not serve.
    pub pause_file: Option<PathBuf>,
}

impl FromConfig for StartConfig {
    fn from_config(config: &mut Config<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            pause_file: config.optional("pause_file")?.map(PathBuf::from),
        })
    }
}
