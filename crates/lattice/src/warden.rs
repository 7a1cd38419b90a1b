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

    /// What is being done, or is still to be done, for people.
    #[must_use]
    pub fn doing(&self) -> Option<String> {
        let doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        let to_come = || {
            let distrusted = self.lock();
            let region = distrusted.first()?;
            Some(format!("the host of {region} is to be restarted"))
        };
        doing.clone().or_else(to_come)
    }

    fn say(&self, what: Option<String>) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.distrusted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

/// How often the supervision looks at what nobody tells it.
const ROUND: Duration = Duration::from_secs(2);

/// Watches the hub, restarts distrusted hosts and keeps wadm at work, until the lattice is gone.
pub fn watch(lattice: Weak<Lattice>, now: &Lattice) -> JoinHandle<()> {
    let mut hub = now.hub.nats.watch();
    let mut starts = hub.borrow().starts;
    let mut pending = None;
    tokio::spawn(async move {
        loop {
            let Some(strong) = lattice.upgrade() else {
                return;
            };
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
                // Lets the weak reference decide now and then, too.
                () = tokio::time::sleep(ROUND) => pending = strong.urge_wadm(pending).await,
            }
            if !strong.warden.lock().is_empty() {
                strong.warden.say(Some("restarting hosts".into()));
            }
            let mut again = Vec::new();
            while let Some(region) = strong.warden.next() {
                strong
                    .warden
                    .say(Some(format!("restarting the host of {region}")));
                let Ok(place) = strong.place(&region) else {
                    continue;
                };
                if down_on_demand(place) {
                    // Its next host is a new one anyway.
                    continue;
                }
                if let Err(error) = restart(&strong, place).await {
                    warn!(
                        region,
                        error = error.chain(),
                        "a host could not be restarted yet"
                    );
                    again.push(region);
                }
            }
            // Without waking: they are tried again after the pause above.
            strong.warden.lock().extend(again);
            strong.warden.say(None);
        }
    })
}

async fn hub_returned(lattice: &Lattice) {
    info!("the hub has been away: restarting wadm and the hosts, one region at a time");
    lattice
        .warden
        .say(Some("the hub is back; restarting wadm".into()));
    if let Err(error) = lattice.hub.jetstream_ready(TURN).await {
        warn!(error = error.chain(), "the hub is not ready");
    }
    lattice.hub.wadm.kill(false).await;
    if let Err(error) = application::ready(&lattice.wadm, TURN).await {
        warn!(error = error.chain(), "wadm is not ready");
    }
    lattice.distrust_all();
}

fn down_on_demand(place: &Place) -> bool {
    place.killed()
        || place
            .host()
            .is_some_and(|host| host.process().status().state == State::Killed)
}

async fn restart(lattice: &Lattice, place: &Place) -> Result<(), Error> {
    info!(region = place.name, "restarting the host");
    leaf_ready(place).await?;
    if place.name != HOME {
        if let Some(before) = place.host() {
            before.stop().await;
        }
        place.start_host();
        lattice.host_ready(place).await?;
        return lattice.serves_again(place, TURN).await;
    }
    // No port is bound by this host, so two can overlap.
    let before = place.start_host();
    let ready = async {
        lattice.host_ready(place).await?;
        lattice.serves_again(place, TURN).await
    };
    let ready = ready.await;
    match before {
        Some(before) if ready.is_ok() => before.stop().await,
        Some(before) => place.reinstate(before),
        None => {}
    }
    ready
}
