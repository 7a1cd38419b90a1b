//! What a provider implements.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::{FromConfig, Health, Labels, LinkId, Links, Nats, RawConfig, Serving};

/// A capability provider. The same type also implements the `Handler` traits generated from its
/// WIT, with `Option<Context>` as the context.
///
/// None of these methods may wait for anybody: the SDK calls them one after the other, and
/// while one runs, the provider neither answers health checks nor stops. Connect in a spawned
/// task, and report in [`Health`]. All run inside the Tokio runtime.
pub trait Capability: Clone + Send + Sync + 'static {
    /// The config of a link.
    type LinkConfig: FromConfig;
    /// What the provider keeps for a link, for as long as there is one.
    type Link: Send + Sync + 'static;

    /// Makes the provider. Links, labels and calls come later, through `environment`.
    ///
    /// # Errors
    ///
    /// What makes it impossible to run at all. The process then ends, and the host starts it
    /// again every five seconds: prefer to run and to report in the health.
    fn start(environment: Environment<Self::Link>) -> anyhow::Result<Self>;

    /// Makes the state of a link whose config is valid. Called again when the link is put
    /// again; the new state replaces the old one.
    fn link(&self, id: &LinkId, config: Self::LinkConfig) -> Self::Link;

    /// A link is gone, and calls no longer find it. Those in flight may still hold its state.
    fn unlink(&self, id: &LinkId, link: Arc<Self::Link>) {
        let _ = (id, link);
    }

    /// The provider's own config has changed.
    fn reconfigure(&self, config: RawConfig) {
        let _ = config;
        tracing::warn!("a change of config takes effect when the provider is started again");
    }

    /// The last thing that is called: no call is in flight any more, or the time for draining
    /// is over. The host kills the process soon.
    fn shutdown(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// What a provider gets from the kit at its start. Cheap to clone.
pub struct Environment<L> {
    /// The provider's id in the lattice, which its queue group is named after.
    pub provider_id: String,
    /// The id of the host.
    pub host_id: String,
    /// The lattice.
    pub lattice: String,
    /// The lattice's NATS, for a connection of the provider's own.
    pub nats: Nats,
    /// The provider's own config, as started.
    pub config: RawConfig,
    /// The host's labels, known soon.
    pub labels: Labels,
    /// The links.
    pub links: Links<L>,
    /// Pauses and resumes serving.
    pub serving: Serving,
    /// What the provider says when it is asked how it is.
    pub health: Health,
}

impl<L> Clone for Environment<L> {
    fn clone(&self) -> Self {
        Self {
            provider_id: self.provider_id.clone(),
            host_id: self.host_id.clone(),
            lattice: self.lattice.clone(),
            nats: self.nats.clone(),
            config: self.config.clone(),
            labels: self.labels.clone(),
            links: self.links.clone(),
            serving: self.serving.clone(),
            health: self.health.clone(),
        }
    }
}

impl<L> fmt::Debug for Environment<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("provider_id", &self.provider_id)
            .field("host_id", &self.host_id)
            .field("lattice", &self.lattice)
            .field("config", &self.config)
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}
