//! The backend of a link, whatever its mode, and how the link comes by it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use bytes::Bytes;
use provider_kit::{Health, LinkId, Nats};
use tracing::{info, warn};

use crate::backend::{Backend, Page};
use crate::bucket::{Bucket, Key};
use crate::config::LinkConfig;
use crate::error::{Error, Result};
use crate::limit::Limits;
use crate::mode::Mode;
use crate::pool::Pool;
use crate::replicated::Replicated;
use crate::valkey::Valkey;

/// Keeps a link's data in the way that its config asks for, or refuses to for as long as other links use
/// the store in another way. Cheap to clone; clones are one keeper.
#[derive(Clone, Debug)]
pub struct Keeper(Arc<RwLock<Kept>>);

/// How a link's data is kept.
#[derive(Clone, Debug)]
enum Kept {
    /// In one Valkey.
    Plain(Valkey),
    /// In every region's Valkey.
    Replicated(Replicated),
    /// Not at all: other links use the store in another way.
    Refused(Error),
}

impl Keeper {
    fn new(kept: Kept) -> Self {
        Self(Arc::new(RwLock::new(kept)))
    }

    /// How it is now. A copy, which shares the store: no call waits with the lock held.
    fn kept(&self) -> Kept {
        // Nothing panics under the lock.
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }

    fn keep(&self, kept: Kept) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = kept;
    }
}

/// Gives links their keepers, and a refused link its store once what is in the way is gone.
#[derive(Debug)]
pub(crate) struct Keepers {
    pool: Arc<Pool>,
    lattice: String,
    nats: Nats,
    health: Health,
    /// The refused links. Whoever changes a link's standing holds the lock until the pool, the map and
    /// the health agree on it: a link that is tried again must not come back when it goes meanwhile.
    waiting: Mutex<BTreeMap<LinkId, Waiting>>,
}

/// A refused link.
#[derive(Debug)]
struct Waiting {
    config: LinkConfig,
    /// Weak, as nothing is opened for a keeper that no link has any more.
    keeper: Weak<RwLock<Kept>>,
}

impl Keepers {
    pub(crate) fn new(pool: Arc<Pool>, lattice: String, nats: Nats, health: Health) -> Self {
        Self {
            pool,
            lattice,
            nats,
            health,
            waiting: Mutex::default(),
        }
    }

    /// The keeper of a link that was put. If it refuses, the link waits for [`Keepers::retry`].
    pub(crate) fn open(&self, id: &LinkId, config: LinkConfig) -> Keeper {
        let mut waiting = self.lock();
        match self.kept(&config) {
            Ok(kept) => {
                waiting.remove(id);
                self.health.well(&store_of(id));
                Keeper::new(kept)
            }
            Err(error) => {
                self.report(id, &error);
                let keeper = Keeper::new(Kept::Refused(error));
                let link = Waiting {
                    config,
                    keeper: Arc::downgrade(&keeper.0),
                };
                waiting.insert(id.clone(), link);
                keeper
            }
        }
    }

    /// The link is gone.
    pub(crate) fn close(&self, id: &LinkId) {
        let mut waiting = self.lock();
        waiting.remove(id);
        self.health.well(&store_of(id));
    }

    /// Tries the refused links again. To be called whenever the pool has changed: what is in the way of a
    /// link is in the pool.
    pub(crate) fn retry(&self) {
        self.lock().retain(|id, link| {
            let Some(keeper) = link.keeper.upgrade().map(Keeper) else {
                self.health.well(&store_of(id));
                return false;
            };
            match self.kept(&link.config) {
                Ok(kept) => {
                    info!(link = %id, "a link that was refused gets its store");
                    keeper.keep(kept);
                    self.health.well(&store_of(id));
                    false
                }
                Err(error) => {
                    // Said once per reason, not once per attempt.
                    if !matches!(keeper.kept(), Kept::Refused(said) if said == error) {
                        self.report(id, &error);
                        keeper.keep(Kept::Refused(error));
                    }
                    true
                }
            }
        });
    }

    fn kept(&self, config: &LinkConfig) -> Result<Kept> {
        let (timeout, answer_bytes) = (config.timeout, config.limits.batch_bytes);
        let endpoint = config.endpoint.clone();
        match &config.mode {
            Mode::Plain => {
                let connection = self.pool.connection(endpoint)?;
                let valkey = Valkey::new(connection, timeout);
                Ok(Kept::Plain(valkey.with_answer_bytes(answer_bytes)))
            }
            Mode::Replicated(settings, ack) => {
                let mut settings = settings.clone();
                settings.lattice.clone_from(&self.lattice);
                let replica = self.pool.replica(endpoint, &settings, &self.nats)?;
                let replicated = Replicated::new(replica, timeout, *ack);
                Ok(Kept::Replicated(replicated.with_answer_bytes(answer_bytes)))
            }
        }
    }

