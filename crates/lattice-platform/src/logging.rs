//! Log lines on standard error, without the values that components store.

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{filter_fn, EnvFilter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The most a dependency may say, whatever `RUST_LOG` asks for: below that these crates print arguments and payloads of
/// calls, and what links and providers are configured with. `wasmcloud_runtime` does so in spans, which come with the
/// lines of others.
const CAPS: [(&str, Level); 6] = [
    ("wasmcloud_runtime", Level::WARN),
    ("wasmcloud_host", Level::INFO),
    ("wrpc_", Level::DEBUG),
    ("async_nats", Level::INFO),
    ("hyper", Level::INFO),
    ("h2", Level::INFO),
];

/// Installs the process's subscriber: `RUST_LOG`, or `info` without.
pub(crate) fn install() {
    let wanted = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false);
    tracing_subscriber::registry()
        .with(wanted)
        .with(filter_fn(allowed))
        .with(lines)
        .init();
}

fn allowed(metadata: &Metadata<'_>) -> bool {
    let caps = CAPS.iter();
    caps.filter(|(prefix, _)| metadata.target().starts_with(prefix))
        .all(|(_, most)| metadata.level() <= most)
}
