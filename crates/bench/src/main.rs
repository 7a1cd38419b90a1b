//! Measures cloud-hello on a real lattice, side by side with what bounds it and with what it
//! could have been; `make bench` runs it and `docs/performance.md` explains what it prints.
//!
//! * [`plan`] is the command line and how long everything is measured;
//! * [`ground`] starts the lattice, with the manifest that [`manifest`] composes;
//! * the subjects: [`load`] drives pages over HTTP, [`native`] serves the same page without
//!   wasmCloud, [`wrpc`] makes the bare calls of a page, [`valkey`] the bare store commands;
//! * [`sample`] turns durations into figures, [`process`] reads memory and processor time;
//! * [`measure`] runs it all in order, [`report`] is the result, [`table`] prints it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod ground;
mod load;
mod manifest;
mod measure;
mod native;
mod plan;
mod process;
mod report;
mod sample;
mod table;
mod valkey;
mod wrpc;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use tokio::signal::unix::{signal, SignalKind};

use crate::ground::Ground;
use crate::plan::{Cli, Plan};
use crate::report::Report;

#[tokio::main]
async fn main() -> ExitCode {
    // On a worker of the runtime, as the callers of a host are: the main thread is none.
    let run = tokio::spawn(run(Plan::new(Cli::parse())));
    match run
        .await
        .map_err(anyhow::Error::from)
        .and_then(|ended| ended)
    {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether a promise is kept is printed, and never the exit code: a busy machine is no failure.
async fn run(plan: Plan) -> anyhow::Result<ExitCode> {
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
    // Dropping a lattice that is still starting kills what it started.
    let ground = tokio::select! {
        ground = Ground::prepare(&plan) => ground?,
        () = &mut interrupted => return Ok(ExitCode::FAILURE),
    };
    let measured = tokio::select! {
        measured = measure::everything(&plan, &ground) => Some(measured),
        () = &mut interrupted => None,
    };
    eprintln!("ending the lattice …");
    ground.stop().await;
    let Some(report) = measured else {
        return Ok(ExitCode::FAILURE);
    };
    let report = report?;
    print!("{}", table::render(&report));
    write(&plan.json, &report)?;
    println!("\nas JSON: {}", plan.json.display());
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, report: &Report) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}
