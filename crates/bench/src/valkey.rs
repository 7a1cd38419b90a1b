//! The commands behind a page, straight on Valkey.

use std::time::Duration;

use anyhow::Context as _;
use cloud_hello::counter::CounterKey;
use cloud_hello::region::RegionCode;
use cloud_hello::user_agent::{Browser, Os};
use lattice::probe::loopback;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, RedisResult};

/// How many keys one SCAN looks at, about as many as the provider's.
const SCAN_COUNT: usize = 700;

/// Connects to the Valkey at a port of this machine.
pub async fn connect(port: u16) -> anyhow::Result<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://{}", loopback(port)))?;
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(5)))
        .set_response_timeout(Some(Duration::from_secs(10)));
    let connected = client
        .get_multiplexed_async_connection_with_config(&config)
        .await;
    connected.context("failed to connect to Valkey")
}

/// Stores `number` counters as cloud-hello writes them, and returns their keys.
pub async fn preload(
    store: &mut MultiplexedConnection,
    number: usize,
    regions: &[String],
) -> anyhow::Result<Vec<String>> {
    let keys = counters(number, regions);
    let entries: Vec<(&String, usize)> = keys.iter().zip(1..).collect();
    let () = store
        .mset(&entries)
        .await
        .context("failed to fill Valkey")?;
    Ok(keys)
}

/// The first `number` counters over regions, browsers and systems; further regions are made up.
fn counters(number: usize, regions: &[String]) -> Vec<String> {
    let more = (1..).map(|number| format!("bench-{number}"));
    let regions = regions.iter().cloned().chain(more);
    let keys = regions.flat_map(|region| {
        let region = RegionCode::normalise(&region);
        Browser::ALL.iter().flat_map(move |browser| {
            let region = region.clone();
            Os::ALL.iter().map(move |os| {
                let (region, browser, os) = (region.clone(), *browser, *os);
                CounterKey {
                    region,
                    browser,
                    os,
                }
                .to_string()
            })
        })
    });
    keys.take(number).collect()
}

/// Every key.
pub async fn list(store: &mut MultiplexedConnection) -> RedisResult<Vec<String>> {
    let (mut cursor, mut keys) = (0_u64, Vec::new());
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("COUNT").arg(SCAN_COUNT);
        let (next, page): (u64, Vec<String>) = scan.query_async(store).await?;
        keys.extend(page);
        if next == 0 {
            return Ok(keys);
        }
        cursor = next;
    }
}

/// The values of keys.
pub async fn get_many(
    store: &mut MultiplexedConnection,
    keys: &[String],
) -> RedisResult<Vec<Option<Vec<u8>>>> {
    store.mget(keys).await
}

/// The value of a key.
pub async fn get(store: &mut MultiplexedConnection, key: &str) -> RedisResult<Option<Vec<u8>>> {
    store.get(key).await
}

/// Adds one to a counter.
pub async fn increment(store: &mut MultiplexedConnection, key: &str) -> RedisResult<u64> {
    store.incr(key, 1).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_different_counters_as_asked_for() {
        let mut keys = counters(300, &["iad".into(), "fra".into()]);
        assert!(
            keys.iter().all(|key| CounterKey::parse(key).is_some()),
            "{keys:?}"
        );
        assert!(keys[0].starts_with("visits:v1:iad:"));
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 300);
    }
}
