//! `simulate`: runs worlds by their seeds, and says which one fails.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use clap::Parser;
use simulation::Bug;

/// Runs simulated worlds, each from a seed, until one fails.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs this seed alone and says what happened in it.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// With `--seed`: everything about this key.
    #[arg(long, requires = "seed")]
    key: Option<String>,
    /// Plants a bug, by its number (`--bugs` lists them).
    #[arg(long)]
    bug: Option<usize>,
    /// Lists the bugs that can be planted.
    #[arg(long)]
    bugs: bool,
    /// Worlds at a time; as many as there are processors when not given.
    #[arg(long)]
    jobs: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.bugs {
        for (number, bug) in Bug::ALL.iter().enumerate() {
            println!("{number:2}  {bug:?}: {}", bug.description());
        }
        return ExitCode::SUCCESS;
    }
    let bug = match arguments.bug.map(|number| Bug::ALL.get(number)) {
        None => None,
        Some(Some(bug)) => Some(*bug),
        Some(None) => {
            eprintln!("--bug is 0 to {}; --bugs lists them", Bug::ALL.len() - 1);
            return ExitCode::FAILURE;
        }
    };
    if let Some(seed) = arguments.seed {
        return one(seed, bug, arguments.key.as_deref());
    }
    many(&arguments, bug)
}

fn one(seed: u64, bug: Option<Bug>, key: Option<&str>) -> ExitCode {
    match simulation::run_with(seed, bug, key) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("seed {seed}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn many(arguments: &Arguments, bug: Option<Bug>) -> ExitCode {
    let jobs = arguments.jobs.unwrap_or_else(simulation::processors);
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from.saturating_add(arguments.seeds);
    let total = Mutex::new(simulation::Total::default());
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return;
                }
                let result = simulation::run(seed, bug);
                if let Err(error) = &result {
                    println!(
                        "seed {seed}: {error:#}\n  again with: {}",
                        simulation::again(seed, bug)
                    );
                }
                if let Ok(mut total) = total.lock() {
                    total.add(result);
                    if total.worlds % 200 == 0 {
                        println!("{} worlds, {} s", total.worlds, begun.elapsed().as_secs());
                    }
                }
            });
        }
    });
    let Ok(total) = total.into_inner() else {
        return ExitCode::FAILURE;
    };
    println!("{total}");
    if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
