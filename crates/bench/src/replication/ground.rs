//! Regions as they are run, but for the wasmCloud host: real servers and the provider's own process.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{ensure, Context as _};
use bytes::Bytes;
use lattice::probe::{self, loopback};
use lattice::wan::WanLink;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use provider_harness::{command, eventually, link, Host, Process};
use redis::aio::MultiplexedConnection;

use super::caller::{Caller, COMPONENT, LINK};
use super::server::{Hub, Server, Yard};
use crate::valkey;

/// The regions that are started, in this order.
pub const REGIONS: [&str; 9] = [
    "iad", "fra", "sin", "ams", "arn", "bom", "cdg", "dfw", "ewr",
];
/// How long a region may take to serve, and a write to be everywhere.
const SOON: Duration = Duration::from_secs(60);

/// A store behind a provider, and the ways to both.
pub struct Site {
    pub name: String,
    pub caller: Caller,
    /// Straight to the store.
    pub store: MultiplexedConnection,
    pub valkey: Server,
    pub provider: Process,
    _host: Host,
}

/// A region: a leaf node far from the hub, and a store that is kept in step with the others.
pub struct Region {
    pub site: Site,
    pub link: WanLink,
    pub leaf: Server,
}

/// Regions that replicate to each other.
pub struct Ground {
    pub regions: Vec<Region>,
    pub hub: Hub,
    marks: AtomicU64,
    provider: PathBuf,
    yard: Yard,
}

/// Processes that are stopped; they go on when it is dropped.
pub struct Stopped(Vec<Pid>);

impl Stopped {
    fn signal(&self, signal: Signal) {
        for pid in &self.0 {
            // One that has ended shows elsewhere.
            let _ = kill(*pid, signal);
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
    }
}

impl Ground {
    /// Starts so many regions, no delay between them, and waits until all of them serve.
    pub async fn start(root: &Path, number: usize) -> anyhow::Result<Self> {
        let mut yard = Yard::new(root)?;
        let provider = provider()?;
        let hub = yard.hub().await?;
        let mut regions = Vec::new();
        for name in REGIONS.iter().take(number) {
            let link = WanLink::bind(loopback(hub.leaf_port), Duration::ZERO).await?;
            let leaf = yard.leaf(name, link.local_addr().port()).await?;
            let valkey = yard.valkey(name).await?;
            let config = [("mode", "replicated"), ("region", *name)];
            regions.push(Region {
                site: Site::start(name, &leaf, valkey, &provider, &config).await?,
                link,
                leaf,
            });
        }
        let ground = Self {
            regions,
            hub,
            marks: AtomicU64::new(0),
            provider,
            yard,
        };
        for region in &ground.regions {
            region.site.serves().await?;
        }
        // A write of each that arrives everywhere: all have met.
        for region in &ground.regions {
            ground.settle(region).await?;
        }
        Ok(ground)
    }

    /// A store in plain mode in the first region.
    pub async fn plain(&mut self) -> anyhow::Result<Site> {
        let valkey = self.yard.valkey("plain").await?;
        let leaf = &self.first()?.leaf;
        let site = Site::start("plain", leaf, valkey, &self.provider, &[]).await?;
        site.serves().await?;
        Ok(site)
    }

    /// The region that writes.
    pub fn first(&self) -> anyhow::Result<&Region> {
        self.regions.first().context("no region")
    }

    /// The regions that hear of it.
    pub fn others(&self) -> &[Region] {
        self.regions.get(1..).unwrap_or_default()
    }

    /// Stops all processes of the other regions until the value is dropped; shorter than they are missed.
    pub fn stop_others(&self) -> Stopped {
        let pids = self.others().iter().flat_map(|region| {
            let servers = [region.leaf.pid(), region.site.valkey.pid()];
            servers.into_iter().chain([region.site.provider.id()])
        });
        let pids = pids.flatten().filter_map(|pid| i32::try_from(pid).ok());
        let stopped = Stopped(pids.map(Pid::from_raw).collect());
        stopped.signal(Signal::SIGSTOP);
        stopped
    }

    /// Makes `round_trip` that between any two regions: two links lie between them, each crossed once each way.
    pub fn set_wan(&self, round_trip: Duration) {
        for region in &self.regions {
            region.link.set_one_way(round_trip / 4);
        }
    }

    /// Waits until all that a region has written is everywhere: its writes become visible in their order, so one
    /// more is enough.
    pub async fn settle(&self, writer: &Region) -> anyhow::Result<()> {
        let mark = self.marks.fetch_add(1, Ordering::Relaxed).to_string();
        let (key, mark) = (format!("settled-{}", writer.site.name), Bytes::from(mark));
        writer.site.caller.put(&key, &mark).await?;
        for region in &self.regions {
            region.site.shows(&key, &mark).await?;
        }
        Ok(())
    }
}

impl Site {
    async fn start(
        name: &str,
        leaf: &Server,
        valkey: Server,
        provider: &Path,
        config: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let nats = format!("nats://{}", loopback(leaf.port));
        let url = format!("redis://{}", loopback(valkey.port));
        let mut linked = link(COMPONENT, LINK, [("url", url.as_str())]);
        for (key, value) in config {
            let (key, value) = ((*key).to_owned(), (*value).to_owned());
            linked.target_config.insert(key, value);
        }
        let host = Host::at(nats, &format!("N{name}"), &format!("V{name}")).await?;
        let host = host.with_link(linked);
        Ok(Self {
            name: name.to_owned(),
            caller: Caller::new(&host).await?,
            store: valkey::connect(valkey.port).await?,
            provider: Process::start(command(provider), &host).await?,
            valkey,
            _host: host,
        })
    }

    async fn serves(&self) -> anyhow::Result<()> {
        let what = format!("the store of {}", self.name);
        let ask = || async {
            let answered = self.caller.get("ready").await;
            answered.map(drop).map_err(|error| format!("{error:#}"))
        };
        Ok(probe::until(&what, SOON, ask).await?)
    }

    /// Waits until a key has a value in the store.
    pub async fn shows(&self, key: &str, value: &Bytes) -> anyhow::Result<()> {
        let shown = || async {
            let mut store = self.store.clone();
            let found = valkey::get(&mut store, key).await?;
            let name = &self.name;
            ensure!(found.as_deref() == Some(value), "{name} has another {key}");
            Ok(())
        };
        eventually(SOON, shown).await
    }
}

/// The program beside this one.
fn provider() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know where it lies")?;
    let provider = own.with_file_name("keyvalue-valkey");
    ensure!(
        provider.is_file(),
        "{} is missing: run `make build`",
        provider.display()
    );
    Ok(provider)
}
