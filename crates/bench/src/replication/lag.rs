//! How long after its acknowledgement a write is visible in another region.
//!
//! A region's Valkey is asked again and again by a connection of this program's own, so that one
//! clock sees both ends. What is visible before the writer hears of its own write has no lag.

use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::caller::Caller;
use super::ground::{Ground, Region};
use crate::sample::{Samples, Summary};
use crate::valkey;

/// The most that the median lag may be beyond the way itself.
pub const ALLOWED: Duration = Duration::from_millis(5);
/// Before the next write, so that each has an idle system before it.
const PAUSE: Duration = Duration::from_millis(10);
/// A write that takes longer is missing.
const PATIENCE: Duration = Duration::from_secs(10);
/// The other region's Valkey is left alone until so long before the write can arrive.
const EARLY: Duration = Duration::from_millis(5);

const KEY: &str = "bench:lag";

/// The lag at one round trip between regions.
#[derive(Debug, Serialize)]
pub struct Lag {
    pub wan_ms: u64,
    /// Whether somebody else writes in the same region meanwhile, one write after another.
    pub busy: bool,
    pub summary: Summary,
}

/// Times `number` writes of the first region, to each other one in turn.
pub async fn measure(
    ground: &Ground,
    wan_ms: u64,
    number: usize,
    busy: bool,
) -> anyhow::Result<Lag> {
    let one_way = Duration::from_millis(wan_ms) / 2;
    ground.set_wan(Duration::from_millis(wan_ms));
    let writer = ground.first()?;
    ground.settle(writer).await?;
    let mut others = JoinSet::new();
    if busy {
        others.spawn(write_on(writer.site.caller.clone()));
    }
    let mut samples = Samples::default();
    let mut failed = 0;
    for (turn, reader) in ground.others().iter().cycle().take(number).enumerate() {
        sleep(PAUSE).await;
        let value = Bytes::from(format!("{wan_ms}-{turn}"));
        if writer.site.caller.set(KEY, &value).await.is_err() {
            // The call, or its answer, was lost on the way: nobody knows when it was acknowledged.
            failed += 1;
            ensure!(failed * 10 < number, "{failed} of {number} writes failed");
            continue;
        }
        samples.add(time(reader, &value, one_way).await?);
    }
    let elapsed = samples.total();
    let summary = samples.summarise(elapsed, failed);
    let others = if busy { ", busy" } else { "" };
    super::progress(&format!("lag at {wan_ms} ms{others}"), &summary);
    Ok(Lag {
        wan_ms,
        busy,
        summary,
    })
}

/// Writes until it is dropped. A call may be lost on the way.
async fn write_on(caller: Caller) {
    let value = Bytes::from_static(b"busy");
    for number in 0_u64.. {
        let key = format!("bench:busy:{:03}", number % 1000);
        if caller.set(&key, &value).await.is_err() {
            sleep(PAUSE).await;
        }
    }
}

/// From now, when a value is acknowledged, until a region shows it.
async fn time(reader: &Region, value: &Bytes, one_way: Duration) -> anyhow::Result<Duration> {
    let mut store = reader.site.store.clone();
    let acknowledged = Instant::now();
    sleep(one_way.saturating_sub(EARLY)).await;
    loop {
        if valkey::get(&mut store, KEY).await?.as_deref() == Some(value) {
            return Ok(acknowledged.elapsed());
        }
        ensure!(
            acknowledged.elapsed() < PATIENCE,
            "a write has not arrived in {}",
            reader.site.name
        );
    }
}
