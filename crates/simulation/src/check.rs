//! What has to be true, all the time or in the end.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, ensure, Context as _, Result};
use replica::entry::{Entry, Shard, ShardId};
use replica::merge::{merge, Seen};
use replica::region::{Author, Region};
use replica::store::{Op, Outcome, Row, Session};
use replica::vector::VersionVector;

use crate::history::Done;
use crate::site::take;
use crate::world::{World, TOMBSTONE_MS};

/// What a counter may have stood at before there was a group.
pub const ADOPTED: u64 = 7;

/// Whether all regions serve and cover the same.
pub fn is_in_step(world: &World) -> Result<bool> {
    let first = world.vector(0)?;
    for site in 0..world.sites.len() {
        if !world.sites[site].serving || world.vector(site)? != first {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a store holds entries that nobody covers: all disks are gone on which the numbers before them were.
pub fn has_orphans(world: &World) -> Result<bool> {
    for site in 0..world.sites.len() {
        let covered = world.vector(site)?;
        let rows = entries(world, site)?;
        if rows.iter().any(|row| !row.entry.is_covered_by(&covered)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A region that did not find yet that another one's digest is equal to its own.
pub fn not_compared(world: &World) -> Option<(usize, Region)> {
    let regions = || world.sites.iter().map(|site| &site.region);
    regions().enumerate().find_map(|(site, region)| {
        let mut others = regions().filter(|other| *other != region);
        let missing = |other: &&Region| !world.compared.contains(&(site, (*other).clone()));
        Some((site, others.find(missing)?.clone()))
    })
}

/// Why the regions are not in step, for a report.
pub fn describe(world: &World) -> Result<String> {
    let mut text = String::new();
    for (number, site) in world.sites.iter().enumerate() {
        let status = site.engine.as_ref().map(|engine| engine.status());
        text.push_str(&format!(
            "\n  {}: {} {:?}",
            site.region,
            status.map_or("no provider".into(), |status| status.phase),
            world.vector(number)?
        ));
    }
    Ok(text)
}

/// All entries of a store.
pub(crate) fn entries(world: &World, site: usize) -> Result<Vec<Row>> {
    let run = world.sites[site].run_id();
    let mut data = world.sites[site].data.clone();
    let mut session = Session::new(run);
    take(&world.interpreter, &mut data, &mut session, Op::Load)?;
    let names = Op::Names {
        cursor: Some(0),
        rows: 1 << 20,
    };
    let keys = match take(&world.interpreter, &mut data, &mut session, names)? {
        Outcome::Names(names) if names.next.is_none() => names.names,
        other => bail!("the names are {other:?}"),
    };
    let keys = keys.into_iter().map(|(name, _)| name).collect();
    match take(
        &world.interpreter,
        &mut data,
        &mut session,
        Op::Read { keys },
    )? {
        Outcome::Rows(rows) => Ok(rows),
        other => bail!("a read answered {other:?}"),
    }
}

/// What any region would still be given, were it to read on in another's change log: all that it lacks.
pub fn logs(world: &World) -> Result<()> {
    const STATE: &str = "@kv/r/state";
    const ALL_KEYS: u64 = 1 << 51;
    // A store that was restarted says nothing before its provider has looked at it; what links in plain mode wrote is in no
    // log before it is adopted.
    let held = |site: usize| {
        let plain = world.sites[site].data.get("@kv/r/plain").is_some();
        entries(world, site).ok().filter(|_| !plain)
    };
    let held: Vec<Option<Vec<Row>>> = (0..world.sites.len()).map(held).collect();
    let vectors = (0..world.sites.len()).map(|site| world.vector(site));
    let vectors: Vec<VersionVector> = vectors.collect::<Result<_>>()?;
    for (site, rows) in held.iter().enumerate() {
        let (Some(rows), place) = (rows, &world.sites[site]) else {
            continue;
        };
        let source = place.data.hash(STATE);
        let base: u64 = source.get("b").map_or(Ok(0), |base| base.parse())?;
        let life = &place.data.parts("@kv/r/life")[0];
        let [log, all] = ["@kv/r/log", "@kv/r/all"].map(|name| place.data.list(name));
        for (reader, theirs) in held.iter().enumerate() {
            let state = world.sites[reader].data.hash(STATE);
            let cursor = state.get(&format!("c:{}", place.region));
            let cursor = cursor.and_then(|cursor| cursor.split_once(','));
            let (Some(theirs), Some((incarnation, position))) = (theirs, cursor) else {
                continue;
            };
            let position: u64 = position.parse()?;
            let number = |name: &str| source.get(name).map(|number| number.parse::<u64>());
            let lists = number("z").transpose()?.unwrap_or(0);
            let begins = ALL_KEYS + ((lists % (1 << 20)) << 31);
            let (first, after) = match number("s").transpose()? {
                Some(since) if (begins..begins + (1 << 31)).contains(&position) => {
                    (usize::try_from(position - begins)?, since)
                }
                _ => (usize::MAX, position),
            };
            let is_listing = first <= all.len() && place.is_listing();
            if incarnation != life || !(base..ALL_KEYS).contains(&after) || is_listing {
                // It is to be given all.
                continue;
            }
            let log = log.iter().skip(usize::try_from(after - base)?);
            let left: BTreeSet<&String> = all.iter().skip(first).chain(log).collect();
            let theirs: BTreeMap<&String, &Entry> =
                theirs.iter().map(|row| (&row.key, &row.entry)).collect();
            let (nothing, covered) = (Entry::default(), &vectors[reader]);
            for row in rows {
                let mine = Seen {
                    entry: theirs.get(&row.key).copied().unwrap_or(&nothing),
                    vector: covered,
                };
                let given = Seen {
                    entry: &row.entry,
                    vector: &vectors[site],
                };
                let is_gone = |id: &ShardId, seq| {
                    let mut others = vectors.iter().zip(&held);
                    others.any(|(vector, rows)| {
                        let mut rows = rows.iter().flatten().filter(|other| other.key == row.key);
                        vector.covers(&id.author, seq)
                            && rows.all(|other| !other.entry.shards.contains_key(id))
                    })
                };
                ensure!(
                    left.contains(&row.key)
                        || row.entry.is_covered_by(covered)
                        || has(mine, given, is_gone),
                    "{} is not in the log of {} after {position}, and {} lacks {:?}",
                    row.key,
                    place.region,
                    world.sites[reader].region,
                    row.entry
                );
            }
        }
    }
    Ok(())
}

/// Whether what one region is given of a key would add nothing there: it may make it forget something. Of two writes that
/// replaced the same of a counter either does; and what was replaced as a whole may be missing if it is gone somewhere: that
/// region may have been read, too.
fn has(mine: Seen<'_>, theirs: Seen<'_>, is_gone: impl Fn(&ShardId, u64) -> bool) -> bool {
    let both = merge(mine, theirs);
    let replaced = |shard: &Shard| shard.replaced.as_ref().map(|replaced| replaced.count);
    let same = |(id, shard): (&ShardId, &Shard)| match mine.entry.shards.get(id) {
        Some(held) => {
            let amounts = |shard: &Shard| (shard.count, replaced(shard).unwrap_or(0));
            amounts(held) == amounts(shard)
        }
        None => replaced(shard) == Some(shard.count) && is_gone(id, shard.seq),
    };
    let register = both.register.is_none() || both.register == mine.entry.register;
    register && both.shards.iter().all(same)
}

/// Every region shows the same, and that is what the writes come to.
pub fn values(world: &World) -> Result<()> {
    let first = world.sites[0].data.visible();
    for site in &world.sites {
        let shown = site.data.visible();
        for key in first.keys().chain(shown.keys()) {
            ensure!(
                first.get(key) == shown.get(key),
                "{key} is {:?} in {} and {:?} in {}",
                first.get(key).map(|v| String::from_utf8_lossy(v)),
                world.sites[0].region,
                shown.get(key).map(|v| String::from_utf8_lossy(v)),
                site.region,
            );
        }
    }
    let uncertain = world.history.uncertain_keys();
    for (key, expected) in world.history.expected() {
        if uncertain.contains(key.as_str()) {
            continue;
        }
        let shown = first.get(&key);
        ensure!(
            shown == expected.as_ref(),
            "{key} is {:?}, its writes come to {:?}",
            shown.map(|value| String::from_utf8_lossy(value)),
            expected
                .as_ref()
                .map(|value| String::from_utf8_lossy(value)),
        );
    }
    // Counted twice nowhere, whatever became of the disks: this is in the clients' numbers, not in the stores'.
    for (key, attempted) in &world.history.attempted {
        let only_counted = key.starts_with("count");
        let shown = first.get(key).filter(|_| only_counted);
        let Some(shown) = shown.and_then(|value| std::str::from_utf8(value).ok()) else {
            continue;
        };
        let most = attempted + ADOPTED;
        let shown: u64 = shown.parse().context("a counter")?;
        ensure!(
            shown <= most,
            "{key} is {shown}, {attempted} were attempted"
        );
    }
    for (key, counted) in &world.history.counted {
        if uncertain.contains(key.as_str()) {
            continue;
        }
        let shown = first
            .get(key)
            .map_or("0", |value| std::str::from_utf8(value).unwrap_or(""));
        let shown: u64 = shown.parse().context("a counter")?;
        ensure!(
            shown >= *counted,
            "{key} is {shown}, {counted} were acknowledged"
        );
    }
    Ok(())
}

/// No author's clock ever went back, whatever the wall clock did.
pub fn clocks(world: &World) -> Result<()> {
    let mut reached: BTreeMap<&Author, u64> = BTreeMap::new();
    let mut writes: Vec<&Done> = world
        .history
        .done
        .iter()
        .filter(|done| done.is_register && !done.uncertain)
        .collect();
    writes.sort_by_key(|done| (&done.author, done.seq));
    for done in writes {
        let reached = reached.entry(&done.author).or_default();
        let stamp = done
            .entry
            .register
            .as_ref()
            .context("a register after a set")?;
        *reached = done.wall_ms.max(*reached);
        ensure!(
            done.wall_ms == 0 || stamp.stamp.at.wall_ms >= *reached,
            "write {} of {} ({}) is stamped {} at {}, its clock had reached {reached}",
            done.seq,
            done.author,
            done.key,
            stamp.stamp.at,
            done.wall_ms
        );
    }
    Ok(())
}

/// Each store is sound in itself, and has forgotten what it may forget.
pub fn stores(world: &World) -> Result<()> {
    for site in 0..world.sites.len() {
        let region = world.sites[site].region.clone();
        let rows = entries(world, site)?;
        let data = &world.sites[site].data;
        let visible: BTreeMap<String, Vec<u8>> = rows
            .iter()
            .filter_map(|row| Some((row.key.clone(), row.entry.visible().bytes()?.to_vec())))
            .collect();
        ensure!(
            visible == data.visible(),
            "what {region} shows is not what its entries say"
        );
        let dead: Vec<&Row> = rows.iter().filter(|row| row.entry.is_dead()).collect();
        let listed = data.sorted("@kv/r/dead");
        ensure!(
            dead.len() == listed.len() && dead.iter().all(|row| listed.contains(&row.key)),
            "{region} lists other tombstones than it has: {listed:?} and {dead:?}"
        );
        let before = world.clock(site).wall_ms.saturating_sub(2 * TOMBSTONE_MS);
        let covered = world.vector(site)?;
        let kept = dead.iter().find(|row| {
            let register = row.entry.register.as_ref();
            // Of an author of whose earlier numbers some went with a disk, nobody covers a later one, ever.
            let covered = row.entry.is_covered_by(&covered);
            covered && register.is_some_and(|register| register.stamp.at.wall_ms < before)
        });
        if let Some(row) = kept {
            bail!(
                "{region} keeps the tombstone of {}: {:?}",
                row.key,
                row.entry
            );
        }
    }
    Ok(())
}

/// Everything about a key, for a person.
pub fn trace(world: &World, key: &str) -> Result<String> {
    let mut text = String::new();
    for done in world.history.done.iter().filter(|done| done.key == key) {
        text.push_str(&format!(
            "\n  {} {} uncertain={} {:?}",
            done.author, done.seq, done.uncertain, done.entry
        ));
    }
    for site in 0..world.sites.len() {
        let region = world.sites[site].region.clone();
        // A store that was restarted says nothing before its provider has looked at it.
        let rows = entries(world, site).unwrap_or_default();
        for row in rows.into_iter().filter(|row| row.key == key) {
            text.push_str(&format!("\n  in {region}: {:?}", row.entry));
        }
    }
    Ok(text)
}

/// The entries in which two regions differ.
pub fn difference(world: &World, site: usize, peer: &Region) -> Result<String> {
    let other = world.sites.iter().position(|site| site.region == *peer);
    let other = other.context("a known region")?;
    let (mine, theirs) = (entries(world, site)?, entries(world, other)?);
    let mut text = String::new();
    for (here, there) in [(&mine, &theirs), (&theirs, &mine)] {
        for row in here {
            let twin = there.iter().find(|twin| twin.key == row.key);
            if twin.is_none_or(|twin| twin.entry.visible() != row.entry.visible()) {
                let twin = twin.map(|twin| &twin.entry);
                text.push_str(&format!(
                    "\n  {}: {:?}\n    and {twin:?}",
                    row.key, row.entry
                ));
            }
        }
    }
    Ok(text)
}
