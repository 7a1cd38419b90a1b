//! What a call costs: straight on Valkey, through the provider in plain mode, and replicated.
//!
//! The three take turns of a fraction of a second, so that what else happens on the machine hits
//! all of them alike. The replicated store's work in the other regions is part of its own turn: the next begins when
//! everything has arrived.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context as _};
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::AsyncCommands as _;
use serde::Serialize;
use tokio::task::JoinSet;

use super::caller::Caller;
use super::ground::{Ground, Site};
use super::plan::Plan;
use crate::sample::{Samples, Summary};
use crate::valkey;

/// Keys in the bucket: texts, and counters.
pub const KEYS: usize = 10_000;
const COUNTERS: usize = 1_000;
const VALUE_BYTES: usize = 64;
const MANY: usize = 100;
/// Keys stored with one call.
const BATCH: usize = 500;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    Get,
    GetMany,
    ListKeys,
    Set,
    Increment,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Valkey, asked by the same client crate.
    Raw,
    /// The provider in plain mode.
    Plain,
    /// The provider in replicated mode.
    Replicated,
    /// The same while the other regions' processes are stopped, as if they were on machines of their own. Writes alone:
    /// of reads the others never hear.
    Alone,
}

/// One operation of one store.
#[derive(Debug, Serialize)]
pub struct Point {
    pub operation: Operation,
    pub way: Way,
    pub callers: usize,
    pub summary: Summary,
}

impl Operation {
    pub const ALL: [Self; 5] = [
        Self::Get,
        Self::GetMany,
        Self::ListKeys,
        Self::Set,
        Self::Increment,
    ];

    pub fn writes(self) -> bool {
        matches!(self, Self::Set | Self::Increment)
    }

    fn is_measured(self, way: Way) -> bool {
        way != Way::Alone || self.writes()
    }
}

/// A store to be called in one of the ways.
#[derive(Clone)]
enum Subject {
    Raw(MultiplexedConnection),
    Provider(Caller),
}

/// The bucket's keys, and which is next.
struct Keys {
    texts: Vec<String>,
    /// The same in another order, so that neighbours lie anywhere in memory.
    mixed: Vec<String>,
    counters: Vec<String>,
    value: Bytes,
    next: AtomicU64,
}

impl Keys {
    fn new() -> Self {
        let named = |kind: &str, number: usize| -> Vec<String> {
            (0..number)
                .map(|n| format!("bench:{kind}:{n:06}"))
                .collect()
        };
        let texts = named("text", KEYS - COUNTERS);
        // A prime that does not divide the number of texts leads to each of them once.
        let mixed = (0..texts.len()).filter_map(|n| texts.get(n * 4099 % texts.len()));
        Self {
            mixed: mixed.cloned().collect(),
            texts,
            counters: named("count", COUNTERS),
            value: Bytes::from(vec![b'v'; VALUE_BYTES]),
            next: AtomicU64::new(1),
        }
    }

    /// A place in a list, another one each time and none twice in a row.
    fn pick(&self, length: usize) -> usize {
        // Knuth's multiplier spreads consecutive numbers over the list.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        usize::try_from(spread).unwrap_or(0) % length.max(1)
    }

    fn one<'a>(&self, list: &'a [String]) -> anyhow::Result<&'a str> {
        let key = list.get(self.pick(list.len())).context("no keys")?;
        Ok(key)
    }
}

/// Measures every operation in every way.
pub async fn measure(plan: &Plan, ground: &Ground, plain: &Site) -> anyhow::Result<Vec<Point>> {
    let region = ground.first()?;
    let keys = std::sync::Arc::new(Keys::new());
    for caller in [&plain.caller, &region.site.caller] {
        fill(caller, &keys).await?;
    }
    ground.settle(region).await?;
    let subjects = [
        (Way::Raw, Subject::Raw(plain.store.clone())),
        (Way::Plain, Subject::Provider(plain.caller.clone())),
        (
            Way::Replicated,
            Subject::Provider(region.site.caller.clone()),
        ),
        (Way::Alone, Subject::Provider(region.site.caller.clone())),
    ];
    let mut points = Vec::new();
    for callers in &plan.callers {
        for operation in Operation::ALL {
            let mut seen = subjects.each_ref().map(|_| Seen::default());
            // The first turn warms up and does not count.
            for turn in 0..=plan.turns {
                for at in 0..subjects.len() {
                    let at = (at + turn) % subjects.len();
                    let (way, subject) = &subjects[at];
                    if !operation.is_measured(*way) {
                        continue;
                    }
                    let stopped = (*way == Way::Alone).then(|| ground.stop_others());
                    let slice = visit(subject, operation, *callers, plan.slice, &keys).await;
                    drop(stopped);
                    let slice = slice?;
                    if matches!(way, Way::Replicated | Way::Alone) && operation.writes() {
                        ground.settle(region).await?;
                    }
                    if turn > 0 {
                        seen[at].append(slice);
                    }
                }
            }
            let measured = subjects.iter().zip(seen);
            for ((way, _), seen) in measured.filter(|((way, _), _)| operation.is_measured(*way)) {
                let summary = seen.summarise();
                super::progress(&format!("{operation:?} {way:?} × {callers}"), &summary);
                points.push(Point {
                    operation,
                    way: *way,
                    callers: *callers,
                    summary,
                });
            }
        }
    }
    Ok(points)
}

