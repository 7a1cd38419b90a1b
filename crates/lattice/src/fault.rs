//! Faults on demand, and their undoing.

use std::time::{Duration, Instant};

use tracing::info;

use crate::error::Error;
use crate::lattice::{leaf_ready, Lattice};
use crate::place::Place;
use crate::probe;
use crate::region::HOME;
use crate::supervise::{State, Supervised};
use crate::view::replication_of;
use crate::wan::Direction;

/// How long a revived region may take to serve.
const REVIVAL_DEADLINE: Duration = Duration::from_secs(90);
/// How long its store is waited for then; one that was away for long catches up for longer.
const JOIN_DEADLINE: Duration = Duration::from_secs(15);

impl Lattice {
    /// SIGKILLs a region, which then stays dead, or one process, which is restarted unless
    /// `hold`.
    ///
    /// # Errors
    ///
    /// There is no such region or process, or a provider shall be held.
    pub async fn kill(
        &self,
        region: &str,
        process: Option<&str>,
        hold: bool,
    ) -> Result<String, Error> {
        let place = self.place(region)?;
        match process {
            None => {
                if place.name == HOME {
                    tokio::join!(
                        self.hub.nats.kill(true),
                        self.hub.wadm.kill(true),
                        place.kill()
                    );
                } else {
                    place.kill().await;
                }
                Ok(format!("region {}", is_dead(region)))
            }
            Some(process) => {
                let held = self.is_held(place, process);
                match self.hub_process(place, process) {
                    Some(server) => server.kill(hold).await,
                    None => place.kill_process(process, hold).await?,
                }
                Ok(if hold || held {
                    is_dead(&format!("{region} {process}"))
                } else {
                    format!("{region} {process} was killed and will be restarted")
                })
            }
        }
    }

    /// SIGSTOPs a region or one process of it.
    ///
    /// # Errors
    ///
    /// There is no such region or process, or it is dead.
    pub async fn pause(&self, region: &str, process: Option<&str>) -> Result<String, Error> {
        let place = self.place(region)?;
        let what = match process {
            None => {
                if place.killed() {
                    return Err(Error::Refused(is_dead(region)));
                }
                if place.name == HOME {
                    tokio::join!(self.hub.nats.pause(), self.hub.wadm.pause());
                }
                place.pause(true).await;
                region.to_owned()
            }
            Some(process) => {
                if self.is_held(place, process) {
                    let what = format!("{region} {process}");
                    return Err(Error::Refused(is_dead(&what)));
                }
                match self.hub_process(place, process) {
                    Some(server) => server.pause().await,
                    None => place.pause_process(process, true).await?,
                }
                format!("{region} {process}")
            }
        };
        Ok(format!(
            "{what} is paused; `lattice heal {region}` lets it go on"
        ))
    }

    /// Cuts a region's link to the hub: nothing is reset, bytes just stop arriving.
    ///
    /// # Errors
    ///
    /// There is no such region.
    pub fn cut(&self, region: &str, direction: Direction) -> Result<String, Error> {
        let place = self.place(region)?;
        place.link.cut(direction);
        Ok(format!(
            "{region} is cut off; `lattice heal {region}` mends the link"
        ))
    }

    /// Undoes `cut` and `pause`, in one region or in all.
    ///
    /// # Errors
    ///
    /// There is no such region.
    pub async fn heal(&self, region: Option<&str>) -> Result<String, Error> {
        let places: Vec<&Place> = match region {
            Some(region) => vec![self.place(region)?],
            None => self.places.iter().collect(),
        };
        for place in places {
            let hub_was_paused = place.name == HOME && paused(&self.hub.nats);
            if place.name == HOME {
                self.hub.nats.resume().await;
                self.hub.wadm.resume().await;
            }
            let host_was_paused = place.host().is_some_and(|host| paused(host.process()));
            let was_apart =
                host_was_paused || paused(&place.leaf) || place.link.status().cut.is_some();
            place.pause(false).await;
            place.link.heal();
            // The hosts' watchers do not survive it (docs/failure-model.md).
            if hub_was_paused {
                self.distrust_all();
            } else if was_apart {
                self.warden.distrust(&place.name);
            }
        }
        Ok(format!("{} healed", region.unwrap_or("every region")))
    }

    /// Has every host restarted, one region at a time.
    pub(crate) fn distrust_all(&self) {
        for place in &self.places {
            self.warden.distrust(&place.name);
        }
    }

    /// Starts again what was killed in a region, or one process, and waits until the region
    /// serves.
    ///
    /// # Errors
    ///
    /// There is no such region or process, or it does not serve in time.
    pub async fn revive(&self, region: &str, process: Option<&str>) -> Result<String, Error> {
        let started = Instant::now();
        let place = self.place(region)?;
        let apart = place.name == HOME || place.killed() || place.link.status().cut.is_some();
        let serving = process.is_none() && !apart && self.known_healthy(place).is_ok();
        match process {
            Some(process) => match self.hub_process(place, process) {
                Some(server) => server.revive().await,
                None => {
                    let leaf_was_away = process == "nats" && !running(&place.leaf);
                    place.revive_process(process).await?;
                    if leaf_was_away {
                        self.warden.distrust(region);
                    }
                }
            },
            None => {
                if place.name == HOME {
                    self.hub.nats.revive().await;
                    self.hub.jetstream_ready(Duration::from_secs(15)).await?;
                    self.hub.wadm.revive().await;
                }
                if place.link.status().cut.is_some() && !place.killed() {
                    self.warden.distrust(region);
                }
                place.link.heal();
                place.revive().await?;
                leaf_ready(place).await?;
                self.host_ready(place).await?;
            }
        }
        self.serves_again(place, REVIVAL_DEADLINE).await?;
        let seconds = started.elapsed().as_secs_f64();
        info!(region, seconds, "revived");
        if serving {
            return Ok(format!("{region} serves; no process of it was dead"));
        }
        let store = self.store_joined(place).await;
        Ok(format!("{region} serves again after {seconds:.1} s{store}"))
    }

    /// Waits until the store of a region serves that replicates, and says what came of it.
    async fn store_joined(&self, place: &Place) -> String {
        let replicate = self.replication().await.iter().any(Option::is_some);
        if place.valkey.is_none() || !replicate {
            return String::new();
        }
        let started = Instant::now();
        let joined = || async {
            match replication_of(place).await {
                Some(store) if store.phase == "ready" => Ok(()),
                Some(store) => Err(store.phase.into_owned()),
                None => Err("without a leader".to_owned()),
            }
        };
        match probe::until("the store", JOIN_DEADLINE, joined).await {
            Ok(()) => {
                let seconds = started.elapsed().as_secs_f64();
                format!(", its store {seconds:.1} s later")
            }
            Err(_) => ", its store does not yet (`lattice status` shows it)".to_owned(),
        }
    }

    /// The hub's own processes count as home's.
    fn hub_process(&self, place: &Place, process: &str) -> Option<&Supervised> {
        match process {
            "hub" if place.name == HOME => Some(&self.hub.nats),
            "wadm" if place.name == HOME => Some(&self.hub.wadm),
            _ => None,
        }
    }

    /// Whether a process was killed to stay dead.
    fn is_held(&self, place: &Place, process: &str) -> bool {
        match self.hub_process(place, process) {
            Some(server) => server.status().state == State::Killed,
            None => place.is_held(process),
        }
    }
}

fn is_dead(what: &str) -> String {
    format!("{what} is dead; `lattice revive {what}` brings it back")
}

fn paused(process: &Supervised) -> bool {
    process.status().state == State::Paused
}

fn running(process: &Supervised) -> bool {
    process.status().state == State::Running
}
