//! A [`Capability`] as the provider SDK wants it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};
use wasmcloud_provider_sdk::{
    HealthCheckRequest, HealthCheckResponse, LinkConfig, LinkDeleteInfo, Provider,
    ProviderConfigUpdate,
};

use crate::{Capability, Environment, LinkError, LinkId, RawConfig, ServingState};

/// Joins a capability to its environment. Clones share both.
pub(crate) struct Adapter<C: Capability> {
    capability: C,
    environment: Environment<C::Link>,
    drain: Duration,
    /// When the provider was first asked to stop.
    stopping: Arc<OnceLock<Instant>>,
    /// The links that were deleted and not put again. Whoever changes a link holds the lock until the
    /// table, the health and the capability agree on it: a link that is looked at again must not
    /// come back when it is deleted meanwhile.
    deleted: Arc<Mutex<HashSet<LinkId>>>,
}

impl<C: Capability> Clone for Adapter<C> {
    fn clone(&self) -> Self {
        Self {
            capability: self.capability.clone(),
            environment: self.environment.clone(),
            drain: self.drain,
            stopping: Arc::clone(&self.stopping),
            deleted: Arc::clone(&self.deleted),
        }
    }
}

impl<C: Capability> Adapter<C> {
    pub(crate) fn new(capability: C, environment: Environment<C::Link>, drain: Duration) -> Self {
        Self {
            capability,
            environment,
            drain,
            stopping: Arc::default(),
            deleted: Arc::default(),
        }
    }

    /// A link that the host put.
    fn put_link(&self, id: LinkId, config: RawConfig) -> Result<(), LinkError> {
        let mut deleted = self.change();
        deleted.remove(&id);
        self.make_link(id, config)
    }

    /// A link that the host was heard to have, though it never put it here.
    pub(crate) fn recover_link(&self, id: LinkId, config: RawConfig) {
        let deleted = self.change();
        if deleted.contains(&id) || self.environment.links.contains(&id) {
            return;
        }
        warn!(link = %id, "the host's message about a link was lost; its config is read instead");
        log(self.make_link(id, config));
    }

    /// Whether the host has said anything of this link to this process.
    pub(crate) fn has_heard_of(&self, id: &LinkId) -> bool {
        let deleted = self.change();
        deleted.contains(id) || self.environment.links.contains(id)
    }

    fn delete_link(&self, id: LinkId) {
        let mut deleted = self.change();
        self.environment.health.well(&subject(&id));
        if let Some(link) = self.environment.links.remove(&id) {
            info!(link = %id, "link is gone");
            self.capability.unlink(&id, link);
        }
        deleted.insert(id);
    }

