//! The lattice that is struck.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail, Context as _};
use lattice::probe;
use lattice::status::{ProcessStatus, RegionStatus, Status};
use lattice::workspace::Workspace;
use lattice::{Lattice, Options, Stores};
use tokio::time::sleep;

use crate::fault::PROVIDER;
use crate::manifest;
use crate::output::log_to;
use crate::plan::Plan;

/// How long a lattice may take to be whole again.
const WHOLE: Duration = Duration::from_secs(180);
/// For how long it has to look whole, as the supervision may be about to begin something.
const STEADY: Duration = Duration::from_millis(600);

/// A running lattice.
#[derive(Debug)]
pub struct Ground {
    /// The lattice itself.
    pub lattice: Arc<Lattice>,
    /// The regions with a page.
    pub edges: Vec<String>,
    /// The regions with a store, and the ports of their NATS servers and Valkeys.
    pub stores: BTreeMap<String, Ports>,
}

/// Where a region's servers are.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Its NATS server.
    pub nats: u16,
    /// Its Valkey.
    pub valkey: u16,
}

impl Ground {
    /// Starts a lattice that remembers nothing.
    ///
    /// # Errors
    ///
    /// It does not start, or its regions have no stores of their own.
    pub async fn prepare(plan: &Plan, stage: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Self> {
        empty(&plan.state)?;
        log_to(&plan.state)?;
        let edges = plan.asked.regions.clone();
        let pattern = edges.first().context("no region given")?;
        let composed = plan.state.join("chaos.wadm.yaml");
        let stores = Stores::EveryRegion;
        let local = plan.root.join(stores.manifest());
        std::fs::write(&composed, manifest::compose(&local, pattern)?)?;
        let options = Options {
            root: plan.root.clone(),
            state_dir: plan.state.clone(),
            regions: plan.regions.clone(),
            wan: Duration::from_millis(plan.asked.wan_ms),
            port: None,
            stores,
            manifest: composed,
            fresh: true,
        };
        let lattice = Lattice::start(options, stage).await.map_err(told)?;
        let regions = lattice.status().await.regions;
        let stores = regions.iter().filter_map(|region| {
            let ports = Ports {
                nats: region.nats_port,
                valkey: region.valkey_port?,
            };
            Some((region.name.clone(), ports))
        });
        let stores: BTreeMap<String, Ports> = stores.collect();
        if let Some(without) = edges.iter().find(|edge| !stores.contains_key(*edge)) {
            bail!("{without} has no store of its own: nothing is replicated here");
        }
        let ground = Self {
            lattice,
            edges,
            stores,
        };
        ground.whole().await?;
        Ok(ground)
    }

    /// How it is.
    pub async fn status(&self) -> Status {
        self.lattice.status().await
    }

    /// Waits until every process runs, every region serves, and the supervision has nothing to do.
    ///
    /// # Errors
    ///
    /// That is not so within three minutes; the text says what is missing.
    pub async fn whole(&self) -> anyhow::Result<()> {
        let check = || async {
            self.is_whole().await?;
            sleep(STEADY).await;
            self.is_whole().await
        };
        probe::until("a whole lattice", WHOLE, check)
            .await
            .map_err(told)
    }

    async fn is_whole(&self) -> Result<(), String> {
        let status = self.status().await;
        status.whole()?;
        for region in &status.regions {
            if self.stores.contains_key(&region.name) && process(region, PROVIDER).is_none() {
                return Err(format!("{} has no {PROVIDER}", region.name));
            }
            // A region whose store is still joining has no other one to be served by when the next fault is the hub's.
            let store = region.replication.as_ref();
            let ready = store.is_some_and(|store| store.phase == "ready");
            if self.stores.contains_key(&region.name) && !ready {
                return Err(format!("the store of {} is not ready", region.name));
            }
        }
        Ok(())
    }

    /// The visits counted, as each region says.
    ///
    /// # Errors
    ///
    /// One does not say.
    pub async fn visits(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let mut counted = Vec::new();
        for edge in &self.edges {
            let port = self.lattice.place(edge).map_err(told)?.ports.http;
            let port = port.with_context(|| format!("{edge} has no page"))?;
            let ask = || async move {
                let (status, body) =
                    probe::get(port, "/api/regions", Duration::from_secs(5)).await?;
                if status != 200 {
                    return Err(format!("it answers {status}"));
                }
                let answer: serde_json::Value =
                    serde_json::from_slice(&body).map_err(|error| error.to_string())?;
                answer["visits"].as_u64().ok_or("no visits".to_owned())
            };
            let what = format!("the visits that {edge} counted");
            let visits = probe::until(&what, Duration::from_secs(30), ask).await;
            counted.push((edge.clone(), visits.map_err(told)?));
        }
        Ok(counted)
    }

    /// The requests that the edge has sent to regions.
    #[must_use]
    pub async fn attempts(&self) -> u64 {
        self.status().await.edge.attempts_total
    }
}

/// Makes a directory that has nothing in it.
fn empty(state: &Path) -> anyhow::Result<()> {
    if state.exists() {
        let claim = Workspace::claim(state).map_err(told)?;
        claim.with_context(|| format!("a lattice runs in {}", state.display()))?;
        std::fs::remove_dir_all(state)
            .with_context(|| format!("failed to empty {}", state.display()))?;
    }
    std::fs::create_dir_all(state).with_context(|| format!("failed to create {}", state.display()))
}

/// A process of a region, by its name.
#[must_use]
pub fn process<'a>(region: &'a RegionStatus, name: &str) -> Option<&'a ProcessStatus> {
    region.processes.iter().find(|process| process.name == name)
}

/// The lattice's errors tell their causes themselves.
pub(crate) fn told(error: lattice::Error) -> anyhow::Error {
    anyhow!(error.chain())
}
