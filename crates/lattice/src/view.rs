//! Takes the picture that [`crate::status::Status`] shows.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use replica::Status as Replication;
use tokio::time::timeout;

use crate::application;
use crate::lattice::Lattice;
use crate::place::Place;
use crate::process_tree::{ProcessTree, Provider};
use crate::region::HOME;
use crate::replication;
use crate::status::{ProcessStatus, RegionState, RegionStatus, Status};
use crate::supervise::{State, Supervised};

/// How long wadm may take to say how the application is.
const WADM_DEADLINE: Duration = Duration::from_secs(2);

impl Lattice {
    /// How the lattice is now.
    pub async fn status(&self) -> Status {
        let edge = self.edge.status();
        let (stores, application) = tokio::join!(self.replication(), self.application_status());
        let tree = ProcessTree::scan();
        let healthy: BTreeMap<String, bool> = edge
            .regions
            .iter()
            .map(|region| (region.region.clone(), region.healthy))
            .collect();
        Status {
            pid: std::process::id(),
            url: self.url(),
            hub: format!("127.0.0.1:{}", self.hub.port),
            wan_ms: u64::try_from(self.options().wan.as_millis()).unwrap_or(u64::MAX),
            stores: self.options().stores,
            application,
            regions: self
                .places
                .iter()
                .zip(stores)
                .map(|(place, replication)| {
                    let healthy = healthy.get(place.name.as_str()).copied();
                    self.region_status(place, healthy, replication, &tree)
                })
                .collect(),
            healing: self.warden.doing(),
            edge,
        }
    }

    /// What each region's store says of its replication, where one runs.
    pub(crate) async fn replication(&self) -> Vec<Option<Replication>> {
        join_all(self.places.iter().map(replication_of)).await
    }

    async fn application_status(&self) -> String {
        let Some(name) = self.application() else {
            return "not deployed".into();
        };
        match timeout(WADM_DEADLINE, application::status(&self.wadm, &name)).await {
            Ok(Ok((kind, message))) => {
                let kind = format!("{kind:?}").to_lowercase();
                if message.is_empty() {
                    format!("{name} {kind}")
                } else {
                    format!("{name} {kind}: {message}")
                }
            }
            Ok(Err(_)) | Err(_) => format!("{name}: wadm does not answer"),
        }
    }

    fn region_status(
        &self,
        place: &Place,
        healthy: Option<bool>,
        replication: Option<Replication>,
        tree: &ProcessTree,
    ) -> RegionStatus {
        let host = place.host();
        let mut processes = Vec::new();
        if place.name == HOME {
            processes.push(process("hub", &self.hub.nats));
            processes.push(process("wadm", &self.hub.wadm));
        }
        processes.push(process("nats", &place.leaf));
        if let Some(valkey) = &place.valkey {
            processes.push(process("valkey", valkey));
        }
        if let Some(host) = &host {
            processes.push(process("host", host.process()));
        }
        let servers_run = processes
            .iter()
            .all(|process| process.state == State::Running);
        let providers = host.as_ref().map(|host| host.providers_in(tree));
        let providers = providers.unwrap_or_default();
        let provided = !providers.is_empty();
        processes.extend(providers.into_iter().map(provider));
        let paused = processes
            .iter()
            .any(|process| process.state == State::Paused);
        let link = place.link.status();
        let state = if place.killed() {
            RegionState::Killed
        } else if link.cut.is_some() {
            RegionState::Cut
        } else if paused {
            RegionState::Paused
        } else if servers_run && healthy.unwrap_or(provided) {
            RegionState::Serving
        } else {
            RegionState::Degraded
        };
        RegionStatus {
            name: place.name.clone(),
            url: place
                .ports
                .http
                .map(|port| format!("http://127.0.0.1:{port}")),
            host_id: host.map(|host| host.id()).unwrap_or_default(),
            state,
            cut: link.cut,
            processes,
            valkey_port: place.ports.valkey,
            replication,
            nats_port: place.ports.nats,
        }
    }
}

/// What the region's store says of its replication, where one runs.
pub(crate) async fn replication_of(place: &Place) -> Option<Replication> {
    let runs = place.valkey.as_ref()?.status().state == State::Running;
    replication::read(place.ports.valkey.filter(|_| runs)?).await
}

/// Nobody here supervises providers, so what they do is what `/proc` says.
fn provider(provider: Provider) -> ProcessStatus {
    ProcessStatus {
        name: provider.name,
        state: if provider.stopped {
            State::Paused
        } else {
            State::Running
        },
        pid: Some(provider.pid),
        starts: 0,
    }
}

fn process(name: &str, process: &Supervised) -> ProcessStatus {
    let status = process.status();
    ProcessStatus {
        name: name.to_owned(),
        state: status.state,
        pid: status.pid,
        starts: status.starts,
    }
}
