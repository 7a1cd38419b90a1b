//! What differs between the metadata providers.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use provider_kit::{FromConfig, LabelSet};

use crate::Metadata;

/// A platform that knows about its machines.
pub trait Platform: Sized + Send + Sync + 'static {
    /// The config of the provider and of its links.
    type Config: FromConfig + Clone + PartialEq + Send + Sync + 'static;

    /// A link's own config, over that of the provider.
    fn merge(link: &Self::Config, provider: &Self::Config) -> Self::Config;

    /// How often to resolve again.
    fn refresh(config: &Self::Config) -> Duration;

    /// Makes a resolver for this config. Called again when the config changes. Does no I/O.
    fn new(config: Self::Config) -> Self;

    /// Asks the platform once. The caller bounds the time this may take, and drops it then.
    fn resolve(
        &mut self,
        labels: &LabelSet,
        host_id: &str,
    ) -> impl Future<Output = Result<Metadata, Unresolved>> + Send;
}

/// The platform did not give all of its metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unresolved {
    /// Why, for the health and the log. Holds no secret.
    pub reason: String,
    /// What can be said without the platform. Used only while there is nothing better: an
    /// earlier complete answer stays in place.
    pub fallback: Option<Box<Metadata>>,
}

/// An error and its causes, in one line: the reason of an [`Unresolved`].
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(err) = cause {
        line.push_str(": ");
        line.push_str(&err.to_string());
        cause = err.source();
    }
    line
}
