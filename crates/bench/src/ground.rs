//! The lattice that is measured, and the ways into it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, Context as _};
use lattice::port::Ports;
use lattice::probe::loopback;
use lattice::region::HOME;
use lattice::status::Status;
use lattice::wan::WanLink;
use lattice::{probe, Lattice, Options, Stores};

use crate::manifest;
use crate::plan::Plan;

/// How long naive-hello may take to answer after every region of cloud-hello does.
const NAIVE_DEADLINE: Duration = Duration::from_secs(60);

/// A running lattice with cloud-hello everywhere and naive-hello in the measured region.
#[derive(Debug)]
pub struct Ground {
    lattice: Arc<Lattice>,
    /// The measured region.
    pub region: String,
    /// Every edge region.
    pub regions: Vec<String>,
    /// cloud-hello's port in the measured region.
    pub direct: SocketAddr,
    /// The edge.
    pub edge: SocketAddr,
    /// naive-hello's port in the measured region.
    pub naive: SocketAddr,
    /// Port of the Valkey at home.
    pub valkey: u16,
    /// As far from the measured region as home is: where a server there would find Valkey.
    pub far_valkey: WanLink,
    /// A connection to the measured region's leaf node.
    pub nats: async_nats::Client,
    /// A connection to home's.
    pub home_nats: async_nats::Client,
    _ports: Ports,
}

impl Ground {
    /// Starts it all, with nothing in the stores and no delay between regions.
    pub async fn prepare(plan: &Plan, stores: Stores) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&plan.state)
            .with_context(|| format!("failed to create {}", plan.state.display()))?;
        let regions: Vec<String> = plan
            .regions
            .as_slice()
            .iter()
            .map(|code| code.as_str().to_owned())
            .collect();
        let region = regions.first().context("no region given")?.clone();
        let mut ports = Ports::new().map_err(told)?;
        let naive = ports.take().map_err(told)?;
        let root = std::path::absolute(&plan.root)?;
        let composed = plan.state.join("bench.wadm.yaml");
        std::fs::write(
            &composed,
            manifest::compose(&root.join(stores.manifest()), &region, naive)?,
        )?;

        let started = Instant::now();
        let stage = |what: &str| eprintln!("{:>6.1} s  {what}", started.elapsed().as_secs_f64());
        let options = Options {
            root,
            state_dir: plan.state.clone(),
            regions: plan.regions.clone(),
            wan: Duration::ZERO,
            port: None,
            stores,
            manifest: composed,
            // Counts of earlier runs would be found in the store.
            fresh: true,
        };
        let lattice = Lattice::start(options, &stage).await.map_err(told)?;
        probe::until("naive-hello", NAIVE_DEADLINE, || async {
            match probe::get(naive, "/api/regions", Duration::from_secs(2)).await? {
                (200, _) => Ok(()),
                (status, _) => Err(format!("it answers {status}")),
            }
        })
        .await
        .map_err(told)?;
        stage("naive-hello answers");

        let (home, place) = (
            lattice.place(HOME).map_err(told)?,
            lattice.place(&region).map_err(told)?,
        );
        let valkey = home.ports.valkey.context("home has no Valkey")?;
        let edge = lattice.url();
        let edge = edge
            .strip_prefix("http://")
            .context("the edge has no address")?;
        Ok(Self {
            direct: loopback(place.ports.http.context("the region has no page")?),
            edge: edge.parse()?,
            naive: loopback(naive),
            valkey,
            far_valkey: WanLink::bind(loopback(valkey), Duration::ZERO).await?,
            nats: async_nats::connect(loopback(place.ports.nats).to_string()).await?,
            home_nats: async_nats::connect(loopback(home.ports.nats).to_string()).await?,
            region,
            regions,
            lattice,
            _ports: ports,
        })
    }

    /// Makes `round_trip` that between any two regions.
    pub fn set_wan(&self, round_trip: Duration) -> anyhow::Result<()> {
        let codes = self.regions.iter().map(String::as_str);
        for name in std::iter::once(HOME).chain(codes) {
            // Two links lie between two regions, each crossed once each way.
            self.lattice
                .place(name)
                .map_err(told)?
                .link
                .set_one_way(round_trip / 4);
        }
        self.far_valkey.set_one_way(round_trip / 2);
        Ok(())
    }

    /// Ports of all Valkeys.
    pub fn store_ports(&self) -> Vec<u16> {
        let places = self.lattice.places().iter();
        places.filter_map(|place| place.ports.valkey).collect()
    }

    /// What runs, for its process ids and the edge's counters.
    pub async fn status(&self) -> Status {
        self.lattice.status().await
    }

    /// Ends it in good order.
    pub async fn stop(&self) {
        self.lattice.stop().await;
    }
}

/// The lattice's errors tell their causes themselves.
fn told(error: lattice::Error) -> anyhow::Error {
    anyhow!(error.chain())
}
