//! The command line, checked.

use std::path::{Path, PathBuf};

use clap::Parser;
use lattice::region::Codes;

use crate::report::Asked;

/// Loads a real lattice while a seeded schedule of faults strikes it, and judges what its clients saw.
#[derive(Debug, Parser)]
#[command(name = "chaos", version)]
pub struct Cli {
    /// For how many minutes faults begin; then everything is mended and judged.
    #[arg(long, default_value_t = 2.0, value_parser = minutes)]
    minutes: f64,
    /// The seed of the faults and of the clients; a random one without.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the report goes; `target/chaos` without.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Edge regions of the lattice.
    #[arg(long, default_value_t)]
    regions: Codes,
    /// Round trip between any two regions, in milliseconds.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u64).range(0..=500))]
    wan_ms: u64,
    /// Keeps the history of a run that passed, too.
    #[arg(long)]
    keep_history: bool,
    /// Judges a history that a run kept, and does nothing else.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["minutes", "seed", "out"])]
    pub check: Option<PathBuf>,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.2..=1_440.0).contains(&minutes) => Ok(minutes),
        _ => Err("give 0.2 to 1440 minutes".into()),
    }
}

/// What is to be run, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What was asked for.
    pub asked: Asked,
    /// The edge regions.
    pub regions: Codes,
    /// The repository.
    pub root: PathBuf,
    /// Where the lattice keeps its files; emptied before.
    pub state: PathBuf,
    /// Where the report goes.
    pub out: PathBuf,
    /// Whether the history is kept even if the run passed.
    pub keep_history: bool,
}

impl Plan {
    /// A run of so many minutes with everything else as usual, in a directory of its own.
    #[must_use]
    pub fn new(minutes: f64, seed: u64, root: &Path, directory: &Path) -> Self {
        Self {
            asked: Asked {
                seed,
                minutes,
                ..Asked::default()
            },
            regions: Codes::default(),
            root: root.to_owned(),
            state: directory.join("lattice"),
            out: directory.to_owned(),
            keep_history: false,
        }
    }

    /// A run as the command line says, from the repository's directory.
    ///
    /// # Errors
    ///
    /// There is no current directory.
    pub fn of(cli: Cli) -> std::io::Result<Self> {
        let seed = cli.seed.unwrap_or_else(|| fastrand::u64(0..1_000_000));
        let target = std::env::var_os("CARGO_TARGET_DIR");
        let target = target.map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let usual = std::path::absolute(target)?.join("chaos");
        let root = std::path::absolute(".")?;
        let mut plan = Self::new(cli.minutes, seed, &root, &usual);
        if let Some(out) = cli.out {
            plan.out = std::path::absolute(out)?;
        }
        plan.keep_history = cli.keep_history;
        plan.asked.wan_ms = cli.wan_ms;
        let codes = cli.regions.as_slice().iter();
        plan.asked.regions = codes.map(ToString::to_string).collect();
        plan.regions = cli.regions;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_how_to_run_it_again() {
        let cli = |args: &[&str]| {
            let args = std::iter::once("chaos").chain(args.iter().copied());
            let cli = Cli::try_parse_from(args).map_err(|error| error.to_string())?;
            Ok::<_, String>(Plan::of(cli).unwrap().asked.again())
        };
        let again = cli(&["--seed", "7", "--minutes", "5"]).unwrap();
        assert_eq!(again, "make chaos ARGS='--minutes 5 --seed 7'");
        let again = cli(&["--seed", "7", "--wan-ms", "0", "--regions", "iad,fra"]).unwrap();
        let expected = "make chaos ARGS='--minutes 2 --seed 7 --regions iad,fra --wan-ms 0'";
        assert_eq!(again, expected);
        assert!(cli(&["--minutes", "0"]).is_err());
        assert!(cli(&["--check", "x", "--seed", "1"]).is_err());
    }
}
