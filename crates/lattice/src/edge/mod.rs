//! The edge proxy: sends a visitor to the nearest healthy region, and on to the next when that one does not answer.
//!
//! - [`Edge`] (here): binding, controls, the owner of every task
//! - [`EdgeConfig`] in `config`, [`EdgeStatus`] in `status`
//! - `serve`: visitors' connections and requests; `stall`: visitors who stop reading; `page`: the edge's own answers; `header`, `body`: what passes through
//! - `forward`: one request over all its attempts; `plan`: in which order; `attempt`: one of them; `failure`: why it failed
//! - `fleet`: the regions; `region`: what is known of one; `health`: the active checks; `pace`: how slow is normal
//! - `route`, `geo`: who is near
//! - `task`: tasks that end with the edge
//!
//! What a visitor can rely on: an answer's head, or the edge's own 503, within the deadline of the request's end;
//! requests that change something are never sent twice, except PUT and DELETE, which by definition may be.
//! `X-Served-By`, `X-Edge-Attempts` and `X-Edge-Tried` tell what happened. Every attempt is counted before it is made,
//! so that regions never saw more requests than [`EdgeStatus::attempts_total`].

mod attempt;
mod body;
mod config;
mod failure;
mod fleet;
mod forward;
pub mod geo;
mod header;
mod health;
mod pace;
mod page;
mod plan;
mod region;
mod route;
mod serve;
mod stall;
mod status;
mod task;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub use config::{EdgeConfig, HealthCheck, Limits, Upstream};
pub use status::{EdgeStatus, RegionState, RegionStatus};

use attempt::Clients;
use fleet::Fleet;
use status::Counters;
use task::OwnedExecutor;

/// Why an edge could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The configuration is not usable.
    #[error("edge configuration: {key} {reason}")]
    Invalid {
        /// The field.
        key: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The address cannot be listened on.
    #[error("edge cannot listen on {addr}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl EdgeError {
    fn invalid(key: &'static str, reason: &'static str) -> Self {
        Self::Invalid { key, reason }
    }
}

/// A running edge proxy. Dropping it ends everything at once; [`Edge::stop`] lets requests finish.
#[derive(Debug)]
pub struct Edge {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    /// Until it is stopped.
    accepting: Mutex<Option<AbortOnDropHandle<()>>>,
    checking: AbortOnDropHandle<()>,
    upstream_tasks: TaskTracker,
    end: CancellationToken,
    _end: DropGuard,
}

/// What every task of an edge shares.
#[derive(Debug)]
struct Shared {
    config: EdgeConfig,
    fleet: Fleet,
    clients: Clients,
    counters: Counters,
}

impl Edge {
    /// Binds, and starts to serve and to check the regions.
    ///
    /// # Errors
    /// [`EdgeError::Invalid`] when a value is out of its bounds or a region is named twice,
    /// [`EdgeError::Listen`] when the address is taken or not ours.
    pub async fn bind(config: EdgeConfig) -> Result<Self, EdgeError> {
        config.validate()?;
        let listening = |source| EdgeError::Listen {
            addr: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(listening)?;
        let addr = listener.local_addr().map_err(listening)?;
        let end = CancellationToken::new();
        let upstream_tasks = TaskTracker::new();
        let executor = OwnedExecutor {
            tasks: upstream_tasks.clone(),
            end: end.clone(),
        };
        let shared = Arc::new(Shared {
            fleet: Fleet::new(config.upstreams.clone(), config.health.clone()),
            clients: Clients::new(&config, executor),
            counters: Counters::default(),
            config,
        });
        let stop = CancellationToken::new();
        let accepting = serve::accept(listener, Arc::clone(&shared), stop.clone());
        Ok(Self {
            addr,
            stop,
            accepting: Mutex::new(Some(AbortOnDropHandle::new(tokio::spawn(accepting)))),
            checking: AbortOnDropHandle::new(tokio::spawn(health::watch(Arc::clone(&shared)))),
            shared,
            upstream_tasks,
            _end: end.clone().drop_guard(),
            end,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A snapshot of the counts and the regions.
    #[must_use]
    pub fn status(&self) -> EdgeStatus {
        self.shared
            .counters
            .status(self.addr, self.shared.fleet.status())
    }

    /// Takes no more connections and lets the requests under way finish, for at most `grace`. Checks end with them.
    pub async fn stop(&self, grace: Duration) {
        self.stop.cancel();
        let accepting = self
            .accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut accepting) = accepting {
            // What is not done in time ends with the handle.
            let _ = timeout(grace, &mut accepting).await;
        }
        self.checking.abort();
        self.end.cancel();
        self.upstream_tasks.close();
        self.upstream_tasks.wait().await;
    }
}
