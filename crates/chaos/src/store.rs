//! Calls of the store, as a component of a region makes them: over wRPC, at the region's own NATS server.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::connection::State;
use async_nats::HeaderMap;
use bytes::Bytes;
use lattice::application::{component_id, target};
use lattice::probe::loopback;
use provider_harness::Host;
use tokio::time::timeout;
use wrpc_transport_nats::Client;

use crate::fault::PROVIDER;
use crate::history::{Call, Outcome};

// Not in `wit/worlds.wit`, as this macro's parser does not take the `wasi:http` beside it.
#[allow(
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_debug_implementations
)]
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package resiliency:chaos@0.1.0;
            world client {
                import wrpc:keyvalue/store@0.2.0-draft;
                import wrpc:keyvalue/atomics@0.2.0-draft;
            }
        ",
        path: "../../wit/deps/wrpc-keyvalue",
        world: "resiliency:chaos/client",
        generate_all,
    });
}
use bindings::wrpc::keyvalue::{atomics, store};

/// The component that the store is linked to.
const COMPONENT: &str = "cloud-hello";
/// Where the clients' keys are, apart from the page's.
pub const BUCKET: &str = "chaos";
/// Longer than the provider's own deadline. A call to a killed provider is never answered.
const DEADLINE: Duration = Duration::from_secs(2);
/// What the provider says of itself.
const STATUS: (&str, &str) = ("@replication", "status");

/// Texts of errors after which nothing was done (the provider's README).
const HARMLESS: [&str; 12] = [
    "nothing was written",
    "was not sent",
    "not connected to Valkey",
    "has no link",
    "waits for the labels",
    "is refused",
    "WRONGTYPE",
    "OOM",
    "READONLY",
    "MISCONF",
    "LOADING",
    "Valkey refused the command",
];

/// A client's connection to its region's NATS server.
#[derive(Debug)]
pub struct Store {
    nats: Arc<async_nats::Client>,
    client: Client,
}

impl Store {
    /// Connects to the NATS server at `port`.
    ///
    /// # Errors
    ///
    /// It cannot be reached.
    pub async fn connect(port: u16) -> anyhow::Result<Self> {
        let nats = async_nats::ConnectOptions::new()
            .name("chaos")
            .ping_interval(Duration::from_secs(2))
            .reconnect_delay_callback(|_| Duration::from_millis(100))
            .connect(loopback(port).to_string())
            .await
            .with_context(|| format!("failed to connect to NATS at port {port}"))?;
        let nats = Arc::new(nats);
        let client = Client::new(Arc::clone(&nats), target(PROVIDER), None).await?;
        Ok(Self { nats, client })
    }

    /// Makes one call, once, and says what came of it.
    pub async fn call(&self, key: &str, call: &Call) -> Outcome {
        if self.nats.connection_state() != State::Connected {
            // It would be kept, and sent much later.
            return Outcome::Failed("not connected to NATS".to_owned());
        }
        let client = &self.client;
        match call {
            Call::Increment(delta) => {
                let sum = atomics::increment(client, caller(), BUCKET, key, *delta);
                outcome(sum, |sum| Some(sum.to_string()), false).await
            }
            Call::Set(value) => {
                let value = Bytes::from(value.clone());
                let set = store::set(client, caller(), BUCKET, key, &value);
                outcome(set, |()| None, false).await
            }
            Call::Delete => {
                let delete = store::delete(client, caller(), BUCKET, key);
                outcome(delete, |()| None, false).await
            }
            Call::Get => {
                let get = store::get(client, caller(), BUCKET, key);
                outcome(get, |value: Option<Bytes>| value.map(text), true).await
            }
        }
    }

    /// What the region that answers says of itself, as JSON.
    pub async fn status(&self) -> Option<serde_json::Value> {
        let (bucket, key) = STATUS;
        let get = store::get(&self.client, caller(), bucket, key);
        let answer = timeout(Duration::from_secs(1), get).await;
        let status = answer.ok()?.ok()?.ok()??;
        serde_json::from_slice(&status).ok()
    }
}

/// The text of a value.
fn text(value: Bytes) -> String {
    String::from_utf8_lossy(&value).into_owned()
}

async fn outcome<T>(
    call: impl Future<Output = anyhow::Result<Result<T, store::Error>>>,
    show: impl Fn(T) -> Option<String>,
    is_read: bool,
) -> Outcome {
    let (harmless, reason) = match timeout(DEADLINE, call).await {
        Ok(Ok(Ok(value))) => return Outcome::Ok(show(value)),
        Ok(Ok(Err(error))) => refusal(error),
        Ok(Err(error)) => (is_nobody_there(&error), format!("{error:#}")),
        Err(_) => (false, "no answer".to_owned()),
    };
    if harmless || is_read {
        Outcome::Failed(reason)
    } else {
        Outcome::Unknown(reason)
    }
}

/// Whether an error says that nothing was done, and its text.
fn refusal(error: store::Error) -> (bool, String) {
    match error {
        store::Error::Other(reason) => {
            let unknown = reason.contains("the outcome is unknown");
            let harmless = HARMLESS.iter().any(|text| reason.contains(text));
            (harmless && !unknown, reason)
        }
        error => (true, format!("{error:?}")),
    }
}

/// NATS says so when nobody at all is subscribed.
fn is_nobody_there(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| error.kind() == std::io::ErrorKind::NotConnected)
    })
}

/// The provider finds the link by these.
fn caller() -> Option<HeaderMap> {
    Some(Host::call_headers(&component_id(COMPONENT), "default"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_not_done_and_what_nobody_knows_are_told_apart() {
        let says = |text: &str, is_read| {
            let error = store::Error::Other(text.to_owned());
            outcome::<()>(async { Ok(Err(error)) }, |()| None, is_read)
        };
        let failed = says(
            "the store is unavailable, not caught up: it joins; nothing was written",
            false,
        );
        assert!(matches!(failed.await, Outcome::Failed(_)));
        let unknown = says(
            "the outcome is unknown: deadline; the write may or may not have taken effect",
            false,
        );
        assert!(matches!(unknown.await, Outcome::Unknown(_)));
        let strange = says("something new", false);
        assert!(matches!(strange.await, Outcome::Unknown(_)));
        assert!(matches!(
            says("something new", true).await,
            Outcome::Failed(_)
        ));
        let nobody = anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::NotConnected));
        let nobody = outcome::<()>(async { Err(nobody.context("call")) }, |()| None, false);
        assert!(matches!(nobody.await, Outcome::Failed(_)));
    }
}
