//! A region within the test's own process: a Valkey and what keeps it in step with the others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keyvalue_valkey::bucket::{Buckets, STATUS, STATUS_KEY};
use keyvalue_valkey::limit::Limits;
use keyvalue_valkey::replicated::{Ack, Replica, Replicated, Settings};
use keyvalue_valkey::{Error, Store};
use provider_harness::NatsServer;
use provider_kit::Nats;

use super::{eventually, Server};

/// Long enough for a region to join on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

pub struct Region {
    pub server: Server,
    pub replica: Arc<Replica>,
    pub store: Store<Replicated>,
}

pub fn settings(region: &str) -> Settings {
    Settings::new("test", "default", region.parse().unwrap())
}

impl Region {
    /// A region that serves.
    pub async fn start(nats: &NatsServer, name: &str) -> Self {
        let region = Self::over(Server::start(), nats, settings(name));
        region.serves().await;
        region
    }

    /// A region over a store that is there already.
    pub fn over(server: Server, nats: &NatsServer, settings: Settings) -> Self {
        let replica = open(&server, nats, settings);
        let store = store(&replica, Ack::Local);
        Self {
            server,
            replica,
            store,
        }
    }

    pub async fn serves(&self) -> Duration {
        serves(&self.replica).await
    }

    /// A store whose writes wait for other regions.
    pub fn store_with_ack(&self, count: usize, within: Duration) -> Store<Replicated> {
        store(&self.replica, Ack::Regions { count, within })
    }

    /// Waits until a key has a value here.
    pub async fn shows(&self, key: &str, value: Option<&str>) -> Duration {
        let wanted = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
        eventually(&format!("{key} is {value:?}"), SOON, || async {
            self.store.get("default", key).await == Ok(wanted.clone())
        })
        .await
    }

    pub async fn status(&self) -> serde_json::Value {
        let status = self.store.get(STATUS, STATUS_KEY).await.unwrap().unwrap();
        serde_json::from_slice(&status).unwrap()
    }

    /// Waits until the status says something at a place.
    pub async fn says(&self, pointer: &str, wanted: impl Into<serde_json::Value>) {
        let wanted = wanted.into();
        eventually(&format!("{pointer} is {wanted}"), SOON, || async {
            self.status().await.pointer(pointer) == Some(&wanted)
        })
        .await;
    }
}

pub fn open(server: &Server, nats: &NatsServer, settings: Settings) -> Arc<Replica> {
    Arc::new(Replica::open(
        server.endpoint(),
        settings,
        Nats::at(nats.url()),
        Arc::default(),
    ))
}

pub fn store(replica: &Arc<Replica>, ack: Ack) -> Store<Replicated> {
    let replicated = Replicated::new(replica.clone(), Duration::from_secs(5), ack);
    Store::new(replicated, Buckets::default(), Limits::DEFAULT)
}

pub async fn serves(replica: &Replica) -> Duration {
    eventually("the region serves", SOON, || async {
        replica.fault().is_none()
    })
    .await
}

/// An increment that is taken back up as long as the store says that it did nothing.
pub async fn increment(store: &Store<Replicated>, key: &str) -> Result<u64, Error> {
    store.increment("default", key, 1).await
}
