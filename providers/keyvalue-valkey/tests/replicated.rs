//! Regions that keep each other in step, each over a real Valkey, and NATS in between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use keyvalue_valkey::bucket::{STATUS, STATUS_KEY};
use keyvalue_valkey::Error;
use provider_harness::NatsServer;
use support::region::Region;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test]
async fn three_regions_count_together_and_agree_on_the_sum() {
    let nats = NatsServer::start().await.unwrap();
    let regions = [
        Region::start(&nats, "iad").await,
        Region::start(&nats, "fra").await,
        Region::start(&nats, "sin").await,
    ];
    let counting = regions.iter().map(|region| async {
        for _ in 0..200 {
            region
                .store
                .increment("default", "visits", 1)
                .await
                .unwrap();
        }
    });
    futures::future::join_all(counting).await;
    for region in &regions {
        region.shows("visits", Some("600")).await;
    }
}

#[tokio::test]
async fn sets_deletes_and_batches_arrive_everywhere() {
    let nats = NatsServer::start().await.unwrap();
    let one = Region::start(&nats, "iad").await;
    let other = Region::start(&nats, "fra").await;
    one.store.set("default", "k", &bytes("v")).await.unwrap();
    other.shows("k", Some("v")).await;
    other.store.set("default", "k", &bytes("w")).await.unwrap();
    one.shows("k", Some("w")).await;
    one.store.delete("default", "k").await.unwrap();
    other.shows("k", None).await;
    let many: Vec<_> = (0..500)
        .map(|n| (format!("many/{n}"), bytes("1")))
        .collect();
    let names: Vec<String> = many.iter().map(|(name, _)| name.clone()).collect();
    one.store.set_many("default", many).await.unwrap();
    other.shows("many/499", Some("1")).await;
    let listed = other.store.list_keys("default", None).await.unwrap().keys;
    assert_eq!(listed.len(), 500, "all or nothing, and no metadata");
    other.store.delete_many("default", names).await.unwrap();
    one.shows("many/0", None).await;
    one.shows("many/499", None).await;
}

#[tokio::test]
async fn the_status_is_a_key_that_nobody_can_write() {
    let nats = NatsServer::start().await.unwrap();
    let region = Region::start(&nats, "iad").await;
    region.says("/phase", "ready").await;
    let store = &region.store;
    assert_eq!(
        store.list_keys(STATUS, None).await.unwrap().keys,
        [STATUS_KEY]
    );
    assert_eq!(store.exists(STATUS, STATUS_KEY).await, Ok(true));
    assert_eq!(store.get(STATUS, "other").await, Ok(None));
    let refused = store.set(STATUS, STATUS_KEY, &bytes("v")).await;
    assert_eq!(refused, Err(Error::ReadOnlyBucket));
    let refused = store.delete(STATUS, STATUS_KEY).await;
    assert_eq!(refused, Err(Error::ReadOnlyBucket));
}

#[tokio::test]
async fn a_write_waits_for_as_many_regions_as_its_link_asks_for() {
    let nats = NatsServer::start().await.unwrap();
    let one = Region::start(&nats, "iad").await;
    let careful = one.store_with_ack(1, Duration::from_millis(400));
    let alone = careful.increment("default", "k", 1).await.unwrap_err();
    let expected = Error::Unconfirmed {
        confirmed: 0,
        wanted: 1,
        within: Duration::from_millis(400),
    };
    assert_eq!(alone, expected);
    assert!(alone.to_string().contains("the outcome is unknown"));

    let other = Region::start(&nats, "fra").await;
    other.shows("k", Some("1")).await;
    let careful = one.store_with_ack(1, Duration::from_secs(5));
    for sum in 2..50 {
        assert_eq!(careful.increment("default", "k", 1).await, Ok(sum));
        // Confirmed is stored there.
        let there = other.store.get("default", "k").await.unwrap();
        assert_eq!(there, Some(bytes(&sum.to_string())));
    }
}
