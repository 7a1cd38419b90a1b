//! The life of links, and when to be in the queue group.

use std::collections::BTreeMap;
use std::sync::Arc;

use provider_kit::{Capability, Environment, Health, LabelSet, LinkId, Links, RawConfig, Serving};
use tracing::Instrument as _;

use crate::config::LinkConfig;
use crate::keeper::{Keeper, Keepers};
use crate::metrics;
use crate::pool::Pool;
use crate::store::Store;

/// The provider: links, each with a store, over a pool of shared connections and replicas.
#[derive(Clone, Debug)]
pub struct Provider {
    pub(crate) links: Links<Store<Keeper>>,
    health: Health,
    keepers: Arc<Keepers>,
}

impl Capability for Provider {
    type LinkConfig = LinkConfig;
    type Link = Store<Keeper>;

    fn start(environment: Environment<Self::Link>) -> anyhow::Result<Self> {
        // Not in the queue group before there is a store to serve from.
        environment.serving.pause();
        check_own_config(&environment.config, &environment.health);
        let pool = Arc::new(Pool::default());
        metrics::observe(&pool);
        let health = environment.health;
        let keepers = Arc::new(Keepers::new(
            pool.clone(),
            environment.lattice,
            environment.nats,
            health.clone(),
        ));
        let attendance = attend(pool, keepers.clone(), environment.serving, health.clone());
        tokio::spawn(attendance.in_current_span());
        Ok(Self {
            links: environment.links,
            health,
            keepers,
        })
    }

    fn reconfigure(&self, config: RawConfig) {
        check_own_config(&config, &self.health);
    }

    fn link(&self, id: &LinkId, config: LinkConfig) -> Self::Link {
        let (buckets, limits) = (config.buckets.clone(), config.limits);
        Store::new(self.keepers.open(id, config), buckets, limits)
    }

    fn unlink(&self, id: &LinkId, _: Arc<Self::Link>) {
        self.keepers.close(id);
    }
}

/// All config is the links'. What is given to the provider itself would be without effect, so the
/// health says so.
fn check_own_config(config: &RawConfig, health: &Health) {
    const SUBJECT: &str = "the provider's own config";
    match config.parse::<()>(&LabelSet::default()) {
        Ok(()) => health.well(SUBJECT),
        Err(error) => health.trouble(SUBJECT, error.to_string()),
    }
}

/// Keeps the provider in the queue group exactly while at least one of its stores serves: its
/// connection is usable and, if it is replicated, it is caught up. Says in the health what is wrong with each.
///
/// One unreachable store must not take the others' links down, so a provider whose links lead to
/// several stores stays as long as one answers; calls to the others get an error at once. To fail over
/// per store, run one provider per store.
///
/// Whenever a store is gone, links that were refused because of it are tried again.
async fn attend(pool: Arc<Pool>, keepers: Arc<Keepers>, serving: Serving, health: Health) {
    let mut reported = BTreeMap::<String, String>::new();
    loop {
        keepers.retry();
        let (mut serves, mut troubles) = (false, BTreeMap::new());
        for store in pool.in_use() {
            let endpoint = store.endpoint().to_string();
            if let Some(trouble) = store.trouble() {
                troubles.insert(format!("replication of {endpoint}"), trouble);
            }
            match store.fault() {
                None => serves = true,
                Some(reason) => {
                    troubles.insert(endpoint, reason);
                }
            }
        }
        if serves {
            serving.resume();
        } else {
            serving.pause();
        }
        for subject in reported
            .keys()
            .filter(|subject| !troubles.contains_key(*subject))
        {
            health.well(subject);
        }
        for (subject, reason) in &troubles {
            health.trouble(subject, reason);
        }
        reported = troubles;
        pool.changed().await;
    }
}
