//! `chaos`: runs a lattice, strikes it, and says whether a promise was broken.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use chaos::ground::Ground;
use chaos::history::History;
use chaos::plan::{Cli, Plan};
use chaos::{check, keep, print, run};
use clap::Parser as _;
use tokio::signal::unix::{signal, SignalKind};

#[tokio::main]
async fn main() -> ExitCode {
    // On a worker of the runtime, where the clients are: the main thread is none.
    let run = tokio::spawn(play(Cli::parse()));
    match run
        .await
        .map_err(anyhow::Error::from)
        .and_then(|ended| ended)
    {
        Ok(code) => code,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Some(file) = &cli.check {
        return judge(file);
    }
    let plan = Plan::of(cli)?;
    eprintln!(
        "seed {}; again with: {}",
        plan.asked.seed,
        plan.asked.again()
    );
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let mut interrupted = std::pin::pin!(async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    });
    let started = Instant::now();
    let stage = |what: &str| eprintln!("{:>6.1} s  {what}", started.elapsed().as_secs_f64());
    // Dropping a lattice that is still starting kills what it started.
    let ground = tokio::select! {
        ground = Ground::prepare(&plan, &stage) => ground?,
        () = &mut interrupted => return Ok(ExitCode::FAILURE),
    };
    let ran = tokio::select! {
        ran = run::run(&plan, &ground) => Some(ran),
        () = &mut interrupted => None,
    };
    eprintln!("ending the lattice …");
    ground.lattice.stop().await;
    let Some(ran) = ran else {
        return Ok(ExitCode::FAILURE);
    };
    let ran = ran?;
    let page = keep(&ran, &plan)?;
    print(&ran.report, &page);
    Ok(if ran.report.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Judges a history once more.
fn judge(file: &Path) -> anyhow::Result<ExitCode> {
    let open = File::open(file).with_context(|| format!("failed to open {}", file.display()))?;
    let history = History::read(BufReader::new(open))
        .with_context(|| format!("{} is no history", file.display()))?;
    let verdict = check::check(&history);
    for violation in &verdict.violations {
        println!("VIOLATION  {violation}");
    }
    println!(
        "{} violations; {:?}",
        verdict.violations.len(),
        verdict.figures
    );
    Ok(if verdict.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
