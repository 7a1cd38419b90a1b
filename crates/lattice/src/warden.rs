//! Restarts wasmCloud hosts that can no longer hear the hub.
//!
//! A host watches links and config through JetStream consumers. They die with the hub's NATS
//! server, and with a link that was cut for longer than the consumers live without interest, and
//! the host never makes new ones: it goes on serving what it has, but nothing deployed afterwards
//! reaches it. So the hosts are restarted, one region at a time, each only after the one before
//! serves again; at home the new host starts before the old one ends, as the store is there.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::application;
use crate::error::Error;
use crate::lattice::{leaf_ready, Lattice};
use crate::place::Place;
use crate::region::HOME;
use crate::supervise::State;

/// How long a restarted region may take to serve before the next one's turn comes regardless.
const TURN: Duration = Duration::from_secs(60);

/// The regions whose hosts are to be restarted.
#[derive(Debug, Default)]
pub struct Warden {
    distrusted: Mutex<BTreeSet<String>>,
    wake: Notify,
    doing: Mutex<Option<String>>,
}

impl Warden {
    /// Says that a region's host may have gone deaf.
    pub fn distrust(&self, region: &str) {
        self.lock().insert(region.to_owned());
        self.wake.notify_one();
    }

    /// What is being done, for people.
    #[must_use]
    pub fn doing(&self) -> Option<String> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn say(&self, what: Option<String>) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Home first: all regions depend on its store.
    fn next(&self) -> Option<String> {
        let mut distrusted = self.lock();
        if distrusted.remove(HOME) {
            return Some(HOME.to_owned());
        }
        distrusted.pop_first()
    }
}

/// Watches the hub and restarts distrusted hosts, until the lattice is gone.
pub fn watch(lattice: Weak<Lattice>, now: &Lattice) -> JoinHandle<()> {
    let mut hub = now.hub.nats.watch();
    let mut starts = hub.borrow().starts;
    tokio::spawn(async move {
        loop {
            let Some(strong) = lattice.upgrade() else { return };
            tokio::select! {
                changed = hub.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let status = hub.borrow_and_update().clone();
                    if status.state == State::Running && status.starts > starts {
                        starts = status.starts;
                        hub_returned(&strong).await;
                    }
                }
                () = strong.warden.wake.notified() => {}
                // Lets the weak reference decide now and then.
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
            while let Some(region) = strong.warden.next() {
                strong.warden.say(Some(format!("restarting the host of {region}")));
                match strong.place(&region) {
                    Ok(place) if place.killed() => {}
                    Ok(place) => {
                        if let Err(error) = restart(&strong, place).await {
                            warn!(region, error = error.chain(), "a restarted host is not ready");
                        }
                    }
                    Err(error) => warn!(error = error.chain(), "cannot restart a host"),
                }
            }
            strong.warden.say(None);
        }
    })
}

async fn hub_returned(lattice: &Lattice) {
    info!("the hub has been away: restarting wadm and the hosts, one region at a time");
    lattice.warden.say(Some("the hub is back; restarting wadm".into()));
    if let Err(error) = lattice.hub.jetstream_ready(TURN).await {
        warn!(error = error.chain(), "the hub is not ready");
    }
    lattice.hub.wadm.kill(false).await;
    if let Err(error) = application::ready(&lattice.wadm, TURN).await {
        warn!(error = error.chain(), "wadm is not ready");
    }
    for place in &lattice.places {
        lattice.warden.distrust(&place.name);
    }
}

async fn restart(lattice: &Lattice, place: &Place) -> Result<(), Error> {
    info!(region = place.name, "restarting the host");
    leaf_ready(place).await?;
    let before = place.host();
    if place.name == HOME {
        // No port is bound by this host, so two can overlap.
        let old = place.start_host();
        lattice.host_ready(place).await?;
        let ready = lattice.serves_again(place, TURN).await;
        if let Some(old) = old {
            old.stop().await;
        }
        return ready;
    }
    if let Some(before) = before {
        before.stop().await;
    }
    place.start_host();
    lattice.host_ready(place).await?;
    lattice.serves_again(place, TURN).await
}