    // A poisoned lock only means that a capability panicked; the set itself is whole.
    fn change(&self) -> MutexGuard<'_, HashSet<LinkId>> {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long ago the provider was first asked to stop.
    pub(crate) fn stopping_for(&self) -> Duration {
        self.stopping.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// Puts a link into the table, with the labels as they are now. Called by who holds the lock:
    /// labels that change later find the link in the table.
    fn make_link(&self, id: LinkId, config: RawConfig) -> Result<(), LinkError> {
        let subject = subject(&id);
        let known = self.environment.labels.current();
        let links = &self.environment.links;
        let put = links.put(id.clone(), config, known.as_ref(), |id, config, labels| {
            Ok(self.capability.link(id, config.parse(labels)?))
        });
        match &put {
            Ok(()) => {
                info!(link = %id, "link is ready");
                self.environment.health.well(&subject);
            }
            Err(err @ LinkError::Refused { .. }) => {
                self.environment.health.trouble(subject, err.to_string());
            }
            // What was wrong with it before is not what it waits for now.
            Err(_) => self.environment.health.well(&subject),
        }
        put
    }

    /// Looks at the links again whenever the labels become known or change.
    pub(crate) async fn follow_labels(self) {
        let mut labels = self.environment.labels.clone();
        while labels.changed().await.is_some() {
            self.retry_unready();
        }
    }

    fn retry_unready(&self) {
        let _changing = self.change();
        for (id, config) in self.environment.links.unready() {
            log(self.make_link(id, config));
        }
    }
}

impl<C: Capability> Provider for Adapter<C> {
    async fn receive_link_config_as_target(&self, link: LinkConfig<'_>) -> anyhow::Result<()> {
        let put = self.put_link(
            LinkId::new(link.source_id, link.link_name),
            RawConfig::new(link.config, link.secrets),
        );
        match put {
            // The SDK logs this, and forgets the link, so that it can be put again with better
            // config. Callers and the health learn why from the table.
            Err(err @ LinkError::Refused { .. }) => Err(err.into()),
            // A link that waits for labels counts as put. If it is refused when they are known, the
            // SDK takes a better one of the same name for a duplicate and drops it: such a link has
            // to be deleted first, which wadm does when the manifest renames it.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn delete_link_as_target(&self, info: impl LinkDeleteInfo) -> anyhow::Result<()> {
        self.delete_link(LinkId::new(info.get_source_id(), info.get_link_name()));
        Ok(())
    }

    async fn on_config_update(&self, update: impl ProviderConfigUpdate) -> anyhow::Result<()> {
        let newer = RawConfig::new(update.get_values(), []);
        self.capability
            .reconfigure(self.environment.config.with_values(newer));
        Ok(())
    }

    async fn health_request(&self, _: &HealthCheckRequest) -> anyhow::Result<HealthCheckResponse> {
        Ok(self.environment.health.response())
    }

    /// Called by the SDK when the host stops the provider, and at the end in any case.
    async fn shutdown(&self) -> anyhow::Result<()> {
        if self.stopping.set(Instant::now()).is_err() {
            return Ok(());
        }
        self.environment.serving.stop();
        // The loop keeps the drain's limit itself; this one is for a loop that is gone.
        let stopped = self.environment.serving.reached(ServingState::Stopped);
        let limit = self.drain.saturating_add(Duration::from_millis(20));
        let _ = tokio::time::timeout(limit, stopped).await;
        self.capability.shutdown().await;
        Ok(())
    }
}

/// For links that are made without the SDK, which logs those that it puts.
fn log(made: Result<(), LinkError>) {
    match made {
        Ok(()) => {}
        Err(err @ LinkError::Refused { .. }) => warn!(%err, "link is refused"),
        Err(err) => debug!(%err, "link is not ready yet"),
    }
}

/// What the health calls a link.
pub(crate) fn subject(id: &LinkId) -> String {
    format!("link {id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, ConfigError, FromConfig, Health, LabelSet, Labels, Links, Serving};
    use std::sync::mpsc;
    use tokio::sync::watch;

    struct Url;

    impl FromConfig for Url {
        fn from_config(config: &mut Config<'_>) -> Result<Self, ConfigError> {
            config.required("url").map(|_| Self)
        }
    }

    /// Says when it makes a link, and waits for what happens meanwhile.
    #[derive(Clone)]
    struct Slow {
        entered: mpsc::Sender<()>,
        meanwhile: Arc<Mutex<mpsc::Receiver<()>>>,
    }

    impl Capability for Slow {
        type LinkConfig = Url;
        type Link = ();

        fn start(_: Environment<()>) -> anyhow::Result<Self> {
            anyhow::bail!("made by the test")
        }

        fn link(&self, _: &LinkId, _: Url) {
            self.entered.send(()).unwrap();
            // Nothing happens when whoever would do it has to wait for this: that is no failure.
            let meanwhile = self.meanwhile.lock().unwrap();
            let _ = meanwhile.recv_timeout(Duration::from_millis(200));
        }
    }

    #[test]
    fn a_link_that_is_deleted_while_it_is_made_again_does_not_come_back() {
        let (entered, in_link) = mpsc::channel();
        let (happened, meanwhile) = mpsc::channel();
        let meanwhile = Arc::new(Mutex::new(meanwhile));
        let (known, labels) = watch::channel(None);
        let environment = Environment {
            provider_id: "VSLOW".to_owned(),
            host_id: "NHOST".to_owned(),
            lattice: "test".to_owned(),
            nats: crate::Nats::default(),
            config: RawConfig::default(),
            labels: Labels::new(labels),
            links: Links::default(),
            serving: Serving::default(),
            health: Health::default(),
        };
        let slow = Slow { entered, meanwhile };
        let adapter = Adapter::new(slow, environment.clone(), Duration::ZERO);
        let id = LinkId::new("hello", "default");
        let config = RawConfig::from_values([("url", "{label:valkey}")]);
        let waits = adapter.put_link(id.clone(), config.clone());
        assert_eq!(waits, Err(LinkError::Pending(id.clone())));

        known.send_replace(Some(LabelSet::from_iter([("valkey", "v:1")])));
        let retry = std::thread::spawn({
            let adapter = adapter.clone();
            move || adapter.retry_unready()
        });
        in_link.recv_timeout(Duration::from_secs(5)).unwrap();
        adapter.delete_link(id.clone());
        let _ = happened.send(());
        retry.join().unwrap();
        let missing = Err(LinkError::Missing(id.clone()));
        assert_eq!(environment.links.get(&id), missing);
        // Nor does it when somebody who has not heard of it says that it is there.
        adapter.recover_link(id.clone(), config);
        assert_eq!(environment.links.get(&id), missing);
        assert_eq!(environment.health.reason(), None);
    }
}
