//! What a write costs a group of regions: messages, bytes and processor time, and how late it arrives.
//!
//! One region writes at a fixed pace, so that nothing queues; what the regions say to each other anyway is measured
//! before and taken off.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use lattice::probe;
use serde::Serialize;
use tokio::time::{interval, sleep, MissedTickBehavior};

use super::caller::Caller;
use super::ground::{Ground, Site};
use super::lag;
use super::plan::Plan;
use super::server::Server;
use crate::process::used_us;
use crate::sample::Summary;

const VALUE_BYTES: usize = 64;
/// Writes whose lag is timed afterwards.
const LAGS: usize = 100;
/// After so long a group that was started does no more than it does at rest.
const STARTED: Duration = Duration::from_secs(10);
/// The group that nobody runs on one machine.
pub const ON_PAPER: usize = 35;

/// A group of so many regions.
#[derive(Debug, Serialize)]
pub struct Cost {
    pub regions: usize,
    pub per_write: Rate,
    /// Per second, with nobody writing.
    pub at_rest: Rate,
    pub lag: Summary,
}

/// So much of everything, per write or per second.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rate {
    /// Messages that the hub took in and sent out.
    pub hub_messages: f64,
    /// Bytes between the regions and the hub, both ways, with NATS's own.
    pub wan_bytes: f64,
    /// Where it is written.
    pub writer: Spent,
    /// In one other region.
    pub reader: Spent,
    /// Processor microseconds of the hub.
    pub hub_us: f64,
}

/// Processor microseconds of a region's processes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Spent {
    pub provider_us: f64,
    pub valkey_us: f64,
    pub leaf_us: f64,
    /// Scripts that Valkey ran.
    pub scripts: f64,
    /// Of Valkey's time, what they took.
    pub scripts_us: f64,
}

impl Spent {
    pub fn total_us(&self) -> f64 {
        self.provider_us + self.valkey_us + self.leaf_us
    }

    fn each(self, other: Self, with: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            provider_us: with(self.provider_us, other.provider_us),
            valkey_us: with(self.valkey_us, other.valkey_us),
            leaf_us: with(self.leaf_us, other.leaf_us),
            scripts: with(self.scripts, other.scripts),
            scripts_us: with(self.scripts_us, other.scripts_us),
        }
    }
}

/// Measures a group.
pub async fn measure(root: &Path, plan: &Plan, regions: usize) -> anyhow::Result<Cost> {
    let ground = Ground::start(root, regions).await?;
    let writer = ground.first()?;
    // What it takes to start is not rest.
    sleep(STARTED).await;
    let before = Reading::take(&ground).await?;
    sleep(plan.paced).await;
    let at_rest = Reading::take(&ground).await?.since(&before);

    let before = Reading::take(&ground).await?;
    let (writes, elapsed) = write(&writer.site.caller, plan).await?;
    let busy = Reading::take(&ground).await?.since(&before);
    let per_write = busy.minus(&at_rest.times(elapsed)).times(1.0 / writes);
    let at_rest = at_rest.times(1.0 / plan.paced.as_secs_f64());
    let cost = Cost {
        regions,
        per_write,
        at_rest,
        lag: lag::measure(&ground, 0, LAGS, false).await?.summary,
    };
    eprintln!(
        "  {regions} regions: per write {:.1} messages, {:.0} bytes between regions, {:.0} µs where it is written, {:.0} µs where it arrives",
        cost.per_write.hub_messages,
        cost.per_write.wan_bytes,
        cost.per_write.writer.total_us(),
        cost.per_write.reader.total_us()
    );
    Ok(cost)
}

/// What a write costs a region's processes in plain mode.
pub async fn plain(plan: &Plan, ground: &Ground, plain: &Site) -> anyhow::Result<Spent> {
    let leaf = &ground.first()?.leaf;
    let before = spent(plain, leaf).await?;
    let (writes, _) = write(&plain.caller, plan).await?;
    let after = spent(plain, leaf).await?;
    Ok(after.each(before, |after, before| (after - before) / writes))
}

