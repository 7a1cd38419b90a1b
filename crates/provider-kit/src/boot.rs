//! From `main` to a provider that serves, and to its end.

use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::watch;
use tracing::{error, info, warn, Instrument as _};
use wasmcloud_provider_sdk::provider::{initialize_host_data, run_provider};
use wasmcloud_provider_sdk::{get_connection, HostData, Provider as _};

use crate::adapter::Adapter;
use crate::{
    deadline::within, guard, host_data, label_source, logging, serve, Capability, Environment,
    Health, Labels, LinkId, Links, RawConfig, ServeClient, ServeExports, ServeOptions, Serving,
};

/// How long the SDK may take to tell the host that the provider stops.
const ANSWER_STOP: Duration = Duration::from_secs(1);

/// How often lost links are looked for.
const LOOK_FOR_LOST: Duration = Duration::from_millis(250);

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
        config: RawConfig::new(&host.config, &host.secrets),
        labels: Labels::new(labels),
        links: Links::default(),
        serving: Serving::default(),
        health: Health::default(),
    };
    let mut terminate = signal(SignalKind::terminate()).context("failed to await SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to await SIGINT")?;

    let capability = C::start(environment.clone()).context("failed to start")?;
    let adapter = Adapter::new(capability.clone(), environment.clone(), options.drain);
    // Subscribes, then puts the links the host data came with. Only now is there a connection.
    let commands = run_provider(adapter.clone(), name)
        .await
        .context("failed to join the lattice")?;
    let connection = get_connection();
    let client = ServeClient::new(connection, options.params_deadline)
        .await
        .context("failed to make a wRPC client")?;
    // The generated code borrows its client; this one lives as long as the process.
    let client: &'static ServeClient = Box::leak(Box::new(client));

    let span = tracing::Span::current();
    let nats = (*connection.nats).clone();
    let labels = label_source::resolve(nats, &host.lattice_rpc_prefix, &host.host_id, known);
    tokio::spawn(labels.instrument(span.clone()));
    tokio::spawn(adapter.clone().follow_labels().instrument(span.clone()));
    let serving = environment.serving.clone();
    let calls = serve::run(client, capability, exports, serving, options);
    let mut calls = tokio::spawn(calls.instrument(span));

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
        link = lost_link(&environment.links) => {
            warn!(%link, "a link by which calls come never came: leaving, to be started with it");
            Ok(())
        }
    };
    // After the host's own stop this changes nothing: all of it has happened.
    if let Err(err) = adapter.shutdown().await {
        error!(%err, "failed to shut down");
    }
    info!("stopped");
    outcome
}

/// Resolves when a link is lost.
async fn lost_link<L>(links: &Links<L>) -> LinkId {
    loop {
        tokio::time::sleep(LOOK_FOR_LOST).await;
        if let Some(link) = links.lost(Instant::now()) {
            return link;
        }
    }
}
