//! What replication adds to a key in Valkey's memory.
//!
//! The same keys with the same values go into a store in plain mode and into a replicated one, and
//! the growth of `used_memory` is compared.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context as _};
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use serde::Serialize;
use tokio::task::JoinSet;

use super::caller::Caller;
use super::ground::{Ground, Site};

/// The most that replication may add to a key, in bytes.
pub const ALLOWED: f64 = 200.0;
/// Keys stored with one call, and asked for with one.
const BATCH: usize = 500;
const VALUE_BYTES: usize = 64;
/// Increments under way at a time.
const CALLERS: usize = 32;

/// What is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Set once, in one region.
    Text,
    /// Counted in every region.
    Counter,
    /// The same, under a name as long as the longest that cloud-hello uses.
    LongCounter,
}

impl Kind {
    pub fn noun(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Counter | Self::LongCounter => "counter",
        }
    }

    /// How much less of them is stored: a counter is counted by a call for each region, texts are stored many at a time.
    fn less(self) -> usize {
        match self {
            Self::Text => 1,
            Self::Counter | Self::LongCounter => 8,
        }
    }
}

/// Bytes per key in one region.
#[derive(Debug, Serialize)]
pub struct Weight {
    pub kind: Kind,
    pub regions: usize,
    pub keys: usize,
    /// The name of a key.
    pub name_bytes: f64,
    /// `used_memory` in plain mode: key, value and Valkey's own overhead.
    pub plain_bytes: f64,
    /// The same in replicated mode, once all regions have read what changed.
    pub replicated_bytes: f64,
    /// What the change log adds until then.
    pub log_bytes: f64,
    /// The entry's text in the hash of metadata.
    pub entry_bytes: f64,
}

impl Weight {
    /// What replication adds.
    pub fn metadata_bytes(&self) -> f64 {
        self.replicated_bytes - self.plain_bytes
    }
}

/// Stores `keys` texts, or fewer counters, in empty stores of both modes, and looks how much memory grew by.
pub async fn measure(root: &Path, regions: usize, keys: usize) -> anyhow::Result<Vec<Weight>> {
    let mut weights = Vec::new();
    for kind in [Kind::Text, Kind::Counter, Kind::LongCounter] {
        // Valkey's tables double now and then, so what was there before would count, too.
        let mut ground = Ground::start(root, regions).await?;
        let plain = ground.plain().await?;
        weights.push(weigh(&ground, &plain, kind, keys / kind.less()).await?);
    }
    Ok(weights)
}

async fn weigh(ground: &Ground, plain: &Site, kind: Kind, keys: usize) -> anyhow::Result<Weight> {
    let first = ground.first()?;
    let names: Vec<String> = (0..keys).map(|n| name(kind, n)).collect();
    ground.settle(first).await?;
    let before = [used(&plain.store).await?, used(&first.site.store).await?];
    match kind {
        Kind::Text => {
            let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
            let entries: Vec<(&str, &Bytes)> =
                names.iter().map(|name| (name.as_str(), &value)).collect();
            for batch in entries.chunks(BATCH) {
                plain.caller.set_many(batch).await?;
                first.site.caller.set_many(batch).await?;
            }
        }
        Kind::Counter | Kind::LongCounter => {
            let sum = Bytes::from(ground.regions.len().to_string());
            let entries: Vec<(&str, &Bytes)> =
                names.iter().map(|name| (name.as_str(), &sum)).collect();
            for batch in entries.chunks(BATCH) {
                plain.caller.set_many(batch).await?;
            }
            for region in &ground.regions {
                count(&region.site.caller, &names).await?;
            }
        }
    }
    for region in &ground.regions {
        ground.settle(region).await?;
    }
    let unread = used(&first.site.store).await?;
    read_by_all(&first.site.store).await?;
    let at_rest = used(&first.site.store).await?;
    let after = [used(&plain.store).await?, at_rest];
    let grown = |at: usize| -> anyhow::Result<f64> {
        let (before, after) = (before.get(at), after.get(at));
        let grown = after.context("measured")? - before.context("measured")?;
        Ok(grown / number(keys))
    };
    let weight = Weight {
        kind,
        regions: ground.regions.len(),
        keys,
        name_bytes: number(names.first().map_or(0, String::len)),
        plain_bytes: grown(0)?,
        replicated_bytes: grown(1)?,
        log_bytes: (unread - at_rest) / number(keys),
        entry_bytes: entries(&first.site.store, &names).await?,
    };
    eprintln!(
        "  {kind:?}: {:.0} bytes per key plain, {:.0} replicated, of the {:.0} more {:.0} are the entry's text; \
         {:.0} for the change log until all had read it",
        weight.plain_bytes,
        weight.replicated_bytes,
        weight.metadata_bytes(),
        weight.entry_bytes,
        weight.log_bytes
    );
    Ok(weight)
}

/// Waits until nothing is left in the change log, as every region has read it.
async fn read_by_all(store: &MultiplexedConnection) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(300);
    let (mut store, since) = (store.clone(), Instant::now());
    loop {
        let left: u64 = redis::cmd("LLEN")
            .arg("@kv/r/log")
            .query_async(&mut store)
            .await?;
        if left == 0 {
            return Ok(());
        }
        ensure!(
            since.elapsed() < PATIENCE,
            "{left} changes were not read by every region within {} s",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Counts each key once.
async fn count(caller: &Caller, names: &[String]) -> anyhow::Result<()> {
    let mut counting = JoinSet::new();
    for names in names.chunks(names.len().div_ceil(CALLERS).max(1)) {
        let (caller, names) = (caller.clone(), names.to_vec());
        counting.spawn(async move {
            for name in &names {
                // A call may be lost on the way; counted twice, a counter weighs the same.
                if caller.increment(name).await.is_err() {
                    caller.increment(name).await?;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(counted) = counting.join_next().await {
        counted??;
    }
    Ok(())
}

/// The store's memory, in bytes.
async fn used(store: &MultiplexedConnection) -> anyhow::Result<f64> {
    let mut store = store.clone();
    let info: String = redis::cmd("INFO")
        .arg("memory")
        .query_async(&mut store)
        .await?;
    let used = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    Ok(used
        .context("Valkey does not tell its memory")?
        .trim()
        .parse()?)
}

/// The average length of the entries' texts.
async fn entries(store: &MultiplexedConnection, names: &[String]) -> anyhow::Result<f64> {
    let (mut store, mut bytes) = (store.clone(), 0_usize);
    for batch in names.chunks(BATCH) {
        let mut pipe = redis::pipe();
        for name in batch {
            pipe.cmd("HSTRLEN").arg("@kv/r/meta").arg(name);
        }
        let lengths: Vec<usize> = pipe.query_async(&mut store).await?;
        bytes += lengths.iter().sum::<usize>();
    }
    Ok(number(bytes) / number(names.len()))
}

fn name(kind: Kind, number: usize) -> String {
    match kind {
        Kind::Text => format!("weigh:text:{number:07}"),
        Kind::Counter => format!("weigh:count:{number:07}"),
        // In the place of `chromeos`.
        Kind::LongCounter => format!("visits:v1:iad:samsung-internet:{number:08}"),
    }
}

/// Sizes far below 2^53.
#[allow(clippy::cast_precision_loss)]
fn number(size: usize) -> f64 {
    size as f64
}
