//! Deterministic simulation of replicated regions.
//!
//! One seed makes one world: three to seven regions with a store each, whose steps are taken by the very script
//! that runs in Valkey; the engine of `crates/replica`; a network that loses, repeats, delays and
//! reorders; clocks that jump; disks that are wiped or set back; processes that die between any two steps. In the
//! end everything is mended, and everything that was ever acknowledged has to be there, once.

pub mod bug;
pub mod check;
mod client;
mod fault;
mod history;
mod report;
mod site;
pub mod valkey;
mod world;

use anyhow::{ensure, Context as _, Result};

pub use bug::Bug;
pub use report::{again, processors, Report, Total};
pub use world::World;

use world::PULL_MS;

/// How long things go wrong, in milliseconds of a world.
const TROUBLE_MS: u64 = 50_000;
/// How long the regions may take to be in step afterwards.
const PATIENCE_MS: u64 = 90_000;

/// Runs the world of a seed.
///
/// # Errors
///
/// What is wrong in the end, or went wrong on the way.
pub fn run(seed: u64, bug: Option<Bug>) -> Result<Report> {
    run_with(seed, bug, None)
}

/// As [`run`]; when it fails, the error also tells what happened, and everything about a key.
///
/// # Errors
///
/// As [`run`].
pub fn run_with(seed: u64, bug: Option<Bug>, key: Option<&str>) -> Result<Report> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let sites = rng.usize(3..=7);
    let mut world = World::new(rng, sites, bug)?;
    let result = live(&mut world);
    match (result, key) {
        (Err(error), Some(key)) => {
            let story = world.story.join("\n  ");
            let trace = check::trace(&world, key)?;
            Err(error.context(format!("{trace}\n  {story}\n")))
        }
        (result, _) => result,
    }
}

fn live(world: &mut World) -> Result<Report> {
    begin(world)?;
    world.run(TROUBLE_MS)?;
    fault_free(world)?;
    let in_step_ms = settle(world)?;
    check::values(world)?;
    world.compared.clear();
    // Tombstones go, digests are compared; nothing else may change.
    world.run(world.now + 25_000)?;
    check::values(world)?;
    check::stores(world)?;
    check::logs(world)?;
    check::clocks(world)?;
    compare(world)?;
    Ok(Report {
        regions: world.sites.len(),
        writes: world.history.done.len(),
        uncertain: world
            .history
            .done
            .iter()
            .filter(|done| done.uncertain)
            .count(),
        in_step_ms,
        faults: std::mem::take(&mut world.faults),
        notices: std::mem::take(&mut world.notices),
    })
}

/// Some regions begin at once, some later; some on a disk with values from before.
fn begin(world: &mut World) -> Result<()> {
    for site in 0..world.sites.len() {
        if world.rng.u8(0..4) == 0 {
            world.sites[site].data.set("adopted", b"same");
            let before = check::ADOPTED.to_string();
            world.sites[site].data.set("count0", before.as_bytes());
        }
        if site < 2 || world.rng.bool() {
            world.start(site)?;
        } else {
            let after = world.rng.u64(1_000..40_000);
            let mend = world::Mend::Provider(site);
            world.at(after, world::Happening::Mend(mend));
        }
    }
    Ok(())
}

fn fault_free(world: &mut World) -> Result<()> {
    world.failing = false;
    world.cut.clear();
    world.weather.late = 0;
    for site in 0..world.sites.len() {
        world.sites[site].clock_ms = 0;
        world.sites[site].paused_until = 0;
        if world.sites[site].engine.is_none() {
            world.start(site)?;
        }
    }
    // Components go on for a while: converging under writes is part of it.
    world.run(world.now + 6_000)?;
    world.writing = false;
    Ok(())
}

/// Waits until each region has found that each other one's digest is equal to its own.
fn compare(world: &mut World) -> Result<()> {
    let start = world.now;
    while let Some((site, peer)) = check::not_compared(world) {
        ensure!(
            world.now < start + PATIENCE_MS,
            "{} never compared its digest with that of {peer}",
            world.sites[site].region
        );
        world.run(world.now + 1_000).context("comparing")?;
    }
    Ok(())
}

fn settle(world: &mut World) -> Result<u64> {
    let start = world.now;
    while !check::is_in_step(world)? {
        ensure!(
            world.now < start + PATIENCE_MS,
            "the regions are not in step:{}",
            check::describe(world)?
        );
        world.run(world.now + 250).context("settling")?;
    }
    if check::has_orphans(world)? {
        // They come with the readings that are made without need, as no vector shows that they are missing.
        world.run(world.now + 2 * PULL_MS).context("settling")?;
    }
    Ok(world.now - start)
}
