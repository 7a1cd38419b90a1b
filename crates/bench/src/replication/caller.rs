//! A component as a provider sees it: calls over wRPC, one client that is kept.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use provider_harness::Host;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use wrpc_transport_nats::Client;

use crate::wrpc::keyvalue::wrpc::keyvalue::{atomics, batch, store};

/// The linked component.
pub const COMPONENT: &str = "hello";
pub const LINK: &str = "default";
const BUCKET: &str = "default";
/// How long one answer is waited for. A call that is lost never is answered.
const PATIENCE: Duration = Duration::from_secs(4);

/// Calls one provider.
#[derive(Clone)]
pub struct Caller(Client);

impl Caller {
    pub async fn new(host: &Host) -> anyhow::Result<Self> {
        Ok(Self(host.caller().await?))
    }

    pub async fn get(&self, key: &str) -> anyhow::Result<Option<Bytes>> {
        answer(store::get(&self.0, me(), BUCKET, key)).await
    }

    pub async fn set(&self, key: &str, value: &Bytes) -> anyhow::Result<()> {
        answer(store::set(&self.0, me(), BUCKET, key, value)).await
    }

    pub async fn increment(&self, key: &str) -> anyhow::Result<u64> {
        answer(atomics::increment(&self.0, me(), BUCKET, key, 1)).await
    }

    /// The number of values found.
    pub async fn get_many(&self, keys: &[&str]) -> anyhow::Result<usize> {
        let found = answer(batch::get_many(&self.0, me(), BUCKET, keys)).await?;
        Ok(found.iter().flatten().count())
    }

    /// As [`Caller::set`], for what is not measured itself: once more if the answer was lost.
    pub async fn put(&self, key: &str, value: &Bytes) -> anyhow::Result<()> {
        surely(|| self.set(key, value)).await
    }

    /// For what is not measured itself: once more if the answer was lost.
    pub async fn set_many(&self, entries: &[(&str, &Bytes)]) -> anyhow::Result<()> {
        surely(|| answer(batch::set_many(&self.0, me(), BUCKET, entries))).await
    }

    /// The number of keys, on as many pages as it takes.
    pub async fn list_keys(&self) -> anyhow::Result<usize> {
        let (mut cursor, mut keys) = (None, 0_usize);
        loop {
            let page = answer(store::list_keys(&self.0, me(), BUCKET, cursor)).await?;
            keys += page.keys.len();
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    }
}

fn me() -> Option<async_nats::HeaderMap> {
    Some(Host::call_headers(COMPONENT, LINK))
}

/// Calls once more, what does the same again, if the answer was lost, as one in ten thousand is
/// (`docs/performance.md`, "Calls that are lost").
async fn surely<T, F: Future<Output = anyhow::Result<T>>>(
    call: impl Fn() -> F,
) -> anyhow::Result<T> {
    match call().await {
        Err(error) if error.is::<Elapsed>() => call().await,
        answered => answered,
    }
}

async fn answer<T, E: Debug>(
    call: impl Future<Output = anyhow::Result<Result<T, E>>>,
) -> anyhow::Result<T> {
    let answered = timeout(PATIENCE, call).await;
    let answered = answered.with_context(|| format!("no answer in {} s", PATIENCE.as_secs()))??;
    answered.map_err(|error| anyhow::anyhow!("the store refused: {error:?}"))
}
