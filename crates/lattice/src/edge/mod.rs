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
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{watch, Notify};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub use config::{EdgeConfig, HealthCheck, Limits, Upstream};
pub use status::{EdgeStatus, RegionState, RegionStatus};

use attempt::Clients;
use fleet::Fleet;
use status::Counters;
use task::OwnedExecutor;

/// Why an edge could not be made or changed.
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
    accepting: AbortOnDropHandle<()>,
    _checking: AbortOnDropHandle<()>,
    upstream_tasks: TaskTracker,
    _end: DropGuard,
}

/// What every task of an edge shares.
#[derive(Debug)]
struct Shared {
    config: EdgeConfig,
    fleet: Fleet,
    clients: Clients,
    counters: Counters,
    recheck: Notify,
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
            recheck: Notify::new(),
            config,
        });
        let stop = CancellationToken::new();
        let accepting = serve::accept(listener, Arc::clone(&shared), stop.clone());
        Ok(Self {
            addr,
            stop,
            accepting: AbortOnDropHandle::new(tokio::spawn(accepting)),
            _checking: AbortOnDropHandle::new(tokio::spawn(health::watch(Arc::clone(&shared)))),
            shared,
            upstream_tasks,
            _end: end.drop_guard(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Replaces the regions. Those that stay where they are keep their health; all that stay keep their counts; new
    /// ones are checked at once. Requests under way go on as they began.
    ///
    /// # Errors
    /// [`EdgeError::Invalid`] when a region is named twice or its code could not stand in a header.
    pub fn set_upstreams(&self, upstreams: Vec<Upstream>) -> Result<(), EdgeError> {
        config::validate_upstreams(&upstreams)?;
        self.shared.fleet.replace(upstreams);
        self.shared.recheck.notify_one();
        Ok(())
    }

    /// A snapshot of the counts and the regions.
    #[must_use]
    pub fn status(&self) -> EdgeStatus {
        self.shared
            .counters
            .status(self.addr, self.shared.fleet.status())
    }

    /// Changes value whenever a region's state or the list of regions changes; the value itself means nothing. Read
    /// [`Edge::status`] then.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.fleet.changes()
    }

    /// Takes no more connections and lets the requests under way finish, for at most `grace`.
    pub async fn stop(mut self, grace: Duration) {
        self.stop.cancel();
        // What is not done in time ends with the drop of `self`.
        let _ = timeout(grace, &mut self.accepting).await;
        let Self {
            accepting,
            _checking: checking,
            upstream_tasks,
            _end: end,
            ..
        } = self;
        drop((accepting, checking, end));
        upstream_tasks.close();
        upstream_tasks.wait().await;
    }
}
