//! The life of links, and when to be in the queue group.

use std::collections::BTreeMap;
use std::sync::Arc;

use provider_kit::{Capability, Environment, Health, LabelSet, LinkId, Links, RawConfig, Serving};
use tracing::Instrument as _;

use crate::config::LinkConfig;
use crate::pool::Pool;
use crate::store::Store;
use crate::valkey::Valkey;

/// The provider: links, each with a store, over a pool of shared connections.
#[derive(Clone, Debug)]
pub struct Provider {
    pub(crate) links: Links<Store<Valkey>>,
    health: Health,
    pool: Arc<Pool>,
}

impl Capability for Provider {
    type LinkConfig = LinkConfig;
    type Link = Store<Valkey>;

    fn start(environment: Environment<Self::Link>) -> anyhow::Result<Self> {
        // Not in the queue group before there is a store to serve from.
        environment.serving.pause();
        check_own_config(&environment.config, &environment.health);
        let pool = Arc::new(Pool::default());
        let health = environment.health.clone();
        let attendance = attend(pool.clone(), environment.serving, health);
        tokio::spawn(attendance.in_current_span());
        Ok(Self {
            links: environment.links,
            health: environment.health,
            pool,
        })
    }

    fn reconfigure(&self, config: RawConfig) {
        check_own_config(&config, &self.health);
    }

    fn link(&self, _: &LinkId, config: LinkConfig) -> Self::Link {
        let LinkConfig {
            endpoint,
            buckets,
            limits,
            timeout,
        } = config;
        // A later mode (replication) is another `Backend`, chosen here.
        Store::new(
            Valkey::new(self.pool.connection(endpoint), timeout),
            buckets,
            limits,
        )
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

/// Keeps the provider in the queue group exactly while at least one of its connections is usable,
/// and says in its health which ones are not.
///
/// One unreachable store must not take the others' links down, so a provider whose links lead to
/// several stores stays as long as one answers; calls to the others get an error at once. To fail over
/// per store, run one provider per store.
async fn attend(pool: Arc<Pool>, serving: Serving, health: Health) {
    let mut reported = BTreeMap::<String, String>::new();
    loop {
        let (mut usable, mut faults) = (false, BTreeMap::new());
        for connection in pool.in_use() {
            match connection.fault() {
                None => usable = true,
                Some(reason) => {
                    faults.insert(connection.endpoint().to_string(), reason);
                }
            }
        }
        if usable {
            serving.resume();
        } else {
            serving.pause();
        }
        for subject in reported
            .keys()
            .filter(|subject| !faults.contains_key(*subject))
        {
            health.well(subject);
        }
        for (subject, reason) in &faults {
            health.trouble(subject, reason);
        }
        reported = faults;
        pool.changed().await;
    }
}
