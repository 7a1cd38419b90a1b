//! One wasmCloud host.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, Context as _};
use nkeys::KeyPair;
use url::Url;
use wasmcloud_core::logging::Level;
use wasmcloud_core::{OtelConfig, OtelProtocol};
use wasmcloud_host::wasmbus::{Features, Host, HostConfig};

/// How long a host may take to say good-bye to the lattice.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

/// Options of `lattice-platform host`.
#[derive(clap::Args)]
pub struct Args {
    /// URL of the region's NATS leaf node.
    #[arg(long)]
    nats_url: Url,
    /// Name of the lattice.
    #[arg(long, default_value = "default")]
    lattice: String,
    /// JetStream domain of the hub.
    #[arg(long)]
    js_domain: Option<String>,
    /// A label of the host, KEY=VALUE; may be repeated.
    #[arg(long = "label", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Seconds between heartbeats; the host rounds less than a second up.
    #[arg(long, default_value_t = 30)]
    heartbeat_seconds: u64,
    /// Seed of the host's key, so that its starter knows its identity; random when absent.
    #[arg(long, env = "LATTICE_HOST_SEED", hide_env_values = true)]
    host_seed: Option<String>,
    #[command(flatten)]
    metrics: Metrics,
}

/// Whether and where providers export metrics, by the names that wasmCloud's own host has.
#[derive(Debug, clap::Args)]
struct Metrics {
    /// Have providers export metrics over OTLP.
    #[arg(long, env = "WASMCLOUD_METRICS_ENABLED")]
    enable_metrics: bool,
    /// The collector; http://127.0.0.1:4318 without.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true)]
    override_observability_endpoint: Option<String>,
    /// The collector of metrics, with its path.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        hide_env_values = true
    )]
    override_metrics_endpoint: Option<String>,
    /// `http` or `grpc`.
    #[arg(long, env = "WASMCLOUD_OBSERVABILITY_PROTOCOL", default_value = "http")]
    observability_protocol: OtelProtocol,
}

impl From<Metrics> for OtelConfig {
    fn from(metrics: Metrics) -> Self {
        Self {
            enable_metrics: Some(metrics.enable_metrics),
            observability_endpoint: metrics.override_observability_endpoint,
            metrics_endpoint: metrics.override_metrics_endpoint,
            protocol: metrics.observability_protocol,
            ..Self::default()
        }
    }
}

impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the seed.
        f.debug_struct("Args")
            .field("nats_url", &self.nats_url.as_str())
            .field("lattice", &self.lattice)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

fn parse_label(text: &str) -> anyhow::Result<(String, String)> {
    let (key, value) = text
        .split_once('=')
        .with_context(|| format!("`{text}` is not KEY=VALUE"))?;
    if key.is_empty() {
        return Err(anyhow!("`{text}` has no key before `=`"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Runs a host until it is asked to stop, by a signal or through the lattice.
///
/// # Errors
///
/// NATS or the hub's JetStream cannot be reached at start, or the host does not say good-bye in
/// time.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let key = match args.host_seed {
        Some(seed) => KeyPair::from_seed(&seed).context("LATTICE_HOST_SEED is no seed")?,
        None => KeyPair::new_server(),
    };
    let config = HostConfig {
        ctl_nats_url: args.nats_url.clone(),
        rpc_nats_url: args.nats_url,
        lattice: Arc::from(args.lattice),
        js_domain: args.js_domain,
        labels: args.labels.into_iter().collect::<HashMap<_, _>>(),
        host_key: Some(Arc::new(key)),
        provider_shutdown_delay: Some(Duration::from_secs(1)),
        allow_file_load: true,
        log_level: Level::Info,
        heartbeat_interval: Some(Duration::from_secs(args.heartbeat_seconds)),
        experimental_features: Features::new()
            .enable_builtin_http_server()
            .enable_builtin_messaging_nats(),
        otel_config: args.metrics.into(),
        version: "1.9.2".into(),
        ..HostConfig::default()
    };
    // Boxed as the future is tens of kilobytes.
    let (host, shutdown) = Box::pin(Host::new(config))
        .await
        .context("failed to start the wasmCloud host")?;
    tokio::select! {
        signal = crate::asked_to_stop() => signal?,
        stopped = host.stopped() => { stopped?; }
    }
    drop(host);
    tokio::time::timeout(SHUTDOWN_DEADLINE, shutdown)
        .await
        .context("the host did not stop in time")?
        .context("failed to stop the host")
}
