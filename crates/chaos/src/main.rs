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
use lattice::program::{on_a_worker, Interrupts};
use tokio::signal::unix::SignalKind;

#[tokio::main]
async fn main() -> ExitCode {
    // Where the clients are, too.
    on_a_worker("chaos", play(Cli::parse())).await
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
    let mut interrupts = Interrupts::listen(&[SignalKind::interrupt(), SignalKind::terminate()])?;
    let mut interrupted = std::pin::pin!(interrupts.wait());
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