    fn report(&self, id: &LinkId, error: &Error) {
        warn!(link = %id, %error, "a link gets no store");
        self.health.trouble(store_of(id), error.to_string());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkId, Waiting>> {
        // Nothing panics under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the health calls a link that gets no store. Its config by itself is well.
fn store_of(id: &LinkId) -> String {
    format!("the store of link {id}")
}

macro_rules! kept {
    ($keeper:expr, $backend:ident => $call:expr) => {
        match $keeper.kept() {
            Kept::Plain($backend) => $call.await,
            Kept::Replicated($backend) => $call.await,
            Kept::Refused(error) => Err(error),
        }
    };
}

impl Backend for Keeper {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        kept!(self, backend => backend.get(key))
    }

    async fn set(&self, key: &Key, value: &Bytes) -> Result<()> {
        kept!(self, backend => backend.set(key, value))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        kept!(self, backend => backend.delete(key))
    }

    async fn exists(&self, key: &Key) -> Result<bool> {
        kept!(self, backend => backend.exists(key))
    }

    async fn increment(&self, key: &Key, delta: u64) -> Result<u64> {
        kept!(self, backend => backend.increment(key, delta))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        kept!(self, backend => backend.get_many(keys))
    }

    async fn set_many(&self, entries: &[(Key, Bytes)]) -> Result<()> {
        kept!(self, backend => backend.set_many(entries))
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<()> {
        kept!(self, backend => backend.delete_many(keys))
    }

    async fn list(&self, bucket: &Bucket, cursor: u64, limits: &Limits) -> Result<Page> {
        kept!(self, backend => backend.list(bucket, cursor, limits))
    }

    fn has_status(&self) -> bool {
        match self.kept() {
            Kept::Plain(backend) => backend.has_status(),
            Kept::Replicated(backend) => backend.has_status(),
            Kept::Refused(_) => false,
        }
    }

    async fn status(&self) -> Result<Bytes> {
        kept!(self, backend => backend.status())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use provider_kit::{LabelSet, RawConfig};

    use super::*;

    /// Nobody listens there, which is no matter: who may use a database is decided before.
    const URL: &str = "redis://127.0.0.1:1";

    fn plain() -> LinkConfig {
        let raw = RawConfig::from_values([("url", URL)]);
        raw.parse(&LabelSet::default()).unwrap()
    }

    fn replicated() -> LinkConfig {
        let config = [("url", URL), ("mode", "replicated"), ("region", "iad")];
        let raw = RawConfig::from_values(config);
        raw.parse(&LabelSet::default()).unwrap()
    }

    fn keepers() -> Keepers {
        let nats = Nats::at("nats://127.0.0.1:1");
        Keepers::new(Arc::default(), "test".into(), nats, Health::default())
    }

    /// Whether the pool has changed, without a wait in which other tasks could change it.
    fn changed(keepers: &Keepers) -> bool {
        keepers.pool.changed().now_or_never().is_some()
    }

    #[tokio::test]
    async fn the_last_call_in_flight_of_what_was_in_the_way_lets_a_refused_link_have_its_store() {
        let keepers = keepers();
        let (one, other) = (
            LinkId::new("one", "default"),
            LinkId::new("other", "default"),
        );
        let in_the_way = keepers.open(&other, plain());
        let refused = keepers.open(&one, replicated());
        assert!(changed(&keepers), "a connection came");
        assert!(matches!(refused.kept(), Kept::Refused(_)));
        assert!(keepers.health.reason().is_some());

        let in_flight = in_the_way.kept();
        keepers.close(&other);
        drop(in_the_way);
        keepers.retry();
        assert!(
            !changed(&keepers),
            "the connection is still there, and trying is no change"
        );
        assert!(matches!(refused.kept(), Kept::Refused(_)));

        drop(in_flight);
        assert!(changed(&keepers), "the connection is gone");
        keepers.retry();
        assert!(matches!(refused.kept(), Kept::Replicated(_)));
        assert_eq!(keepers.health.reason(), None);
    }

    #[tokio::test]
    async fn nothing_is_opened_for_a_refused_link_that_is_gone() {
        let keepers = keepers();
        let ids =
            ["holds", "deleted", "replaced"].map(|component| LinkId::new(component, "default"));
        let [holds, deleted, replaced] = &ids;
        let in_the_way = keepers.open(holds, replicated());
        let refused = keepers.open(deleted, plain());
        keepers.close(deleted);
        // Its config is worse than refused now, of which nobody is told here.
        drop(keepers.open(replaced, plain()));
        drop(in_the_way);
        keepers.retry();
        assert!(matches!(refused.kept(), Kept::Refused(_)));
        assert!(keepers.pool.in_use().is_empty());
        assert_eq!(keepers.health.reason(), None);
    }
}
