//! The serve loop: accepts calls, runs each as a task it owns, pauses, resumes and drains.

use std::future::Future;
use std::time::Duration;

use futures::stream::{select_all, Stream};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, info_span, warn, Instrument as _};
use wasmcloud_provider_sdk::provider::InvocationStreams;

use crate::serving::Wanted;
use crate::{ServeClient, Serving, ServingState};

/// The bounds of the serve loop.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// How many calls run at once; further ones wait in the NATS client's buffer.
    pub max_in_flight: usize,
    /// When a call is given up. Its caller then gets an error at once.
    pub call_deadline: Duration,
    /// How long a caller may take to send its parameters.
    pub params_deadline: Duration,
    /// How long calls may run on when the provider stops. A wasmCloud host kills 300 ms after
    /// it asked a provider to stop.
    pub drain: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            max_in_flight: 1024,
            call_deadline: Duration::from_secs(30),
            params_deadline: Duration::from_secs(5),
            drain: Duration::from_millis(200),
        }
    }
}

/// Pause before trying again when NATS did not take the subscriptions.
const RETRY: Duration = Duration::from_millis(500);

type Call = (
    &'static str,
    &'static str,
    anyhow::Result<std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>>,
);

/// A `serve` function as `wit-bindgen-wrpc` generates it, for handler `H`.
pub trait ServeExports<H>: Send + 'static {
    /// Subscribes to every exported function.
    fn serve(
        &self,
        client: &'static ServeClient,
        handler: H,
    ) -> impl Future<Output = anyhow::Result<InvocationStreams>> + Send;
}

impl<H, F, Fut> ServeExports<H> for F
where
    F: Fn(&'static ServeClient, H) -> Fut + Send + 'static,
    Fut: Future<Output = anyhow::Result<InvocationStreams>> + Send,
{
    fn serve(
        &self,
        client: &'static ServeClient,
        handler: H,
    ) -> impl Future<Output = anyhow::Result<InvocationStreams>> + Send {
        self(client, handler)
    }
}

/// Serves until the gate says stop.
pub(crate) async fn run<H: Clone>(
    client: &'static ServeClient,
    handler: H,
    exports: impl ServeExports<H>,
    serving: Serving,
    options: ServeOptions,
) {
    let mut wanted = serving.wanted();
    let mut calls = Calls::new(&options);
    loop {
        let now = *wanted.borrow_and_update();
        match now {
            Wanted::Stop => break,
            Wanted::Pause => {
                serving.set_state(ServingState::Paused);
                info!("serving is paused");
                calls.reap_until_changed(&mut wanted).await;
            }
            Wanted::Serve => match exports.serve(client, handler.clone()).await {
                Ok(streams) => {
                    client.flush().await;
                    serving.set_state(ServingState::Serving);
                    info!("serving");
                    let ended = calls.accept(streams, &mut wanted).await;
                    client.flush().await;
                    if ended {
                        warn!("the subscriptions ended, subscribing again");
                        sleep(RETRY).await;
                    }
                }
                Err(err) => {
                    warn!(
                        error = format!("{err:#}"),
                        "failed to subscribe, trying again"
                    );
                    let _ = timeout(RETRY, calls.reap_until_changed(&mut wanted)).await;
                }
            },
        }
    }
    calls.drain(options.drain).await;
    // Answers that were just given must still leave this process.
    client.flush().await;
    serving.set_state(ServingState::Stopped);
}

/// The calls in flight.
struct Calls {
    tasks: JoinSet<()>,
    max: usize,
    deadline: Duration,
}

impl Calls {
    fn new(options: &ServeOptions) -> Self {
        Self {
            tasks: JoinSet::new(),
            max: options.max_in_flight.max(1),
            deadline: options.call_deadline,
        }
    }

    /// Accepts calls until something else is wanted, then drops the streams, which
    /// unsubscribes. Returns true when the streams ended by themselves.
    async fn accept(
        &mut self,
        streams: InvocationStreams,
        wanted: &mut watch::Receiver<Wanted>,
    ) -> bool {
        if streams.is_empty() {
            self.reap_until_changed(wanted).await;
            return false;
        }
        let mut incoming = select_all(
            streams
                .into_iter()
                .map(|(instance, func, calls)| calls.map(move |call| (instance, func, call))),
        );
        loop {
            tokio::select! {
                biased;
                _ = wanted.changed() => break,
                Some(done) = self.tasks.join_next() => Self::reap(done),
                call = incoming.next(), if self.tasks.len() < self.max => match call {
                    Some(call) => self.spawn(call),
                    None => return true,
                },
            }
        }
        self.take_delivered(&mut incoming);
        false
    }

    /// Starts the calls that NATS has already delivered here: nobody else will get them.
    fn take_delivered(&mut self, incoming: &mut (impl Stream<Item = Call> + Unpin)) {
        while let Some(Some(call)) = incoming.next().now_or_never() {
            self.spawn(call);
        }
    }

    fn spawn(&mut self, (instance, func, call): Call) {
        let call = match call {
            Ok(call) => call,
            Err(err) => {
                warn!(
                    instance,
                    func,
                    error = format!("{err:#}"),
                    "failed to accept a call"
                );
                return;
            }
        };
        let deadline = self.deadline;
        let span = info_span!("call", instance, func);
        self.tasks.spawn(
            async move {
                match timeout(deadline, call).await {
                    Ok(Ok(())) => {}
                    Ok(Err(err)) => warn!(error = format!("{err:#}"), "failed to answer a call"),
                    // Dropping the call ends its reply: the caller fails now, not never.
                    Err(_) => warn!("gave up a call that ran past its deadline"),
                }
            }
            .instrument(span),
        );
    }

    async fn reap_until_changed(&mut self, wanted: &mut watch::Receiver<Wanted>) {
        loop {
            tokio::select! {
                biased;
                _ = wanted.changed() => return,
                Some(done) = self.tasks.join_next() => Self::reap(done),
            }
        }
    }

    async fn drain(mut self, limit: Duration) {
        let all = async {
            while let Some(done) = self.tasks.join_next().await {
                Self::reap(done);
            }
        };
        if timeout(limit, all).await.is_err() {
            warn!(calls = self.tasks.len(), "stopping with calls in flight");
        } else {
            debug!("all calls are finished");
        }
    }

    fn reap(done: Result<(), tokio::task::JoinError>) {
        if let Err(err) = done {
            warn!(%err, "a call ended early");
        }
    }
}
