//! The serve loop: accepts calls, runs each as a task it owns, pauses, resumes and drains.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::stream::{select_all, Stream};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout, timeout_at, Instant};
use tracing::field::Empty;
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

/// How long leaving the queue group may take, which needs NATS, and the parameters of the calls that
/// have begun.
const LEAVE: Duration = Duration::from_secs(10);

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
                    let ended = calls.accept(client, streams, &mut wanted).await;
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
    calls.drain().await;
    // Answers that were just given must still leave this process.
    client.flush().await;
    serving.set_state(ServingState::Stopped);
}

/// The calls in flight.
struct Calls {
    tasks: JoinSet<()>,
    max: usize,
    deadline: Duration,
    drain: Duration,
    /// When everything has to be over; nothing before the provider stops.
    end: Option<Instant>,
}

impl Calls {
    fn new(options: &ServeOptions) -> Self {
        Self {
            tasks: JoinSet::new(),
            max: options.max_in_flight.max(1),
            deadline: options.call_deadline,
            drain: options.drain,
            end: None,
        }
    }

    /// Accepts calls until something else is wanted, then leaves the queue group. Returns true when
    /// the streams ended by themselves.
    async fn accept(
        &mut self,
        client: &ServeClient,
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
        let end = self.end_by(wanted, Instant::now() + LEAVE);
        self.leave(client, &mut incoming, wanted, end).await;
        false
    }

    /// Leaves the queue group, and starts the calls that NATS delivers until it knows: nobody else
    /// will get them.
    async fn leave(
        &mut self,
        client: &ServeClient,
        incoming: &mut (impl Stream<Item = Call> + Unpin),
        wanted: &mut watch::Receiver<Wanted>,
        mut end: Instant,
    ) {
        let mut left = pin!(client.leave().fuse());
        loop {
            tokio::select! {
                biased;
                _ = wanted.changed() => end = self.end_by(wanted, end),
                Some(done) = self.tasks.join_next() => Self::reap(done),
                call = incoming.next() => match call {
                    Some(call) => self.spawn(call),
                    None => return,
                },
                Err(err) = &mut left => {
                    warn!(error = format!("{err:#}"), "failed to leave the queue group in order");
                    return;
                },
                () = sleep_until(end) => {
                    warn!("NATS does not let go: calls that are on their way here may be lost");
                    return;
                }
            }
        }
    }

    /// When to be done with what may take until `end`: a provider that stops has less time.
    fn end_by(&mut self, wanted: &watch::Receiver<Wanted>, end: Instant) -> Instant {
        if *wanted.borrow() == Wanted::Stop {
            end.min(self.stop())
        } else {
            end
        }
    }

    /// When everything has to be over, now that the provider stops.
    fn stop(&mut self) -> Instant {
        let drain = self.drain;
        *self.end.get_or_insert_with(|| Instant::now() + drain)
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
        // Who calls, and for what, is known when the parameters are read: `Links::of_call` and the
        // handler record it.
        let span = info_span!(
            "call",
            instance,
            func,
            component = Empty,
            link = Empty,
            key = Empty
        );
        self.tasks.spawn(
            async move {
                match timeout(deadline, call).await {
                    Ok(Ok(())) => debug!("answered a call"),
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

    async fn drain(mut self) {
        let end = self.stop();
        let all = async {
            while let Some(done) = self.tasks.join_next().await {
                Self::reap(done);
            }
        };
        if timeout_at(end, all).await.is_err() {
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
