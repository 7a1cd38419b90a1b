//! The `lattice` program.

use clap::Parser as _;
use lattice::cli::{self, Cli};

#[tokio::main]
async fn main() -> std::process::ExitCode {
    cli::run(Cli::parse()).await
}
