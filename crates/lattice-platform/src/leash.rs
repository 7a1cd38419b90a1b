//! Runs a program that dies with the process that started it.
//!
//! `lattice` starts `nats-server`, `valkey-server` and itself through this, so that not even
//! SIGKILL of `lattice` leaves an orphan. The kernel keeps the death signal across `execve`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{bail, Context as _};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getppid, Pid};

/// Options of `lattice-platform leash`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Process id of the process to die with.
    #[arg(long)]
    parent: i32,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Replaces this process by the program.
///
/// # Errors
///
/// The parent is gone already, or the program cannot be run.
pub fn run(args: &Args) -> anyhow::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("failed to set the parent death signal")?;
    // The parent may have died before the line above: then no signal will ever come.
    if getppid() != Pid::from_raw(args.parent) {
        bail!("process {} is gone", args.parent);
    }
    let (program, rest) = args.command.split_first().context("no program given")?;
    let failed = Command::new(program).args(rest).exec();
    Err(failed).with_context(|| format!("failed to run {}", program.display()))
}
