//! A [`Capability`] as the provider SDK wants it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};
use wasmcloud_provider_sdk::{
    HealthCheckRequest, HealthCheckResponse, LinkConfig, LinkDeleteInfo, Provider,
    ProviderConfigUpdate,
};

use crate::{Capability, Environment, LabelSet, LinkError, LinkId, RawConfig, ServingState};

/// Joins a capability to its environment. Clones share both.
pub(crate) struct Adapter<C: Capability> {
    capability: C,
    environment: Environment<C::Link>,
    drain: Duration,
    stopping: Arc<AtomicBool>,
}

impl<C: Capability> Clone for Adapter<C> {
    fn clone(&self) -> Self {
        Self {
            capability: self.capability.clone(),
            environment: self.environment.clone(),
            drain: self.drain,
            stopping: Arc::clone(&self.stopping),
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
        }
    }

    fn put_link(
        &self,
        id: LinkId,
        config: RawConfig,
        labels: Option<&LabelSet>,
    ) -> Result<(), LinkError> {
        let subject = subject(&id);
        let links = &self.environment.links;
        let put = links.put(id.clone(), config, labels, |id, config, labels| {
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
            Err(_) => {}
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
        let known = self.environment.labels.current();
        for (id, config) in self.environment.links.unready() {
            match self.put_link(id, config, known.as_ref()) {
                Ok(()) => {}
                Err(err @ LinkError::Refused { .. }) => warn!(%err, "link is refused"),
                Err(err) => debug!(%err, "link is not ready yet"),
            }
        }
    }
}

impl<C: Capability> Provider for Adapter<C> {
    async fn receive_link_config_as_target(&self, link: LinkConfig<'_>) -> anyhow::Result<()> {
        let known = self.environment.labels.current();
        let put = self.put_link(
            LinkId::new(link.source_id, link.link_name),
            RawConfig::new(link.config, link.secrets),
            known.as_ref(),
        );
        // Labels that became known meanwhile may have missed this link.
        if known.is_none() && self.environment.labels.current().is_some() {
            self.retry_unready();
        }
        match put {
            // The SDK logs this, and forgets the link, so that it can be put again with better
            // config. Callers and the health learn why from the table.
            Err(err @ LinkError::Refused { .. }) => Err(err.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn delete_link_as_target(&self, info: impl LinkDeleteInfo) -> anyhow::Result<()> {
        let id = LinkId::new(info.get_source_id(), info.get_link_name());
        self.environment.health.well(&subject(&id));
        if let Some(link) = self.environment.links.remove(&id) {
            info!(link = %id, "link is gone");
            self.capability.unlink(&id, link);
        }
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
        if self.stopping.swap(true, Ordering::AcqRel) {
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

fn subject(id: &LinkId) -> String {
    format!("link {id}")
}
