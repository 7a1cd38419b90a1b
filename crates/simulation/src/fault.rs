//! What goes wrong, and how it is mended.

use anyhow::Result;
use replica::vector::VersionVector;

use crate::valkey::Data;
use crate::world::{Happening, Mend, World, RETENTION_MS};

/// Something goes wrong, chosen by the world's seed.
pub fn happen(world: &mut World) -> Result<()> {
    if !world.failing {
        return Ok(());
    }
    let pause = world.rng.u64(500..6_000);
    world.at(pause, Happening::Fault);
    let site = world.rng.usize(0..world.sites.len());
    let running = world.sites[site].engine.is_some();
    let name = match world.rng.u32(0..100) {
        0..22 => cut(world, site),
        22..30 => isolate(world, site, 2_000..15_000),
        30..50 if running => kill(world, site, 100..5_000)?,
        50..62 if running => restart_store(world, site),
        62..67 if running => wipe(world, site)?,
        67..72 if running => set_back(world, site)?,
        72..75 if running => set_back_and_wipe(world, site)?,
        75..80 => backup(world, site),
        80..88 => shift_clock(world, site),
        88..94 => stop(world, site),
        94..97 if running => outlive_retention(world, site)?,
        97..100 if running => go_plain(world, site)?,
        _ => return Ok(()),
    };
    world.count_fault(site, name);
    Ok(())
}

/// Something is mended.
pub fn mend(world: &mut World, mend: &Mend) -> Result<()> {
    match mend {
        Mend::Way(from, to) => {
            world.cut.remove(&(*from, *to));
        }
        Mend::Provider(site) => {
            if is_unheard_of(world, *site) {
                // What a region wrote before anybody knew of it may undo deletes (as is documented).
                world.at(100, Happening::Mend(Mend::Provider(*site)));
            } else if world.sites[*site].engine.is_none() {
                world.start(*site)?;
            }
        }
        Mend::Clock(site) => world.sites[*site].clock_ms = 0,
    }
    Ok(())
}

/// Whether a region that nobody knows could not make itself known. It may have begun, and died before it spoke.
fn is_unheard_of(world: &World, site: usize) -> bool {
    let cut = |(from, _): &(usize, usize)| *from == site;
    !world.known.contains(&world.sites[site].region) && world.cut.iter().any(cut)
}

fn cut(world: &mut World, site: usize) -> &'static str {
    let other = world.rng.usize(0..world.sites.len());
    let after = world.rng.u64(500..12_000);
    let both = world.rng.bool();
    for (from, to) in [(site, other), (other, site)]
        .into_iter()
        .take(1 + usize::from(both))
    {
        world.cut.insert((from, to));
        world.at(after, Happening::Mend(Mend::Way(from, to)));
    }
    if both {
        "two regions cut off from each other"
    } else {
        "one way cut"
    }
}

fn isolate(world: &mut World, site: usize, range: std::ops::Range<u64>) -> &'static str {
    cut_off(world, &[site], range);
    "region cut off"
}

/// Regions hear nobody but each other for a while.
fn cut_off(world: &mut World, inside: &[usize], range: std::ops::Range<u64>) {
    let after = world.rng.u64(range);
    let outside = (0..world.sites.len()).filter(|site| !inside.contains(site));
    for (inside, outside) in outside.flat_map(|out| inside.iter().map(move |site| (*site, out))) {
        for (from, to) in [(inside, outside), (outside, inside)] {
            world.cut.insert((from, to));
            world.at(after, Happening::Mend(Mend::Way(from, to)));
        }
    }
}

pub(crate) fn kill(
    world: &mut World,
    site: usize,
    range: std::ops::Range<u64>,
) -> Result<&'static str> {
    world.last_step(site)?;
    world.sites[site].stop();
    let after = world.rng.u64(range);
    world.at(after, Happening::Mend(Mend::Provider(site)));
    Ok("provider killed")
}

/// The server process is another one; the provider notices when it connects again.
fn restart_store(world: &mut World, site: usize) -> &'static str {
    world.sites[site].restart_store();
    let after = world.rng.u64(0..1_500);
    world.at(after, Happening::Mend(Mend::Provider(site)));
    "store restarted"
}