/// Writes at the pace; how many, and for how long.
async fn write(caller: &Caller, plan: &Plan) -> anyhow::Result<(f64, f64)> {
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let mut pace = interval(Duration::from_secs(1) / plan.pace.max(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (began, mut writes) = (Instant::now(), 0_u32);
    while began.elapsed() < plan.paced {
        pace.tick().await;
        let key = format!("bench:cost:{:03}", writes % 1000);
        caller.put(&key, &value).await?;
        writes += 1;
    }
    // The last of them is still under way.
    sleep(Duration::from_millis(100)).await;
    Ok((f64::from(writes.max(1)), began.elapsed().as_secs_f64()))
}

/// What was used until now.
struct Reading {
    messages: f64,
    wan_bytes: f64,
    hub_us: f64,
    /// One for each region.
    regions: Vec<Spent>,
}

impl Reading {
    async fn take(ground: &Ground) -> anyhow::Result<Self> {
        let said = probe::get(ground.hub.monitor, "/varz", Duration::from_secs(2)).await;
        let (_, said) = said.map_err(anyhow::Error::msg)?;
        let said: serde_json::Value = serde_json::from_slice(&said)?;
        let count = |name: &str| {
            let count = said.get(name).and_then(serde_json::Value::as_f64);
            count.with_context(|| format!("the hub tells no {name}"))
        };
        let wan_bytes = ground.regions.iter().map(|region| {
            let status = region.link.status();
            status.to_hub.delivered + status.from_hub.delivered
        });
        let mut regions = Vec::new();
        for region in &ground.regions {
            regions.push(spent(&region.site, &region.leaf).await?);
        }
        Ok(Self {
            messages: count("in_msgs")? + count("out_msgs")?,
            wan_bytes: bytes(wan_bytes.sum()),
            hub_us: used(ground.hub.server.pid()),
            regions,
        })
    }

    fn since(&self, before: &Self) -> Rate {
        let pairs = self.regions.iter().zip(&before.regions);
        let mut used = pairs.map(|(now, before)| now.each(*before, |now, before| now - before));
        let writer = used.next().unwrap_or_default();
        let (mut sum, mut readers) = (Spent::default(), 0.0_f64);
        for reader in used {
            sum = sum.each(reader, |sum, one| sum + one);
            readers += 1.0;
        }
        Rate {
            hub_messages: self.messages - before.messages,
            wan_bytes: self.wan_bytes - before.wan_bytes,
            writer,
            reader: sum.each(sum, |sum, _| sum / readers.max(1.0)),
            hub_us: self.hub_us - before.hub_us,
        }
    }
}

/// What a region used until now.
async fn spent(site: &Site, leaf: &Server) -> anyhow::Result<Spent> {
    let mut store = site.store.clone();
    let info: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut store)
        .await?;
    let scripts = info
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
    let count = |name: &str| {
        let fields = scripts.unwrap_or_default().split(',');
        let found = fields
            .filter_map(|field| field.split_once('='))
            .find(|(known, _)| *known == name);
        found
            .and_then(|(_, count)| count.parse().ok())
            .unwrap_or(0.0)
    };
    Ok(Spent {
        provider_us: used(site.provider.id()),
        valkey_us: used(site.valkey.pid()),
        leaf_us: used(leaf.pid()),
        scripts: count("calls"),
        scripts_us: count("usec"),
    })
}

fn used(pid: Option<u32>) -> f64 {
    pid.and_then(used_us).unwrap_or_default()
}

impl Rate {
    fn each(&self, other: &Self, with: impl Fn(f64, f64) -> f64 + Copy) -> Self {
        Self {
            hub_messages: with(self.hub_messages, other.hub_messages),
            wan_bytes: with(self.wan_bytes, other.wan_bytes),
            writer: self.writer.each(other.writer, with),
            reader: self.reader.each(other.reader, with),
            hub_us: with(self.hub_us, other.hub_us),
        }
    }

    fn minus(&self, other: &Self) -> Self {
        self.each(other, |one, other| one - other)
    }

    fn times(&self, factor: f64) -> Self {
        self.each(self, |one, _| one * factor)
    }
}

/// Byte counts far below 2^53.
#[allow(clippy::cast_precision_loss)]
fn bytes(count: u64) -> f64 {
    count as f64
}
