//! wadm, which places components and providers on hosts.

use anyhow::{bail, Context as _};
use wadm::config::WadmConfig;

/// Options of `lattice-platform wadm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address of the hub's NATS, HOST:PORT.
    #[arg(long)]
    nats_server: String,
    /// JetStream domain of the hub.
    #[arg(long)]
    js_domain: Option<String>,
    /// Seconds without a heartbeat after which a host counts as gone.
    #[arg(long, default_value_t = 70)]
    cleanup_seconds: u64,
}

/// Runs wadm until it is asked to stop.
///
/// # Errors
///
/// The hub's JetStream cannot be reached at start, or one of wadm's tasks ends.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let config = WadmConfig {
        nats_server: args.nats_server,
        domain: args.js_domain,
        cleanup_interval: args.cleanup_seconds,
        ..WadmConfig::default()
    };
    let mut tasks = wadm::start_wadm(config)
        .await
        .context("failed to start wadm")?;
    tokio::select! {
        signal = crate::asked_to_stop() => signal,
        ended = tasks.join_next() => match ended {
            None => bail!("wadm started no task"),
            Some(ended) => {
                ended.context("a task of wadm panicked")?.context("a task of wadm failed")?;
                bail!("a task of wadm ended")
            }
        },
    }
}
