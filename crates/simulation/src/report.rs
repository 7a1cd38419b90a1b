//! What happened in a world, and in many.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;

use crate::bug::Bug;

/// What happened in a world.
#[derive(Debug, Default)]
pub struct Report {
    /// Regions.
    pub regions: usize,
    /// Writes that were carried out.
    pub writes: usize,
    /// Of them, those that a lost disk may have taken with it.
    pub uncertain: usize,
    /// How long the regions took to be in step, in milliseconds of the world.
    pub in_step_ms: u64,
    /// Faults by name.
    pub faults: BTreeMap<&'static str, u32>,
    /// Notices of the engines by kind.
    pub notices: BTreeMap<&'static str, u32>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} regions, {} writes ({} perhaps lost with a disk), in step after {} ms",
            self.regions, self.writes, self.uncertain, self.in_step_ms
        )?;
        write_counts(f, &self.faults)?;
        write_counts(f, &self.notices)
    }
}

fn write_counts(f: &mut fmt::Formatter<'_>, counts: &BTreeMap<&'static str, u32>) -> fmt::Result {
    for (name, count) in counts {
        writeln!(f, "  {count:6}  {name}")?;
    }
    Ok(())
}

/// What happened in many worlds.
#[derive(Debug, Default)]
pub struct Total {
    /// Worlds.
    pub worlds: u64,
    /// Of them, those that ended wrong.
    pub failed: u64,
    /// All reports in one; the time is the longest.
    pub sum: Report,
}

impl Total {
    /// Adds the result of a world.
    pub fn add(&mut self, result: Result<Report>) {
        self.worlds += 1;
        let Ok(report) = result else {
            self.failed += 1;
            return;
        };
        self.sum.regions += report.regions;
        self.sum.writes += report.writes;
        self.sum.uncertain += report.uncertain;
        self.sum.in_step_ms = self.sum.in_step_ms.max(report.in_step_ms);
        for (name, count) in report.faults {
            *self.sum.faults.entry(name).or_default() += count;
        }
        for (name, count) in report.notices {
            *self.sum.notices.entry(name).or_default() += count;
        }
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sum)?;
        write!(f, "{} worlds, {} failed", self.worlds, self.failed)
    }
}

/// The command that runs a world again.
pub fn again(seed: u64, bug: Option<Bug>) -> String {
    let planted = bug.and_then(|bug| Bug::ALL.iter().position(|known| *known == bug));
    let planted = planted.map_or(String::new(), |number| format!(" --bug {number}"));
    format!("make simulate ARGS='--seed {seed}{planted}'")
}

/// How many worlds run at a time by default.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
