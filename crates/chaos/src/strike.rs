//! Makes faults happen, mends them, and proves that they happened.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use lattice::probe;
use lattice::region::HOME;
use lattice::supervise::State;

use crate::fault::{Fault, Kind};
use crate::ground::{told, Ground};

/// How long a killed process may take to be another one.
const ANOTHER: Duration = Duration::from_secs(60);

/// A region before a fault.
#[derive(Debug)]
pub struct Before {
    /// Process ids by name.
    pids: BTreeMap<String, u32>,
    /// What cuts of its WAN link have lost.
    lost: Lost,
}

/// What cuts of a WAN link kept from arriving so far.
#[derive(Clone, Copy, Debug)]
struct Lost {
    bytes: u64,
    /// Connections that got nowhere. A leaf node that comes back after the hub died says nothing before it hears
    /// the hub, so a cut that came meanwhile loses these and no bytes.
    connections: u64,
}

/// Looks at the region where a fault is about to happen.
///
/// # Errors
///
/// There is no such region.
pub async fn before(ground: &Ground, fault: &Fault) -> anyhow::Result<Before> {
    Ok(Before {
        pids: pids(ground, &fault.region, None).await,
        lost: lost(ground, &fault.region)?,
    })
}

/// Makes a fault happen.
///
/// # Errors
///
/// It cannot.
pub async fn strike(ground: &Ground, fault: &Fault) -> anyhow::Result<()> {
    let Fault { kind, region } = fault;
    let lattice = &ground.lattice;
    let process = kind.process();
    if let Some(direction) = kind.direction() {
        lattice.cut(region, direction).map_err(told)?;
    } else if kind.is_pause() {
        lattice.pause(region, process).await.map_err(told)?;
    } else {
        let hold = matches!(kind, Kind::KillValkey | Kind::KillHub);
        lattice.kill(region, process, hold).await.map_err(told)?;
    }
    Ok(())
}

/// Mends a fault. What mends itself is left to.
///
/// # Errors
///
/// It cannot be mended.
pub async fn mend(ground: &Ground, fault: &Fault) -> anyhow::Result<()> {
    let Fault { kind, region } = fault;
    let lattice = &ground.lattice;
    if kind.direction().is_some() || kind.is_pause() {
        lattice.heal(Some(region)).await.map_err(told)?;
    } else if matches!(kind, Kind::KillRegion | Kind::KillValkey | Kind::KillHub) {
        let revived = lattice.revive(region, kind.process()).await;
        revived.map_err(told)?;
    }
    Ok(())
}

/// What shows while the fault lasts that it happened.
pub async fn during(ground: &Ground, fault: &Fault, before: &Before) -> Option<String> {
    if fault.kind.is_pause() {
        let stopped = pids(ground, &fault.region, Some(State::Paused)).await;
        return same(fault, before, &stopped);
    }
    fault.kind.direction()?;
    let now = lost(ground, &fault.region).ok()?;
    let bytes = now.bytes.checked_sub(before.lost.bytes)?;
    let connections = now.connections.checked_sub(before.lost.connections)?;
    (bytes > 0 || connections > 0)
        .then(|| format!("the WAN lost {bytes} bytes and swallowed {connections} connections"))
}

/// What shows after a kill that it happened: other processes.
pub async fn after(ground: &Ground, fault: &Fault, before: &Before) -> Option<String> {
    if fault.kind.is_pause() || fault.kind.direction().is_some() {
        return None;
    }
    let others = probe::until("other processes", ANOTHER, || async {
        let now = pids(ground, &fault.region, Some(State::Running)).await;
        let changed = struck(fault, before).map(|(name, old)| {
            let new = now.get(name).filter(|new| *new != old);
            new.map(|new| format!("{name} {old} → {new}"))
        });
        let changed: Option<Vec<String>> = changed.collect();
        changed.ok_or_else(|| "the same".to_owned())
    });
    let others = others.await.ok()?;
    (!others.is_empty()).then(|| others.join(", "))
}

/// The processes that a fault of processes strikes.
fn struck<'a>(fault: &'a Fault, before: &'a Before) -> impl Iterator<Item = (&'a str, &'a u32)> {
    let of_the_hub = |name: &str| fault.region == HOME && matches!(name, "hub" | "wadm");
    let is_struck = move |name: &str| match fault.kind.process() {
        Some(process) => name == process,
        None => !of_the_hub(name),
    };
    let pids = before.pids.iter();
    pids.filter(move |(name, _)| is_struck(name))
        .map(|(name, pid)| (name.as_str(), pid))
}

/// That all the struck processes are in `now`.
fn same(fault: &Fault, before: &Before, now: &BTreeMap<String, u32>) -> Option<String> {
    let stopped = struck(fault, before)
        .map(|(name, pid)| (now.get(name) == Some(pid)).then(|| format!("{name} {pid}")));
    let stopped: Vec<String> = stopped.collect::<Option<_>>()?;
    (!stopped.is_empty()).then(|| format!("stopped: {}", stopped.join(", ")))
}

/// Process ids of a region by name, of processes in this state if one is given.
async fn pids(ground: &Ground, region: &str, state: Option<State>) -> BTreeMap<String, u32> {
    let status = ground.status().await;
    let regions = status.regions.into_iter();
    let processes = regions
        .filter(|known| known.name == region)
        .flat_map(|known| known.processes);
    let found = processes.filter(|process| state.is_none_or(|state| process.state == state));
    found
        .filter_map(|process| Some((process.name, process.pid?)))
        .collect()
}

fn lost(ground: &Ground, region: &str) -> anyhow::Result<Lost> {
    let place = ground.lattice.place(region).map_err(told)?;
    let link = place.link.status();
    let bytes = link.to_hub.lost.checked_add(link.from_hub.lost);
    Ok(Lost {
        bytes: bytes.context("too many bytes to count")?,
        connections: link.swallowed,
    })
}