/// The server process is another one before its list of all keys is whole.
pub(crate) fn restart_listing(world: &mut World, site: usize) {
    if world.sites[site].is_listing() {
        restart_store(world, site);
        world.count_fault(site, "store restarted in the middle of a list");
    }
}

fn replace_disk(world: &mut World, site: usize, disk: Data) -> Result<()> {
    let (before, elsewhere) = (world.vector(site)?, world.elsewhere(site)?);
    world.sites[site].data = disk;
    let after: VersionVector = world.vector(site)?;
    world.history.lose(&before, &after, &elsewhere);
    world.forget_floors(site);
    restart_store(world, site);
    Ok(())
}

fn wipe(world: &mut World, site: usize) -> Result<&'static str> {
    replace_disk(world, site, Data::default())?;
    Ok("disk wiped")
}

pub(crate) fn backup(world: &mut World, site: usize) -> &'static str {
    if world.sites[site].data.get("@kv/r/plain").is_some() {
        // A copy from between two times of replication counts once more when it is restored (as is documented).
        return "no backup while links are plain";
    }
    let copy = world.sites[site].data.clone();
    world.sites[site].dumps.push(copy);
    "backup taken"
}

fn set_back(world: &mut World, site: usize) -> Result<&'static str> {
    let dumps = world.sites[site].dumps.len();
    if dumps == 0 {
        return Ok(backup(world, site));
    }
    let which = world.rng.usize(0..dumps);
    let dump = world.sites[site].dumps[which].clone();
    replace_disk(world, site, dump)?;
    if world.rng.bool() {
        // Nobody can say that it forgot something; it goes on, and hears of it under way.
        isolate(world, site, 2_000..8_000);
    }
    Ok("backup restored")
}

/// A region is set back, and another one's disk is lost, so that it is filled from there: nobody else is heard for a while.
fn set_back_and_wipe(world: &mut World, site: usize) -> Result<&'static str> {
    // The oldest one: the more was deleted since, and forgotten. Not of an empty disk: two regions that know nobody
    // but each other forget tombstones that others need (as is documented).
    let begun = |dump: &&Data| !dump.hash("@kv/r/state").is_empty();
    let Some(dump) = world.sites[site].dumps.iter().find(begun).cloned() else {
        return Ok(backup(world, site));
    };
    let sites = world.sites.len();
    let other = (site + world.rng.usize(1..sites)) % sites;
    replace_disk(world, site, dump)?;
    if world.sites[other].engine.is_some() {
        wipe(world, other)?;
    }
    cut_off(world, &[site, other], 6_000..15_000);
    Ok("backup restored beside a wiped disk")
}

fn shift_clock(world: &mut World, site: usize) -> &'static str {
    const HOUR: i64 = 3_600_000;
    let after = world.rng.u64(1_000..15_000);
    let (by, name) = match world.rng.u8(0..4) {
        0 => (HOUR, "clock an hour ahead"),
        1 => (-HOUR, "clock an hour behind"),
        _ => (world.rng.i64(-400..400), "clock a little off"),
    };
    world.sites[site].clock_ms = by;
    world.at(after, Happening::Mend(Mend::Clock(site)));
    name
}

fn stop(world: &mut World, site: usize) -> &'static str {
    world.sites[site].paused_until = world.now + world.rng.u64(500..10_000);
    "provider paused"
}

/// The links of a region are plain for a while.
fn go_plain(world: &mut World, site: usize) -> Result<&'static str> {
    kill(world, site, 100..5_000)?;
    world.sites[site].client = None;
    if world.sites[site].data.hash("@kv/r/state").is_empty() {
        return Ok("provider killed");
    }
    world.write_plain(site);
    Ok("written plain")
}

/// One region is away for so long that the others give it up.
fn outlive_retention(world: &mut World, site: usize) -> Result<&'static str> {
    let long = RETENTION_MS + 3_000;
    if world.faults.contains_key("region away past the retention") {
        return Ok(backup(world, site));
    }
    if world.rng.bool() {
        isolate(world, site, long..long + 5_000);
    } else {
        kill(world, site, long..long + 5_000)?;
    }
    Ok("region away past the retention")
}
