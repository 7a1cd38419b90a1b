//! The wasmCloud host and wadm, each as one process of the local platform.
//!
//! They live in a crate of their own because they take far longer to compile than everything
//! else together: `lattice` starts this binary and nothing links against it.
//!
//! * [`host`]: one wasmCloud host, in one region.
//! * [`scheduler`]: wadm, beside the hub.
//! * [`leash`]: runs any program so that it dies with `lattice`.

mod host;
mod leash;
mod logging;
mod scheduler;

use std::future::Future;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// A part of the wasmCloud platform, run as a process by `lattice`.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Run a wasmCloud host until SIGTERM, Ctrl-C or a stop command from the lattice.
    Host(host::Args),
    /// Run wadm until SIGTERM or Ctrl-C.
    Wadm(scheduler::Args),
    /// Run a program that is killed when the process PARENT dies.
    Leash(leash::Args),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().part {
        Part::Host(args) => in_runtime(host::run(args)),
        Part::Wadm(args) => in_runtime(scheduler::run(args)),
        Part::Leash(args) => leash::run(&args),
    }
}

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    logging::install();
    tokio::runtime::Runtime::new()
        .context("failed to start the runtime")?
        .block_on(work)
}

/// Resolves when the process is asked to end.
async fn asked_to_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{signal, SignalKind};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ctrl_c = tokio::signal::ctrl_c() => ctrl_c?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
