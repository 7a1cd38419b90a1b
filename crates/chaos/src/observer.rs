//! Looks into every region's own Valkey all the while: what a region really holds, whoever answers for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use redis::AsyncConnectionConfig;
use tokio::time::timeout;

use crate::history::{Micros, View};
use crate::key::Key;
use crate::recorder::Recorder;
use crate::store::BUCKET;

/// Time between two looks.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);
/// How long one look may take.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long a Valkey on a busy machine may take to answer; each look has a deadline of its own.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where the provider keeps what is no value.
const INNER: &str = "@kv/r/";

/// What all regions show, for who waits for it.
#[derive(Debug, Default)]
pub struct Shown {
    keys: Mutex<BTreeSet<String>>,
    values: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
}

impl Shown {
    /// Has a key looked at from now on.
    pub fn watch(&self, key: &str) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.contains(key) {
            keys.insert(key.to_owned());
        }
    }

    /// Whether every region showed this value when last looked at.
    #[must_use]
    pub fn is_everywhere(&self, key: &str, value: Option<&str>) -> bool {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let mut regions = values.values();
        regions.all(|region| region.get(key).map(String::as_str) == value)
    }

    fn keys(&self) -> Vec<String> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().cloned().collect()
    }
}

/// Looks into one region's Valkey until it is dropped.
pub async fn observe(region: String, port: u16, shown: Arc<Shown>, recorder: Arc<Recorder>) {
    let mut connection: Option<MultiplexedConnection> = None;
    let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
    loop {
        tokio::time::sleep(PAUSE).await;
        let keys = shown.keys();
        if keys.is_empty() {
            continue;
        }
        let look = async {
            let mut own = match connection.take() {
                Some(connection) => connection,
                None => connect(port).await?,
            };
            let values = values(&mut own, &keys).await?;
            anyhow::Ok((own, values))
        };
        // A Valkey that is dead, stopped or loading is looked at again later.
        let Ok(Ok((own, values))) = timeout(DEADLINE, look).await else {
            continue;
        };
        connection = Some(own);
        let at = recorder.now();
        note(&region, at, keys, values, &mut known, &shown, &recorder);
    }
}

fn note(
    region: &str,
    at: Micros,
    keys: Vec<String>,
    values: Vec<Option<String>>,
    known: &mut BTreeMap<String, Option<String>>,
    shown: &Shown,
    recorder: &Recorder,
) {
    let mut now = BTreeMap::new();
    for (key, value) in keys.into_iter().zip(values) {
        if known.get(&key) != Some(&value) {
            recorder.view(View {
                region: region.to_owned(),
                key: key.clone(),
                value: value.clone(),
                at,
            });
        }
        if let Some(value) = &value {
            now.insert(key.clone(), value.clone());
        }
        known.insert(key, value);
    }
    // After the views are noted, so that who waits for them acts later than they were.
    let mut values = shown.values.lock().unwrap_or_else(PoisonError::into_inner);
    values.insert(region.to_owned(), now);
}

/// A connection to the Valkey at `port`, past its provider. It is patient, as the machine may be busy.
///
/// # Errors
///
/// It cannot be reached.
pub async fn connect(port: u16) -> anyhow::Result<MultiplexedConnection> {
    let patient = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let connection = client.get_multiplexed_async_connection_with_config(&patient);
    Ok(connection.await?)
}

async fn values(
    connection: &mut MultiplexedConnection,
    keys: &[String],
) -> anyhow::Result<Vec<Option<String>>> {
    let mut command = redis::cmd("MGET");
    for key in keys {
        command.arg(format!("@kv/bucket/{BUCKET}/{key}"));
    }
    let values: Vec<Option<Vec<u8>>> = command.query_async(connection).await?;
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    Ok(values.into_iter().map(|value| value.map(text)).collect())
}

/// Every value in a Valkey, the clients' by their keys and the page's as [`Key::Page`].
///
/// # Errors
///
/// It cannot be reached.
pub async fn everything(port: u16) -> anyhow::Result<BTreeMap<String, String>> {
    let mut connection = connect(port).await.context("failed to connect to Valkey")?;
    let all: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await?;
    let prefix = format!("@kv/bucket/{BUCKET}/");
    let mut values = BTreeMap::new();
    for place in all.iter().filter(|place| !place.starts_with(INNER)) {
        let value: Option<Vec<u8>> = redis::Cmd::get(place).query_async(&mut connection).await?;
        let Some(value) = value else {
            continue;
        };
        let key = match place.strip_prefix(&prefix) {
            Some(key) => key.to_owned(),
            None => Key::Page(place).to_string(),
        };
        values.insert(key, String::from_utf8_lossy(&value).into_owned());
    }
    Ok(values)
}
