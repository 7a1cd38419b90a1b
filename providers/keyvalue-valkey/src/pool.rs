//! Connections and replicas, shared by links that mean the same store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use provider_kit::Nats;
use replica::Status;
use tokio::sync::Notify;

use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::replicated::{Replica, Settings};

/// All stores in use. A connection closes, and a replica leaves, with the last link that holds it.
///
/// A database is either plain or a member of one replication group, and a group has one database in a
/// region: a link that wants it otherwise while others are in the way is refused. When the last of those is gone, and
/// with it the last call in flight that holds its store, [`Pool::changed`] says so.
#[derive(Debug, Default)]
pub struct Pool {
    stores: Mutex<Stores>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Stores {
    connections: HashMap<Endpoint, Weak<Connection>>,
    replicas: HashMap<Endpoint, Weak<Replica>>,
}

/// A store in use.
#[derive(Clone, Debug)]
pub enum InUse {
    /// Of links in plain mode.
    Plain(Arc<Connection>),
    /// Of links in replicated mode.
    Replicated(Arc<Replica>),
}

impl InUse {
    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Plain(connection) => connection.endpoint(),
            Self::Replicated(replica) => replica.endpoint(),
        }
    }

    /// Why components cannot be served; `None` when they can.
    pub fn fault(&self) -> Option<String> {
        match self {
            Self::Plain(connection) => connection.fault(),
            Self::Replicated(replica) => replica.fault(),
        }
    }

    /// What an operator has to know although components may be served.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Plain(_) => None,
            Self::Replicated(replica) => replica.trouble(),
        }
    }
}

impl Pool {
    /// The connection to an endpoint, credentials included; opened if no link has it yet.
    ///
    /// # Errors
    ///
    /// [`Error::LinkRefused`] when the database is replicated.
    pub fn connection(&self, endpoint: Endpoint) -> Result<Arc<Connection>> {
        let mut stores = self.lock();
        if let Some(replica) = stores.replica_of(&endpoint) {
            let group = &replica.settings().group;
            return Err(refused(format!(
                "its database {endpoint} is replicated as group `{group}` by another link"
            )));
        }
        let known = stores.connections.get(&endpoint).and_then(Weak::upgrade);
        if let Some(connection) = known {
            return Ok(connection);
        }
        let connection = Arc::new(Connection::open(endpoint.clone(), self.changed.clone()));
        let weak = Arc::downgrade(&connection);
        stores.connections.insert(endpoint, weak);
        // A new connection is a change too: its fault is that it is pending.
        self.changed.notify_one();
        Ok(connection)
    }

    /// The replica behind an endpoint, credentials included; opened if no link has it yet.
    ///
    /// # Errors
    ///
    /// [`Error::LinkRefused`] when the database is used in another way, or the group has another database.
    pub fn replica(
        &self,
        endpoint: Endpoint,
        settings: &Settings,
        nats: &Nats,
    ) -> Result<Arc<Replica>> {
        let mut stores = self.lock();
        if let Some(replica) = stores.replica_of(&endpoint) {
            return if *replica.settings() != *settings {
                Err(refused(format!(
                    "another link replicates its database {endpoint} with other settings; they have to \
                     agree on `group`, `region`, `retention_s`, `tombstone_s`, `clock_bound_ms` and `digest_s`"
                )))
            } else if *replica.endpoint() != endpoint {
                Err(refused(format!(
                    "another link replicates its database {endpoint} with other credentials"
                )))
            } else {
                Ok(replica)
            };
        }
        if stores.is_plain(&endpoint) {
            return Err(refused(format!(
                "another link uses its database {endpoint} in plain mode"
            )));
        }
        if let Some(replica) = stores.replica_in(&settings.group) {
            return Err(refused(format!(
                "another link replicates {} as group `{}`; a group has one database in a region",
                replica.endpoint(),
                settings.group
            )));
        }
        let replica = Arc::new(Replica::open(
            endpoint.clone(),
            settings.clone(),
            nats.clone(),
            self.changed.clone(),
        ));
        let weak = Arc::downgrade(&replica);
        stores.replicas.insert(endpoint, weak);
        self.changed.notify_one();
        Ok(replica)
    }

    /// The stores in use.
    pub fn in_use(&self) -> Vec<InUse> {
        let stores = self.lock();
        let connections = stores.connections.values().filter_map(Weak::upgrade);
        let replicas = stores.replicas.values().filter_map(Weak::upgrade);
        connections
            .map(InUse::Plain)
            .chain(replicas.map(InUse::Replicated))
            .collect()
    }

    /// What the replicated stores report that this instance leads.
    pub(crate) fn led(&self) -> Vec<Arc<Status>> {
        let led = |store| match store {
            InUse::Plain(_) => None,
            InUse::Replicated(replica) => replica.led(),
        };
        self.in_use().into_iter().filter_map(led).collect()
    }

    /// Waits until a store was added or dropped, or its fault changed, since the last wait.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Stores> {
        // Nothing panics under the lock; maps left behind by a panic elsewhere are still whole.
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores
            .connections
            .retain(|_, connection| connection.strong_count() > 0);
        stores
            .replicas
            .retain(|_, replica| replica.strong_count() > 0);
        stores
    }
}

impl Stores {
    fn replica_of(&self, endpoint: &Endpoint) -> Option<Arc<Replica>> {
        let mut same = self
            .replicas
            .iter()
            .filter(|(known, _)| known.is_same_database(endpoint));
        same.find_map(|(_, replica)| replica.upgrade())
    }

    fn replica_in(&self, group: &str) -> Option<Arc<Replica>> {
        let mut replicas = self.replicas.values().filter_map(Weak::upgrade);
        replicas.find(|replica| replica.settings().group == group)
    }

    fn is_plain(&self, endpoint: &Endpoint) -> bool {
        self.connections
            .iter()
            .any(|(known, held)| known.is_same_database(endpoint) && held.strong_count() > 0)
    }
}

fn refused(reason: String) -> Error {
    Error::LinkRefused { reason }
}
