//! Log lines on standard error, without values and credentials.

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{filter_fn, EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::Layer as _;
use wasmcloud_provider_sdk::core::logging::Level as HostLevel;
use wasmcloud_provider_sdk::HostData;

/// The most a dependency may say, whatever `RUST_LOG` asks for. These crates print arguments,
/// results, link configuration or the NATS URL with its password below that level.
const CAPS: [(&str, Level); 9] = [
    ("wasmcloud_provider_sdk", Level::WARN),
    ("wrpc_transport", Level::DEBUG),
    ("async_nats", Level::INFO),
    ("hyper", Level::INFO),
    ("h2", Level::INFO),
    ("rustls", Level::INFO),
    ("reqwest", Level::INFO),
    ("tonic", Level::INFO),
    ("opentelemetry", Level::INFO),
];

/// Installs the process's subscriber: `RUST_LOG` decides when it is set, the host's log level
/// otherwise; JSON when the host logs JSON.
pub(crate) fn install(host: &HostData) -> Result<(), tracing_subscriber::util::TryInitError> {
    let level = match host.log_level {
        Some(HostLevel::Error | HostLevel::Critical) => LevelFilter::ERROR,
        Some(HostLevel::Warn) => LevelFilter::WARN,
        Some(HostLevel::Debug) => LevelFilter::DEBUG,
        Some(HostLevel::Trace) => LevelFilter::TRACE,
        Some(HostLevel::Info) | None => LevelFilter::INFO,
    };
    let wanted = EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    // Standard error may be a pipe whose reader died with the host: a failing write must not
    // panic, which is what reporting it on standard error would do.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false);
    let lines = if host.structured_logging {
        lines.json().boxed()
    } else {
        lines.boxed()
    };
    tracing_subscriber::registry()
        .with(wanted)
        .with(filter_fn(allowed))
        .with(lines)
        .try_init()
}

fn allowed(metadata: &Metadata<'_>) -> bool {
    permits(metadata.target(), *metadata.level())
}

fn permits(target: &str, level: Level) -> bool {
    CAPS.iter()
        .filter(|(prefix, _)| target.starts_with(prefix))
        .all(|(_, most)| level <= *most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_that_print_values_are_capped_whatever_is_asked_for() {
        assert!(!permits("wrpc_transport_nats", Level::TRACE));
        assert!(!permits("wrpc_transport::serve", Level::TRACE));
        assert!(permits("wrpc_transport::serve", Level::DEBUG));
        assert!(!permits("wasmcloud_provider_sdk::provider", Level::INFO));
        assert!(permits("wasmcloud_provider_sdk::provider", Level::WARN));
        assert!(permits("keyvalue_valkey::handler", Level::TRACE));
    }
}
