//! The calls of a page, made by this program: what the page would cost if it were nothing else.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{bail, Context as _};
use async_nats::HeaderMap;
use futures::StreamExt as _;
use lattice::application::{component_id, target};
use provider_harness::Host;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wrpc_transport_nats::Client;

use crate::plan::Pace;
use crate::sample::{Samples, Summary};

// Not in `wit/worlds.wit`, as this macro's parser does not take the `wasi:http` beside it.
#[allow(
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_debug_implementations
)]
mod metadata {
    wit_bindgen_wrpc::generate!({ world: "consumer", path: "../../wit/cloud-metadata" });
}
#[allow(
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_debug_implementations
)]
pub mod keyvalue {
    wit_bindgen_wrpc::generate!({
        inline: "
            package resiliency:bench@0.1.0;
            world probe {
                import wrpc:keyvalue/store@0.2.0-draft;
                import wrpc:keyvalue/atomics@0.2.0-draft;
                import wrpc:keyvalue/batch@0.2.0-draft;
            }
        ",
        path: "../../wit/deps/wrpc-keyvalue",
        world: "resiliency:bench/probe",
        generate_all,
    });
}
use keyvalue::wrpc::keyvalue::{atomics, batch, store};
use metadata::resiliency::cloud_metadata::service;

const BUCKET: &str = "default";
/// Whether a call finds its client ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One client, kept: the bare round trip.
    Kept,
    /// A client for each call, with an inbox subscription of its own: what wasmCloud's host does.
    PerCall,
}

/// Calls the providers as cloud-hello does.
pub struct Probe {
    nats: Arc<async_nats::Client>,
    metadata: (String, Client),
    keyvalue: (String, Client),
    way: Way,
}

impl Probe {
    pub async fn new(nats: &async_nats::Client, way: Way) -> anyhow::Result<Self> {
        let nats = Arc::new(nats.clone());
        let (metadata, keyvalue) = (target("kind-metadata"), target("keyvalue-valkey"));
        Ok(Self {
            metadata: (
                metadata.clone(),
                Client::new(Arc::clone(&nats), metadata, None).await?,
            ),
            keyvalue: (
                keyvalue.clone(),
                Client::new(Arc::clone(&nats), keyvalue, None).await?,
            ),
            nats,
            way,
        })
    }

    async fn client(&self, (target, kept): &(String, Client)) -> anyhow::Result<Client> {
        match self.way {
            Way::Kept => Ok(kept.clone()),
            Way::PerCall => Client::new(Arc::clone(&self.nats), target.clone(), None).await,
        }
    }

    pub async fn metadata(&self) -> anyhow::Result<()> {
        let client = self.client(&self.metadata).await?;
        let answer = service::get(&client, caller()).await?;
        answer
            .map(drop)
            .map_err(|error| anyhow::anyhow!("no metadata: {error:?}"))
    }

    pub async fn list_keys(&self) -> anyhow::Result<usize> {
        let client = self.client(&self.keyvalue).await?;
        let answer = store::list_keys(&client, caller(), BUCKET, None).await?;
        Ok(answer.map_err(refused)?.keys.len())
    }

    pub async fn get(&self, key: &str) -> anyhow::Result<()> {
        let client = self.client(&self.keyvalue).await?;
        let answer = store::get(&client, caller(), BUCKET, key).await?;
        answer
            .map_err(refused)?
            .map(drop)
            .context("the key is gone")
    }

    pub async fn get_many(&self, keys: &[&str]) -> anyhow::Result<()> {
        let client = self.client(&self.keyvalue).await?;
        let answer = batch::get_many(&client, caller(), BUCKET, keys).await?;
        let got = answer.map_err(refused)?.len();
        if got != keys.len() {
            bail!("{got} values for {} keys", keys.len());
        }
        Ok(())
    }

    pub async fn increment(&self, key: &str) -> anyhow::Result<()> {
        let client = self.client(&self.keyvalue).await?;
        let answer = atomics::increment(&client, caller(), BUCKET, key, 1).await?;
        answer.map(drop).map_err(refused)
    }
}

/// Providers find the link by these.
fn caller() -> Option<HeaderMap> {
    Some(Host::call_headers(&component_id("cloud-hello"), "default"))
}

fn refused(error: store::Error) -> anyhow::Error {
    anyhow::anyhow!("the store refused: {error:?}")
}

/// Answers NATS requests with what they carry.
#[derive(Debug)]
pub struct Echo(JoinHandle<()>);

impl Echo {
    pub const SUBJECT: &'static str = "bench.echo";

    pub async fn start(nats: &async_nats::Client) -> anyhow::Result<Self> {
        let mut requests = nats.subscribe(Self::SUBJECT).await?;
        nats.flush().await?;
        let nats = nats.clone();
        Ok(Self(tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                if let Some(reply) = request.reply {
                    // Who asked sees that no answer comes.
                    let _ = nats.publish(reply, request.payload).await;
                }
            }
        })))
    }

    /// One request and its answer.
    pub async fn ask(nats: &async_nats::Client) -> anyhow::Result<()> {
        nats.request(Self::SUBJECT, "ping".into()).await?;
        Ok(())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes a call again and again, the next when the last is answered.
pub async fn repeat<F, T>(pace: Pace, mut call: impl FnMut() -> F) -> anyhow::Result<Summary>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let begin = Instant::now() + pace.warm_up;
    let end = begin + pace.measure;
    let (mut samples, mut failed) = (Samples::default(), 0);
    loop {
        let started = Instant::now();
        if started >= end && samples.len() >= pace.least {
            // One after another: what a lost call was waited for is no time of the others.
            let elapsed = samples.total();
            return Ok(samples.summarise(elapsed, failed));
        }
        let answer = match timeout(pace.patience, call()).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(anyhow::anyhow!(
                "no answer in {} s",
                pace.patience.as_secs()
            )),
        };
        match answer {
            Ok(()) if started >= begin => samples.add(started.elapsed()),
            Ok(()) => {}
            // One may be lost; one after another means that nobody is there.
            Err(error) if failed >= 3 => return Err(error),
            Err(_) => failed += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PACE: Pace = Pace {
        warm_up: Duration::ZERO,
        measure: Duration::ZERO,
        least: 5,
        patience: Duration::from_secs(4),
    };

    #[tokio::test]
    async fn a_call_is_repeated_until_there_are_enough_answers() {
        let mut calls = 0;
        let summary = repeat(PACE, || {
            calls += 1;
            let good = calls != 2;
            async move {
                if good {
                    Ok(())
                } else {
                    bail!("lost")
                }
            }
        });
        let summary = summary.await.unwrap();
        assert_eq!((summary.count, summary.failed), (5, 1));
    }

    #[tokio::test]
    async fn a_call_that_nobody_answers_is_given_up() {
        let error = repeat(PACE, || async { Err::<(), _>(anyhow::anyhow!("nobody")) }).await;
        assert_eq!(error.unwrap_err().to_string(), "nobody");
    }
}
