//! The end of a run: nobody writes any more, and every region has to become the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::bail;
use lattice::probe;
use serde_json::Value;
use tokio::time::sleep;

use crate::ground::{told, Ground};
use crate::history::{Call, Last, Outcome, Way};
use crate::observer::everything;
use crate::recorder::Recorder;
use crate::report::Ending;
use crate::run::say;
use crate::store::Store;

/// How long the regions may take to be in step, and then to have compared their digests.
const DEADLINE: Duration = Duration::from_secs(120);
/// How old a status, and what it says of others, is at most.
const AGED: Duration = Duration::from_secs(3);
/// How often a read is tried: a reply may be lost on its way.
const READS: usize = 5;

/// Waits until the regions are in step and reads everything everywhere.
pub async fn wait(ground: &Ground, recorder: &Recorder) -> (Ending, Vec<Last>) {
    let mut ending = Ending {
        quiet_at: recorder.now(),
        ..Ending::default()
    };
    say(
        recorder,
        "the clients have stopped; waiting for the regions to be in step",
    );
    match settle(ground, recorder, &mut ending).await {
        Ok(last) => (ending, last),
        Err(error) => {
            ending.error = Some(format!("{error:#}"));
            (ending, Vec::new())
        }
    }
}

async fn settle(
    ground: &Ground,
    recorder: &Recorder,
    ending: &mut Ending,
) -> anyhow::Result<Vec<Last>> {
    let mut stores = BTreeMap::new();
    for (region, ports) in &ground.stores {
        stores.insert(region.clone(), Store::connect(ports.nats).await?);
    }
    let since = || recorder.now().saturating_sub(ending.quiet_at) / 1_000;
    let in_step = || {
        probe::until("all regions in step", DEADLINE, || async {
            all(&stores, is_in_step).await
        })
    };
    in_step().await.map_err(told)?;
    let in_step_ms = since();
    // What a region says of itself and of others may be from before the last writes.
    sleep(AGED).await;
    in_step().await.map_err(told)?;
    let equal = probe::until("equal digests", DEADLINE, || async {
        all(&stores, has_equal_digests).await
    });
    equal.await.map_err(told)?;
    let digests_equal_ms = since();
    ending.in_step_ms = Some(in_step_ms);
    ending.digests_equal_ms = Some(digests_equal_ms);
    for store in stores.values() {
        let status = store.status().await.unwrap_or_default();
        let conflicts = status.get("conflict_count").and_then(Value::as_u64);
        ending.conflicts = ending.conflicts.max(conflicts.unwrap_or_default());
    }
    say(
        recorder,
        "in step, and digests equal; reading everything everywhere",
    );
    read(ground, &stores).await
}

/// Asks every region for what it says of itself, and `judge` of each.
async fn all(
    stores: &BTreeMap<String, Store>,
    judge: impl Fn(&Value, usize) -> Result<(), String>,
) -> Result<(), String> {
    for (region, store) in stores {
        let said = store.status().await;
        let said = said.ok_or_else(|| format!("{region} says nothing"))?;
        if said["region"] != region.as_str() {
            return Err(format!("{} answers for {region}", said["region"]));
        }
        judge(&said, stores.len() - 1).map_err(|why| format!("{region}: {why}"))?;
    }
    Ok(())
}

fn is_in_step(said: &Value, others: usize) -> Result<(), String> {
    if said["phase"] != "ready" || said["behind_operations"] != 0 || said["waiting"] != 0 {
        let behind = &said["behind_operations"];
        return Err(format!("{}, {behind} behind", said["phase"]));
    }
    let peers = said["peers"].as_array().map_or(&[][..], Vec::as_slice);
    if peers.len() != others {
        return Err(format!("it knows {} of {others} others", peers.len()));
    }
    let late = |peer: &&Value| peer["live"] != true || peer["behind_operations"] != 0;
    match peers.iter().find(late) {
        Some(peer) => Err(format!("{} is behind or silent", peer["region"])),
        None => Ok(()),
    }
}

fn has_equal_digests(said: &Value, _: usize) -> Result<(), String> {
    let peers = said["peers"].as_array().map_or(&[][..], Vec::as_slice);
    match peers.iter().find(|peer| peer["digest_equal"] != true) {
        Some(peer) => Err(format!(
            "digest equal to that of {}: {}",
            peer["region"], peer["digest_equal"]
        )),
        None => Ok(()),
    }
}

/// Reads every key in every Valkey, and the clients' once more as clients do.
async fn read(ground: &Ground, stores: &BTreeMap<String, Store>) -> anyhow::Result<Vec<Last>> {
    let mut keys = BTreeSet::new();
    let mut held = BTreeMap::new();
    for (region, ports) in &ground.stores {
        let values = everything(ports.valkey).await?;
        keys.extend(values.keys().cloned());
        held.insert(region, values);
    }
    let mut last = Vec::new();
    for key in &keys {
        for (region, store) in stores {
            let value = held.get(region).and_then(|values| values.get(key)).cloned();
            let note = |way, value| Last {
                region: region.clone(),
                way,
                key: key.clone(),
                value,
            };
            last.push(note(Way::Valkey, value));
            if !key.starts_with("page/") {
                last.push(note(Way::Call, get(store, key).await?));
            }
        }
    }
    Ok(last)
}

async fn get(store: &Store, key: &str) -> anyhow::Result<Option<String>> {
    let mut why = String::new();
    for _ in 0..READS {
        match store.call(key, &Call::Get).await {
            Outcome::Ok(value) => return Ok(value),
            Outcome::Failed(reason) | Outcome::Unknown(reason) => why = reason,
        }
    }
    bail!("{key} cannot be read in the end: {why}")
}
