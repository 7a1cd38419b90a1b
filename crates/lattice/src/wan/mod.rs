//! The WAN between a region's NATS leaf node and the hub: a TCP forwarder that adds delay and can be
//! cut like a real dead link.
//!
//! The hub must not tell leaves its own address (`leafnodes { no_advertise: true }`): a leaf adds what it is told to its
//! list, and after the first cut it comes back past this link.
//!
//! - [`WanLink`] (here): the listener, its controls and its connections' owner
//! - `rule`: what holds on the link now (delay, target, cuts), and what that means to a connection
//! - `connection`: the life of one connection
//! - `lane`: one direction of one connection, the delay line itself
//! - `status`: counters and what [`WanLink::status`] returns

mod connection;
mod lane;
mod rule;
mod status;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::{watch, Semaphore};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

pub use rule::Direction;
pub use status::{CutStatus, LaneStatus, WanStatus};

use rule::Rules;
use status::Counters;

/// Connections one link carries at once; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 1024;

/// How long accepting pauses after an error such as "too many open files".
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A TCP forwarder from a loopback port to `target` that delivers every byte `one_way` after it was
/// received, in order, in each direction.
///
/// The delay does not limit throughput: bytes in flight are held in memory, bounded per connection and
/// direction (32 MiB, then the sender feels back-pressure). Half-closed connections stay half-closed.
/// When the target refuses, the accepted connection is closed.
///
/// Every task belongs to the link and ends when it is dropped.
#[derive(Debug)]
pub struct WanLink {
    addr: SocketAddr,
    rules: Arc<watch::Sender<Rules>>,
    counters: Arc<Counters>,
    _accepting: AbortOnDropHandle<()>,
}

impl WanLink {
    /// Listens on a free loopback port and forwards to `target`, which need not be up yet.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn bind(target: SocketAddr, one_way: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let (rules, _) = watch::channel(Rules::new(target, one_way));
        let rules = Arc::new(rules);
        let counters = Arc::new(Counters::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&rules), Arc::clone(&counters)));
        Ok(Self {
            addr,
            rules,
            counters,
            _accepting: AbortOnDropHandle::new(accepting),
        })
    }

    /// Where a leaf connects instead of to the hub.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the delay, for bytes already in flight too.
    pub fn set_one_way(&self, one_way: Duration) {
        self.rules.send_modify(|rules| rules.one_way = one_way);
    }

    /// Makes the link a black hole in `direction`: what is in flight and what is sent from now on is lost, and
    /// neither side is told. New connections are accepted and get nothing. A second cut adds its direction.
    pub fn cut(&self, direction: Direction) {
        self.rules
            .send_modify(|rules| rules.cut(direction, SystemTime::now()));
        info!(?direction, "wan link cut");
    }

    /// Ends every cut. Connections that lived through one are reset, since their streams lost bytes; new ones
    /// pass. Does nothing on a link that is not cut.
    pub fn heal(&self) {
        if self.rules.send_if_modified(Rules::heal) {
            info!("wan link healed");
        }
    }

    /// What the link carries now.
    #[must_use]
    pub fn status(&self) -> WanStatus {
        let rules = self.rules.borrow().clone();
        self.counters.status(self.addr, &rules)
    }
}

async fn accept(listener: TcpListener, rules: Arc<watch::Sender<Rules>>, counters: Arc<Counters>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed, so a missing permit cannot happen.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, listener.accept().await)
        };
        tokio::select! {
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    warn!(%error, "wan connection task failed");
                }
            }
            (slot, accepted) = next => match accepted {
                Ok((client, _)) => {
                    let open = counters.opened();
                    let (rules, counters) = (rules.subscribe(), Arc::clone(&counters));
                    connections.spawn(async move {
                        connection::carry(client, rules, counters).await;
                        drop((open, slot));
                    });
                }
                Err(error) => {
                    debug!(%error, "wan link could not accept");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            },
        }
    }
}
