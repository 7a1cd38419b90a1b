//! Runs a provider as its wasmCloud host would, over a NATS server of the test's own.
//!
//! - [`NatsServer`] is a real `nats-server` on a free port.
//! - [`Host`] plays the host: host data, links, health, stop, and the inventory of labels.
//! - [`Process`] is the provider, or the provider below a parent that can be killed.
//! - [`HttpServer`] is a server that a provider may ask.
//! - [`Collector`] is where a provider's metrics go.
//! - [`metadata`] calls a provider of `resiliency:cloud-metadata`.
//! - [`eventually`] polls until a deadline.

mod collector;
mod host;
mod http;
pub mod metadata;
mod nats;
mod process;

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{sleep, Instant};

pub use collector::{Collector, Point};
pub use host::{link, Host, LinkAnswers};
pub use http::{HttpServer, Reply};
pub use nats::NatsServer;
pub use process::{command, traced, Process};

/// Tries `attempt` every 20 ms until it succeeds, at most for `limit`.
///
/// # Errors
///
/// The last failure, when the time is up.
pub async fn eventually<T, F>(limit: Duration, mut attempt: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let give_up = Instant::now() + limit;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(err) if Instant::now() >= give_up => {
                return Err(err).context(format!("still so after {limit:?}"))
            }
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}
