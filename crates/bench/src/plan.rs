//! What is measured, and for how long.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use lattice::region::Codes;

use crate::replication;

/// Measures cloud-hello on a real lattice, beside its bare calls, a naive design and a native server; and the
/// replicated store on real servers, beside the plain one and Valkey itself.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
pub struct Cli {
    /// Measure one part alone.
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// A first impression: short points, and no middle number of connections.
    #[arg(long)]
    quick: bool,
    /// Also let a million keys converge after a heal, which takes minutes.
    #[arg(long)]
    full: bool,
    /// Seconds that each point is measured, after its warm-up.
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// Counters in the store before the first visit.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    keys: u16,
    /// Round trips between regions to measure at, in milliseconds.
    #[arg(long, value_delimiter = ',', default_value = "0,80", value_parser = clap::value_parser!(u64).range(0..=1000))]
    wan_ms: Vec<u64>,
    /// Edge regions of the lattice; the first one is measured.
    #[arg(long, default_value_t)]
    regions: Codes,
    /// Where the report goes as JSON; `target/bench/report.json` without.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// cloud-hello's page on a lattice with one store.
    Pages,
    /// cloud-hello's page on a lattice with a store in every region.
    Local,
    /// The replicated store.
    Replication,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("give 0.1 to 60 seconds".into()),
    }
}

/// A checked command line.
#[derive(Debug)]
pub struct Plan {
    /// The repository.
    pub root: PathBuf,
    /// Where this program keeps its lattice.
    pub state: PathBuf,
    /// Where the report goes.
    pub json: PathBuf,
    /// The edge regions; the first one is measured.
    pub regions: Codes,
    /// Counters in the store before the first visit.
    pub keys: usize,
    /// Round trips between regions.
    pub wan_ms: Vec<u64>,
    /// Numbers of connections.
    pub connections: Vec<usize>,
    /// How long a page is measured.
    pub page: Pace,
    /// How long a bare call is measured.
    pub call: Pace,
    /// The only part that is measured, if not all are.
    pub only: Option<Part>,
    /// What is measured of replication.
    pub replication: replication::Plan,
}

/// How long one point is measured.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Before it; what begins then does not count.
    pub warm_up: Duration,
    /// The measuring itself; what began within it is waited for.
    pub measure: Duration,
    /// How many answers each connection waits for, however long that takes.
    pub least: usize,
    /// How long one answer is waited for.
    pub patience: Duration,
}

impl Plan {
    pub fn new(cli: Cli) -> Self {
        let seconds = cli.seconds.unwrap_or(if cli.quick { 0.8 } else { 4.0 });
        let measure = Duration::from_secs_f64(seconds);
        let output = output();
        Self {
            root: PathBuf::from("."),
            state: output.join("lattice"),
            json: cli.json.unwrap_or_else(|| output.join("report.json")),
            replication: replication::Plan::new(
                cli.quick,
                cli.full,
                cli.seconds,
                cli.wan_ms.clone(),
            ),
            only: cli.only,
            regions: cli.regions,
            keys: usize::from(cli.keys),
            wan_ms: cli.wan_ms,
            connections: if cli.quick {
                vec![1, 64]
            } else {
                vec![1, 8, 64]
            },
            page: Pace {
                warm_up: measure / 4,
                measure,
                least: if cli.quick { 1 } else { 2 },
                patience: Duration::from_secs(10),
            },
            call: Pace {
                warm_up: measure / 8,
                measure: measure / 2,
                least: 10,
                patience: Duration::from_secs(4),
            },
        }
    }
}

impl Plan {
    /// Whether a part is measured.
    pub fn includes(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

fn output() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let target = std::path::absolute(&target).unwrap_or(target);
    Path::new(&target).join("bench")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &[&str]) -> Result<Plan, String> {
        let args = std::iter::once("bench").chain(args.iter().copied());
        Cli::try_parse_from(args)
            .map(Plan::new)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_is_what_the_documentation_says() {
        let plan = plan(&[]).unwrap();
        assert_eq!(plan.connections, [1, 8, 64]);
        assert_eq!(plan.wan_ms, [0, 80]);
        assert_eq!(plan.keys, 100);
        assert_eq!(plan.page.measure, Duration::from_secs(4));
    }

    #[test]
    fn seconds_win_over_quick() {
        let plan = plan(&["--quick", "--seconds", "2"]).unwrap();
        assert_eq!(plan.page.measure, Duration::from_secs(2));
        assert_eq!(plan.connections, [1, 64]);
    }

    #[test]
    fn a_part_can_be_measured_alone() {
        let only = plan(&["--only", "replication"]).unwrap();
        assert!(only.includes(Part::Replication) && !only.includes(Part::Pages));
        let both = plan(&[]).unwrap();
        assert!(both.includes(Part::Replication) && both.includes(Part::Pages));
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for args in [
            ["--seconds", "0"],
            ["--seconds", "x"],
            ["--keys", "0"],
            ["--wan-ms", "-1"],
            ["--only", "everything"],
        ] {
            assert!(plan(&args).is_err(), "{args:?}");
        }
    }
}
