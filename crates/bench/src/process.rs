//! What processes take, from `/proc`.

use std::collections::BTreeMap;
use std::fs;

use lattice::status::Status;
use serde::Serialize;

/// Microseconds in a clock tick, the unit of `/proc/PID/stat` wherever Linux runs.
const TICK_US: f64 = 10_000.0;

/// The memory of one region.
#[derive(Clone, Debug, Serialize)]
pub struct RegionMemory {
    pub region: String,
    /// Resident set of its processes together; pages that two share count twice.
    pub rss_mib: f64,
    /// The same with shared pages split among those that share them.
    pub pss_mib: f64,
    /// Each process: name, resident set, proportional set.
    pub processes: Vec<(String, f64, f64)>,
}

/// The memory of every region now.
pub fn memory(status: &Status) -> Vec<RegionMemory> {
    let region = |region: &lattice::status::RegionStatus| {
        let processes: Vec<_> = region
            .processes
            .iter()
            .filter_map(|process| {
                let (rss, pss) = rss_and_pss(process.pid?)?;
                Some((process.name.clone(), rss, pss))
            })
            .collect();
        RegionMemory {
            region: region.name.clone(),
            rss_mib: processes.iter().map(|(_, rss, _)| rss).sum(),
            pss_mib: processes.iter().map(|(_, _, pss)| pss).sum(),
            processes,
        }
    };
    status.regions.iter().map(region).collect()
}

/// In MiB.
fn rss_and_pss(pid: u32) -> Option<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some((mebibytes(&text, "Rss:")?, mebibytes(&text, "Pss:")?))
}

fn mebibytes(text: &str, field: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024.0)
}

/// Processor time used by each process of the lattice, by `region/process`, and by this program.
#[derive(Debug)]
pub struct Processors(BTreeMap<String, (u32, f64)>);

impl Processors {
    pub fn read(status: &Status) -> Self {
        let own = ("bench, edge and WAN".to_owned(), std::process::id());
        let named = status.regions.iter().flat_map(|region| {
            let named = |process: &lattice::status::ProcessStatus| {
                Some((format!("{}/{}", region.name, process.name), process.pid?))
            };
            region
                .processes
                .iter()
                .filter_map(named)
                .collect::<Vec<_>>()
        });
        let used = named
            .chain([own])
            .filter_map(|(name, pid)| Some((name, (pid, used_us(pid)?))));
        Self(used.collect())
    }

    /// Microseconds used since, of each process that used any.
    pub fn used_since(&self) -> BTreeMap<String, f64> {
        let used = self.0.iter().filter_map(|(name, (pid, before))| {
            let used = used_us(*pid)? - before;
            (used > 0.0).then(|| (name.clone(), used))
        });
        used.collect()
    }
}

/// Processor microseconds that a process used since it started.
pub fn used_us(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut ticks = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<f64>);
    Some((ticks.next()?.ok()? + ticks.next()?.ok()?) * TICK_US)
}

/// The machine, as far as it matters to the figures.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    /// Load average of the minute before the measuring; much above 0 means others worked here.
    pub load_before: String,
}

pub fn machine() -> Machine {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Machine {
        processor: model
            .map_or("unknown", |model| {
                model.trim_start_matches([' ', '\t', ':'])
            })
            .to_owned(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        load_before: load.split(' ').next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_processor_time() {
        let (rss, pss) = rss_and_pss(std::process::id()).unwrap();
        assert!(rss >= pss && pss > 0.0, "{rss} {pss}");
        let (before, spent) = (
            used_us(std::process::id()).unwrap(),
            std::time::Instant::now(),
        );
        while spent.elapsed() < std::time::Duration::from_millis(60) {}
        assert!(used_us(std::process::id()).unwrap() > before);
    }

    #[test]
    fn memory_is_read_in_mebibytes() {
        let text = "5600-7ffd [rollup]\nRss:  2048 kB\nPss:     512 kB\nPss_Anon: 9 kB\n";
        assert_eq!(
            (mebibytes(text, "Rss:"), mebibytes(text, "Pss:")),
            (Some(2.0), Some(0.5))
        );
        assert_eq!(mebibytes(text, "Swap:"), None);
    }
}
