//! Connections, shared by links that mean the same endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::connection::Connection;
use crate::endpoint::Endpoint;

/// All connections in use. A connection closes with the last link that holds it.
#[derive(Debug, Default)]
pub struct Pool {
    connections: Mutex<HashMap<Endpoint, Weak<Connection>>>,
    changed: Arc<Notify>,
}

impl Pool {
    /// The connection to an endpoint, credentials included; opened if no link has it yet.
    pub fn connection(&self, endpoint: Endpoint) -> Arc<Connection> {
        let mut connections = self.lock();
        connections.retain(|_, connection| connection.strong_count() > 0);
        if let Some(connection) = connections.get(&endpoint).and_then(Weak::upgrade) {
            return connection;
        }
        let connection = Arc::new(Connection::open(endpoint.clone(), self.changed.clone()));
        connections.insert(endpoint, Arc::downgrade(&connection));
        // A new connection is a change too: its fault is that it is pending.
        self.changed.notify_one();
        connection
    }

    /// The connections in use.
    pub fn in_use(&self) -> Vec<Arc<Connection>> {
        self.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// Waits until a connection was added or dropped, or its fault changed, since the last wait.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Endpoint, Weak<Connection>>> {
        // Nothing panics under the lock; a map left behind by a panic elsewhere is still whole.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