/// What callers saw in a turn, or in all of them.
#[derive(Default)]
struct Seen {
    samples: Samples,
    failed: usize,
    elapsed: Duration,
}

impl Seen {
    fn append(&mut self, other: Self) {
        self.samples.append(other.samples);
        self.failed += other.failed;
        self.elapsed += other.elapsed;
    }

    fn summarise(self) -> Summary {
        self.samples.summarise(self.elapsed, self.failed)
    }
}

/// A closed loop of each caller for as long as a turn lasts.
async fn visit(
    subject: &Subject,
    operation: Operation,
    callers: usize,
    slice: Duration,
    keys: &std::sync::Arc<Keys>,
) -> anyhow::Result<Seen> {
    let started = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let (subject, keys) = (subject.clone(), keys.clone());
        running.spawn(async move {
            let mut seen = Seen::default();
            let mut refused = None;
            while started.elapsed() < slice {
                let began = Instant::now();
                match subject.call(operation, &keys).await {
                    Ok(()) => seen.samples.add(began.elapsed()),
                    Err(error) => {
                        seen.failed += 1;
                        refused = Some(error);
                    }
                }
            }
            (seen, refused)
        });
    }
    let (mut all, mut refused) = (Seen::default(), None);
    while let Some(one) = running.join_next().await {
        let (seen, error) = one?;
        all.append(seen);
        refused = refused.or(error);
    }
    all.elapsed = started.elapsed();
    // A call may be lost, the only one of a caller, too; if none is answered, there is nothing to measure.
    match refused {
        Some(error) if all.samples.len() == 0 => Err(error),
        _ => Ok(all),
    }
}

impl Subject {
    async fn call(&self, operation: Operation, keys: &Keys) -> anyhow::Result<()> {
        match (self, operation) {
            (Self::Raw(store), operation) => raw(store.clone(), operation, keys).await,
            (Self::Provider(caller), Operation::Get) => {
                let found = caller.get(keys.one(&keys.texts)?).await?;
                found.map(drop).context("a key is gone")
            }
            (Self::Provider(caller), Operation::Set) => {
                caller.set(keys.one(&keys.texts)?, &keys.value).await
            }
            (Self::Provider(caller), Operation::Increment) => {
                caller.increment(keys.one(&keys.counters)?).await.map(drop)
            }
            (Self::Provider(caller), Operation::GetMany) => {
                let wanted: Vec<&str> = some(keys).iter().map(String::as_str).collect();
                all_of(caller.get_many(&wanted).await?, wanted.len())
            }
            (Self::Provider(caller), Operation::ListKeys) => {
                let listed = caller.list_keys().await?;
                ensure!(listed >= KEYS, "{listed} keys of {KEYS}");
                Ok(())
            }
        }
    }
}

/// The same with the commands that it takes.
async fn raw(
    mut store: MultiplexedConnection,
    operation: Operation,
    keys: &Keys,
) -> anyhow::Result<()> {
    match operation {
        Operation::Get => {
            let found = valkey::get(&mut store, keys.one(&keys.texts)?).await?;
            found.map(drop).context("a key is gone")
        }
        Operation::Set => {
            let key = keys.one(&keys.texts)?;
            Ok(store.set(key, keys.value.as_ref()).await?)
        }
        Operation::Increment => {
            let key = keys.one(&keys.counters)?;
            Ok(valkey::increment(&mut store, key).await.map(drop)?)
        }
        Operation::GetMany => {
            let wanted = some(keys);
            let found = valkey::get_many(&mut store, wanted).await?;
            all_of(found.iter().flatten().count(), wanted.len())
        }
        Operation::ListKeys => {
            let listed = valkey::list(&mut store).await?.len();
            ensure!(listed >= KEYS, "{listed} keys of {KEYS}");
            Ok(())
        }
    }
}

fn some(keys: &Keys) -> &[String] {
    let from = keys.pick(keys.mixed.len().saturating_sub(MANY));
    keys.mixed.get(from..from + MANY).unwrap_or_default()
}

fn all_of(found: usize, wanted: usize) -> anyhow::Result<()> {
    ensure!(
        found == wanted && wanted > 0,
        "{found} values for {wanted} keys"
    );
    Ok(())
}

async fn fill(caller: &Caller, keys: &Keys) -> anyhow::Result<()> {
    let zero = Bytes::from_static(b"0");
    let texts = keys.texts.iter().map(|key| (key.as_str(), &keys.value));
    let counters = keys.counters.iter().map(|key| (key.as_str(), &zero));
    let entries: Vec<(&str, &Bytes)> = texts.chain(counters).collect();
    for batch in entries.chunks(BATCH) {
        caller.set_many(batch).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_bucket_holds_as_many_different_keys_as_the_tables_say() {
        let keys = Keys::new();
        let all: BTreeSet<&String> = keys.texts.iter().chain(&keys.counters).collect();
        assert_eq!(all.len(), KEYS);
        let mixed: BTreeSet<&String> = keys.mixed.iter().collect();
        let texts: BTreeSet<&String> = keys.texts.iter().collect();
        assert_eq!(mixed, texts);
    }

    #[test]
    fn keys_are_picked_from_all_over_a_list() {
        let keys = Keys::new();
        let picked: BTreeSet<usize> = (0..1000).map(|_| keys.pick(100)).collect();
        assert!(picked.len() > 90, "{picked:?}");
        assert!(picked.iter().all(|at| *at < 100), "{picked:?}");
        assert_eq!(some(&keys).len(), MANY);
    }
}
