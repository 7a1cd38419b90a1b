//! From `main` to a provider that serves, and to its end.

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::watch;
use tracing::{error, info, warn, Instrument as _};
use wasmcloud_provider_sdk::provider::{initialize_host_data, run_provider};
use wasmcloud_provider_sdk::{get_connection, HostData, Provider as _};

use crate::adapter::Adapter;
use crate::{
    deadline::within, guard, host_data, label_source, lattice, logging, lost_link,
    metrics::Metrics, serve, Capability, Environment, Health, Labels, LinkId, Links, Nats,
    RawConfig, ServeClient, ServeExports, ServeOptions, Serving,
};

/// How long the SDK may take to tell the host that the provider stops.
const ANSWER_STOP: Duration = Duration::from_secs(1);
/// How long after the drain's end the last metrics may still be on their way. By default that is 250 ms after the
/// host asked for a stop; it kills after 300 ms.
const FLUSH: Duration = Duration::from_millis(50);

/// Runs the provider `C`, called `name`, until its host stops it; `exports` is the `serve`
/// function generated from its WIT. This is all of a provider's `main`.
///
/// Reads the host data from standard input, logs to standard error, and exits when the host is
/// gone. The exit code is 0 after a stop, 1 when it could not start, 3 without its host.
#[must_use]
pub fn run<C: Capability>(name: &'static str, exports: impl ServeExports<C>) -> ExitCode {
    run_with(name, ServeOptions::default(), exports)
}

/// [`run`] with other bounds of the serve loop.
#[must_use]
pub fn run_with<C: Capability>(
    name: &'static str,
    options: ServeOptions,
    exports: impl ServeExports<C>,
) -> ExitCode {
    match start::<C>(name, options, exports) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            // Logging may not be set up; a broken pipe must not turn this into a panic.
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "{name} failed: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn start<C: Capability>(
    name: &'static str,
    options: ServeOptions,
    exports: impl ServeExports<C>,
) -> anyhow::Result<()> {
    guard::exit_when_orphaned().context("failed to watch the host")?;
    let host = host_data::read(std::io::stdin().lock())?;
    logging::install(&host).context("failed to set up logging")?;
    let host = initialize_host_data(host).context("failed to keep the host data")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let span = tracing::info_span!("provider", name, id = host.provider_key);
    let done = runtime.block_on(provide::<C>(name, host, options, exports).instrument(span));
    runtime.shutdown_background();
    done
}

async fn provide<C: Capability>(
    name: &'static str,
    host: &'static HostData,
    options: ServeOptions,
    exports: impl ServeExports<C>,
) -> anyhow::Result<()> {
    let (known, labels) = watch::channel(None);
    let environment = Environment {
        provider_id: host.provider_key.clone(),
        host_id: host.host_id.clone(),
        lattice: host.lattice_rpc_prefix.clone(),
        nats: Nats::of(host),
        config: RawConfig::new(&host.config, &host.secrets),
        labels: Labels::new(labels),
        links: Links::default(),
        serving: Serving::default(),
        health: Health::default(),
    };
    let mut terminate = signal(SignalKind::terminate()).context("failed to await SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to await SIGINT")?;

    // Before anybody asks for a meter.
    let metrics = Metrics::install(name, host);
    let capability = C::start(environment.clone()).context("failed to start")?;
    let drain = options.drain;
    let adapter = Adapter::new(capability.clone(), environment.clone(), drain);
    // Subscribes, then puts the links the host data came with. Only now is there a connection.
    let commands = run_provider(adapter.clone(), name)
        .await
        .context("failed to join the lattice")?;
    let connection = get_connection();
    // The SDK, too, calls the subjects and the queue group so.
    let prefix = format!("{}.{}", host.lattice_rpc_prefix, host.provider_key);
    let nats = Arc::clone(&connection.nats);
    let client = ServeClient::new(nats, prefix, options.params_deadline)
        .await
        .context("failed to make a wRPC client")?;
    // The generated code borrows its client; this one lives as long as the process.
    let client: &'static ServeClient = Box::leak(Box::new(client));

    let span = tracing::Span::current();
    let control = lattice::client((*connection.nats).clone(), &host.lattice_rpc_prefix);
    let labels = label_source::resolve(control.clone(), &host.host_id, known);
    tokio::spawn(labels.instrument(span.clone()));
    tokio::spawn(adapter.clone().follow_labels().instrument(span.clone()));
    let serving = environment.serving.clone();
    let calls = serve::run(client, capability, exports, serving, options);
    let mut calls = tokio::spawn(calls.instrument(span));

    let handed = (host.link_definitions.iter())
        .map(|link| LinkId::new(&link.source_id, &link.name))
        .collect();
    let mut commands = pin!(commands);
    let outcome = tokio::select! {
        () = &mut commands => Ok(()),
        ended = &mut calls => match ended {
            // The host's stop ended it. The SDK still has to tell the host so.
            Ok(()) => {
                let _ = within(ANSWER_STOP, "the host's stop", commands).await;
                Ok(())
            }
            Err(err) => Err(err).context("the serve loop broke"),
        },
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        link = lost_link::watch(adapter.clone(), environment.clone(), control, handed) => {
            warn!(%link, "a link with secrets never arrived: leaving, to be started with it");
            Ok(())
        }
    };
    // After the host's own stop this changes nothing: all of it has happened.
    if let Err(err) = adapter.shutdown().await {
        error!(%err, "failed to shut down");
    }
    // The SDK ends as soon as one of its tasks has, without a flush; its answer to the host may not have
    // left this process yet.
    let _ = within(ANSWER_STOP, "NATS", client.flush()).await;
    let left = drain.saturating_add(FLUSH);
    let left = left.saturating_sub(adapter.stopping_for());
    metrics.flush(left).await;
    info!("stopped");
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_done_before_its_host_loses_patience() {
        // wasmCloud 1.9 kills 300 ms after it asked.
        let done = ServeOptions::default().drain + FLUSH;
        assert!(done < Duration::from_millis(300), "{done:?}");
    }
}
