//! How long regions take to hold the same again after a cut.

use std::time::{Duration, Instant};

use anyhow::{ensure, Context as _};
use bytes::Bytes;
use lattice::wan::Direction;
use serde::Serialize;
use tokio::time::{sleep, sleep_until};

use super::ground::{Ground, Region};
use crate::sample::{Samples, Summary};
use crate::valkey;

/// What a hundred thousand keys may take.
pub const ALLOWED: Duration = Duration::from_secs(10);
pub const PROMISED: usize = 100_000;
/// Keys stored with one call, and compared with one.
const BATCH: usize = 500;
const VALUE_BYTES: usize = 64;
/// Between two looks at a region.
const LOOK: Duration = Duration::from_millis(10);
/// Between two reads of a component in a region that catches up.
const READ: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(300);

/// One cut and its heal.
#[derive(Debug, Serialize)]
pub struct Heal {
    pub wan_ms: u64,
    /// Keys changed in the region that was cut off.
    pub keys: usize,
    /// From the heal until the first of them was visible in each other region.
    pub first_s: f64,
    /// From the heal until all of them were.
    pub all_s: f64,
    /// What a component that reads in one of the others saw meanwhile.
    pub reads: Summary,
}

/// Cuts the first region off, changes `keys` keys there, heals, and waits until every region has all.
pub async fn measure(
    ground: &Ground,
    wan_ms: u64,
    keys: usize,
    cut: Duration,
) -> anyhow::Result<Heal> {
    ground.set_wan(Duration::from_millis(wan_ms));
    let writer = ground.first()?;
    ground.settle(writer).await?;
    let changes = Changes::new(wan_ms, keys);
    let noticed = tokio::time::Instant::now() + cut;
    writer.link.cut(Direction::Both);
    changes.write(writer).await?;
    sleep_until(noticed).await;
    let healed = Instant::now();
    writer.link.heal();
    let watching = ground
        .others()
        .iter()
        .map(|region| changes.watch(region, healed));
    let reader = ground.others().first().context("no other region")?;
    let mut reads = Reads::default();
    let arrived = tokio::select! {
        arrived = futures::future::try_join_all(watching) => arrived?,
        error = read_on(reader, &mut reads) => return Err(error),
    };
    let latest = |which: fn(&(Duration, Duration)) -> Duration| {
        arrived
            .iter()
            .map(which)
            .max()
            .unwrap_or_default()
            .as_secs_f64()
    };
    let (first_s, all_s) = (latest(|arrived| arrived.0), latest(|arrived| arrived.1));
    for region in ground.others() {
        changes.check(region).await?;
    }
    let elapsed = reads.samples.total();
    let heal = Heal {
        wan_ms,
        keys,
        first_s,
        all_s,
        reads: reads.samples.summarise(elapsed, reads.failed),
    };
    eprintln!(
        "  {keys} keys at {wan_ms} ms: the first after {:.2} s, all after {:.2} s; reads meanwhile p99 {:.1} ms",
        heal.first_s,
        heal.all_s,
        heal.reads.p99_us / 1e3
    );
    Ok(heal)
}

/// What was written in the region that was cut off.
struct Changes {
    keys: Vec<String>,
    value: Bytes,
}

impl Changes {
    fn new(wan_ms: u64, number: usize) -> Self {
        Self {
            keys: (0..number).map(|n| format!("bench:heal:{n:07}")).collect(),
            // Other values each time, as the keys are the same.
            value: Bytes::from(format!("{wan_ms}-{number}-{}", "v".repeat(VALUE_BYTES))),
        }
    }

    async fn write(&self, region: &Region) -> anyhow::Result<()> {
        for batch in self.keys.chunks(BATCH) {
            let entries: Vec<(&str, &Bytes)> = batch
                .iter()
                .map(|key| (key.as_str(), &self.value))
                .collect();
            region.site.caller.set_many(&entries).await?;
        }
        Ok(())
    }

    /// When the first and when the last change arrived.
    async fn watch(
        &self,
        region: &Region,
        healed: Instant,
    ) -> anyhow::Result<(Duration, Duration)> {
        let (first, last) = (self.keys.first(), self.keys.last());
        let first = self
            .arrival(region, first.context("no keys")?, healed)
            .await?;
        // They come in the order in which they were written.
        let last = self
            .arrival(region, last.context("no keys")?, healed)
            .await?;
        Ok((first, last))
    }

    async fn arrival(
        &self,
        region: &Region,
        key: &str,
        healed: Instant,
    ) -> anyhow::Result<Duration> {
        let mut store = region.site.store.clone();
        while valkey::get(&mut store, key).await?.as_deref() != Some(&self.value[..]) {
            ensure!(
                healed.elapsed() < PATIENCE,
                "{key} has not arrived in {}",
                region.site.name
            );
            sleep(LOOK).await;
        }
        Ok(healed.elapsed())
    }

    /// Looks at every key.
    async fn check(&self, region: &Region) -> anyhow::Result<()> {
        let mut store = region.site.store.clone();
        for batch in self.keys.chunks(BATCH) {
            let found = valkey::get_many(&mut store, batch).await?;
            let same = |value: &Option<Vec<u8>>| value.as_deref() == Some(&self.value[..]);
            ensure!(
                found.iter().all(same),
                "{} has other values after the heal",
                region.site.name
            );
        }
        Ok(())
    }
}

/// What a component that reads sees.
#[derive(Default)]
struct Reads {
    samples: Samples,
    failed: usize,
}

/// Reads until it is dropped, or until one read after another fails.
async fn read_on(region: &Region, reads: &mut Reads) -> anyhow::Error {
    let mut in_a_row = 0;
    loop {
        let began = Instant::now();
        match region.site.caller.get("bench:text:000000").await {
            Ok(_) => {
                in_a_row = 0;
                reads.samples.add(began.elapsed());
            }
            // A call may be lost on the way.
            Err(_) if in_a_row < 3 => {
                in_a_row += 1;
                reads.failed += 1;
            }
            Err(error) => {
                return error.context(format!("no read in {} succeeds", region.site.name))
            }
        }
        sleep(READ).await;
    }
}
