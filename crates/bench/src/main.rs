//! Measures cloud-hello on a real lattice, side by side with what bounds it and with what it
//! could have been, and the replicated store beside the plain one; `make bench` runs it and `docs/performance.md` explains what it prints.
//!
//! * [`plan`] is the command line and how long everything is measured;
//! * [`ground`] starts the lattice, with the manifest that [`manifest`] composes;
//! * the subjects: [`load`] drives pages over HTTP, [`native`] serves the same page without
//!   wasmCloud, [`wrpc`] makes the bare calls of a page, [`valkey`] the bare store commands;
//! * [`sample`] turns durations into figures, [`process`] reads memory and processor time;
//! * [`replication`]: the replicated store, on servers of its own;
//! * [`local`]: the page with a store in every region;
//! * [`measure`] runs the pages in order, [`report`] is the result, [`table`] prints it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod ground;
mod load;
mod local;
mod manifest;
mod measure;
mod native;
mod plan;
mod process;
mod replication;
mod report;
mod sample;
mod table;
mod valkey;
mod wrpc;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use lattice::program::{on_a_worker, Interrupts};
use lattice::Stores;
use tokio::signal::unix::SignalKind;

use crate::ground::Ground;
use crate::plan::{Cli, Part, Plan};
use crate::report::Whole;

#[tokio::main]
async fn main() -> ExitCode {
    // Where the callers of a host are, too.
    on_a_worker("bench", run(Plan::new(Cli::parse()))).await
}

/// Whether a promise is kept is printed, and never the exit code: a busy machine is no failure.
async fn run(plan: Plan) -> anyhow::Result<ExitCode> {
    let mut interrupts = Interrupts::listen(&[SignalKind::interrupt(), SignalKind::terminate()])?;
    let mut interrupted = std::pin::pin!(interrupts.wait());
    let mut whole = Whole {
        machine: process::machine(),
        command: std::env::args()
            .skip(1)
            .fold("bench".to_owned(), |line, arg| line + " " + &arg),
        pages: None,
        local: None,
        replication: None,
    };
    if plan.includes(Part::Pages) {
        let everything = async |ground: &Ground| measure::everything(&plan, ground).await;
        whole.pages = on_lattice(&plan, Stores::Home, everything, interrupted.as_mut()).await?;
        if whole.pages.is_none() {
            return Ok(ExitCode::FAILURE);
        }
    }
    if plan.includes(Part::Local) {
        let everything = async |ground: &Ground| local::everything(&plan, ground).await;
        whole.local =
            on_lattice(&plan, Stores::EveryRegion, everything, interrupted.as_mut()).await?;
        if whole.local.is_none() {
            return Ok(ExitCode::FAILURE);
        }
    }
    if plan.includes(Part::Replication) {
        // Dropping what is measured kills what it started.
        let measured = tokio::select! {
            measured = replication::everything(&plan.root, &plan.replication) => measured?,
            () = &mut interrupted => return Ok(ExitCode::FAILURE),
        };
        whole.replication = Some(measured);
    }
    print!("{}", table::machine(&whole.machine));
    if let Some(pages) = &whole.pages {
        print!("{}", table::render(pages));
    }
    if let Some(local) = &whole.local {
        print!("{}", table::local(local));
    }
    if let Some(replication) = &whole.replication {
        print!("{}", replication::table::render(replication));
    }
    write(&plan.json, &whole)?;
    println!("\nas JSON: {}", plan.json.display());
    Ok(ExitCode::SUCCESS)
}

/// Measures something on a lattice of its own; `None` when interrupted.
async fn on_lattice<T>(
    plan: &Plan,
    stores: Stores,
    everything: impl AsyncFnOnce(&Ground) -> anyhow::Result<T>,
    mut interrupted: Pin<&mut impl Future<Output = ()>>,
) -> anyhow::Result<Option<T>> {
    // Dropping a lattice that is still starting kills what it started.
    let ground = tokio::select! {
        ground = Ground::prepare(plan, stores) => ground?,
        () = &mut interrupted => return Ok(None),
    };
    let measured = tokio::select! {
        measured = everything(&ground) => Some(measured),
        () = &mut interrupted => None,
    };
    eprintln!("ending the lattice …");
    ground.stop().await;
    measured.transpose()
}

fn write(path: &Path, report: &Whole) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}
