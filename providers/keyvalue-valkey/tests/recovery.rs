//! Stores that were wiped, restored from an old dump, adopted, or stand between two processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/proxy.rs"]
#[allow(dead_code)] // this binary needs no TLS
mod proxy;
mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use keyvalue_valkey::endpoint::Endpoint;
use keyvalue_valkey::replicated::{Ack, Replica};
use keyvalue_valkey::Error;
use provider_harness::NatsServer;
use provider_kit::Nats;
use redis::AsyncCommands as _;
use support::region::{serves, settings, store, Region, SOON};
use support::{eventually, Server};

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Counts once, although the store may not be caught up yet.
async fn counted(region: &Region, key: &str) -> u64 {
    let sum = AtomicU64::new(0);
    eventually("counted", SOON, || async {
        match region.store.increment("default", key, 1).await {
            Ok(now) => {
                sum.store(now, Ordering::SeqCst);
                true
            }
            Err(Error::Unavailable { .. } | Error::NotConnected { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    sum.into_inner()
}

/// Waits until a region knows that its store is not what it was.
async fn noticed(region: &Region) {
    eventually("it is noticed", SOON, || async {
        region.replica.fault().is_some()
    })
    .await;
}

/// Ten increments of `n`.
async fn count_to_ten(region: &Region) {
    for _ in 0..10 {
        counted(region, "n").await;
    }
}

async fn save(server: &Server) {
    let mut admin = server.admin().await;
    let () = redis::cmd("SAVE").query_async(&mut admin).await.unwrap();
}

#[tokio::test]
async fn a_wiped_store_joins_again_and_gets_everything_back() {
    let nats = NatsServer::start().await.unwrap();
    let mut one = Region::start(&nats, "iad").await;
    let other = Region::start(&nats, "fra").await;
    for n in 0..300 {
        let key = format!("k{n}");
        one.store.set("default", &key, &bytes("v")).await.unwrap();
    }
    for _ in 0..10 {
        counted(&one, "n").await;
        counted(&other, "n").await;
    }
    one.shows("n", Some("20")).await;
    other.shows("n", Some("20")).await;
    other.shows("k299", Some("v")).await;

    for restart in [false, true] {
        if restart {
            // Nothing is kept on disk, so a restart empties it.
            one.server.kill();
            one.server.revive();
        } else {
            let mut admin = one.server.admin().await;
            let () = redis::cmd("FLUSHALL")
                .query_async(&mut admin)
                .await
                .unwrap();
        }
        noticed(&one).await;
        let took = one.serves().await;
        println!("restart {restart}: joined again within {took:?}");
        // Whoever is served is served everything.
        assert_eq!(one.store.get("default", "n").await, Ok(Some(bytes("20"))));
        let listed = one.store.list_keys("default", None).await.unwrap();
        assert_eq!(listed.keys.len(), 301);
        other.shows("n", Some("20")).await;
    }
    counted(&one, "n").await;
    other.shows("n", Some("21")).await;
}

#[tokio::test]
async fn a_store_restored_from_an_old_dump_loses_and_doubles_nothing() {
    let nats = NatsServer::start().await.unwrap();
    let mut one = Region::start(&nats, "iad").await;
    let other = Region::start(&nats, "fra").await;
    count_to_ten(&one).await;
    save(&one.server).await;
    for _ in 0..10 {
        counted(&one, "n").await;
        counted(&other, "n").await;
    }
    one.store.set("default", "late", &bytes("v")).await.unwrap();
    one.shows("n", Some("30")).await;
    other.shows("n", Some("30")).await;
    other.shows("late", Some("v")).await;

    one.server.kill();
    one.server.revive();
    let mut admin = one.server.admin().await;
    let restored: u64 = admin.get("n").await.unwrap();
    assert_eq!(restored, 10, "the dump is older than what others have");
    noticed(&one).await;
    assert_eq!(counted(&one, "n").await, 31);
    one.shows("late", Some("v")).await;
    other.shows("n", Some("31")).await;
    // And what it writes from now on is not taken for what it wrote then.
    for sum in 32..=50 {
        assert_eq!(counted(&one, "n").await, sum);
    }
    other.shows("n", Some("50")).await;
}

#[tokio::test]
async fn a_store_restored_while_nobody_can_say_so_goes_on_and_is_mended_later() {
    let nats = NatsServer::start().await.unwrap();
    let mut one = Region::start(&nats, "iad").await;
    let other = Region::start(&nats, "fra").await;
    count_to_ten(&one).await;
    save(&one.server).await;
    count_to_ten(&one).await;
    other.shows("n", Some("20")).await;
    let Region {
        server,
        replica,
        store,
    } = other;
    drop((replica, store));
    one.server.kill();
    one.server.revive();
    noticed(&one).await;
    assert_eq!(counted(&one, "n").await, 11);
    let other = Region::over(server, &nats, settings("fra"));
    other.shows("n", Some("21")).await;
    one.shows("n", Some("21")).await;
}

#[tokio::test]
async fn adopting_the_same_data_in_two_regions_does_not_double_it() {
    let nats = NatsServer::start().await.unwrap();
    let (near, far) = (Server::start(), Server::start());
    for server in [&near, &far] {
        let mut admin = server.admin().await;
        for n in 0..1_500 {
            let () = admin.set(format!("text/{n}"), "v").await.unwrap();
        }
        let () = admin.set("visits", 41).await.unwrap();
        let () = admin.set("@kv/bucket/b/k", "in a bucket").await.unwrap();
        let () = admin.rpush("a list", "is nobody's").await.unwrap();
    }
    let one = Region::over(near, &nats, settings("iad"));
    let other = Region::over(far, &nats, settings("fra"));
    one.serves().await;
    other.serves().await;
    assert_eq!(counted(&one, "visits").await, 42);
    one.shows("visits", Some("42")).await;
    other.shows("visits", Some("42")).await;
    counted(&other, "visits").await;
    one.shows("visits", Some("43")).await;
    // What only one had is everywhere.
    let third = Region::start(&nats, "sin").await;
    third.shows("visits", Some("43")).await;
    third.shows("text/1499", Some("v")).await;
    let mut admin = third.server.admin().await;
    let in_bucket: String = admin.get("@kv/bucket/b/k").await.unwrap();
    assert_eq!(in_bucket, "in a bucket");
}

/// The region's store, with nobody in replicated mode over it any more.
fn alone(region: Region) -> Server {
    let Region {
        server,
        replica,
        store,
    } = region;
    drop((replica, store));
    server
}

#[tokio::test]
async fn what_plain_links_wrote_in_between_is_everywhere_once_replication_is_taken_up_again() {
    let nats = NatsServer::start().await.unwrap();
    let (one, other) = (
        Region::start(&nats, "iad").await,
        Region::start(&nats, "fra").await,
    );
    count_to_ten(&one).await;
    count_to_ten(&other).await;
    for (key, value) in [("text", "before"), ("gone", "x"), ("kept", "y")] {
        one.store.set("default", key, &bytes(value)).await.unwrap();
        other.shows(key, Some(value)).await;
    }
    one.shows("n", Some("20")).await;
    other.shows("n", Some("20")).await;

    let (near, far) = (alone(one), alone(other));
    // Counters grow in each region alone, the rest changes in one.
    for (server, times) in [(&near, 5), (&far, 3)] {
        let plain = server.store().await;
        for _ in 0..times {
            plain.increment("default", "n", 1).await.unwrap();
        }
        let sum = plain.increment("default", "m", times).await.unwrap();
        assert_eq!(sum, times, "they do not replicate");
    }
    let plain = near.store().await;
    plain.set("default", "text", &bytes("plain")).await.unwrap();
    plain.delete("default", "gone").await.unwrap();
    drop(plain);

    // The one that changed texts comes first, so that the other hears of it; a third is new.
    let one = Region::over(near, &nats, settings("iad"));
    one.serves().await;
    let other = Region::over(far, &nats, settings("fra"));
    let third = Region::start(&nats, "sin").await;
    for region in [&one, &other, &third] {
        region.shows("n", Some("28")).await;
        region.shows("kept", Some("y")).await;
    }
    // The mark is gone: another start adopts nothing.
    let mut admin = one.server.admin().await;
    let marked: bool = admin.exists("@kv/r/plain").await.unwrap();
    assert!(!marked);
    assert_eq!(counted(&other, "n").await, 29);
    one.shows("n", Some("29")).await;
}

#[tokio::test]
async fn a_store_of_which_only_one_region_was_written_plain_wins_everywhere() {
    let nats = NatsServer::start().await.unwrap();
    let (home, edge) = (
        Region::start(&nats, "home").await,
        Region::start(&nats, "iad").await,
    );
    count_to_ten(&edge).await;
    for (key, value) in [("text", "before"), ("gone", "x"), ("number", "7")] {
        edge.store.set("default", key, &bytes(value)).await.unwrap();
        home.shows(key, Some(value)).await;
    }
    home.shows("n", Some("10")).await;
    let (home, edge) = (alone(home), alone(edge));
    let plain = home.store().await;
    plain.increment("default", "n", 4).await.unwrap();
    plain.increment("default", "number", 4).await.unwrap();
    let () = plain.set("default", "text", &bytes("plain")).await.unwrap();
    plain.delete("default", "gone").await.unwrap();
    plain.set("default", "new", &bytes("z")).await.unwrap();
    drop(plain);

    // The other comes first, as it was.
    let edge = Region::over(edge, &nats, settings("iad"));
    edge.serves().await;
    edge.shows("text", Some("before")).await;
    let home = Region::over(home, &nats, settings("home"));
    let wanted = [
        ("n", Some("14")),
        ("number", Some("11")),
        ("text", Some("plain")),
        ("gone", None),
        ("new", Some("z")),
    ];
    for region in [&home, &edge] {
        for (key, value) in wanted {
            region.shows(key, value).await;
        }
    }
}

#[tokio::test]
async fn a_write_whose_reply_is_lost_is_unknown_and_never_sent_again() {
    let nats = NatsServer::start().await.unwrap();
    let server = Server::start();
    let proxy = proxy::Proxy::losing_the_reply_to("unlucky", server.port).await;
    let endpoint = Endpoint {
        port: proxy.port,
        ..server.endpoint()
    };
    let replica = Replica::open(
        endpoint,
        settings("iad"),
        Nats::at(nats.url()),
        Default::default(),
    );
    let replica = std::sync::Arc::new(replica);
    serves(&replica).await;
    let store = store(&replica, Ack::Local);
    assert_eq!(store.increment("default", "unlucky", 1).await, Ok(1));
    proxy.armed.store(true, Ordering::SeqCst);
    let lost = store.increment("default", "unlucky", 1).await;
    assert!(
        matches!(lost, Err(Error::OutcomeUnknown { .. })),
        "{lost:?}"
    );
    serves(&replica).await;
    assert_eq!(store.increment("default", "unlucky", 1).await, Ok(3));
    // The others miss the news of the lost one, and pull it.
    let other = Region::start(&nats, "fra").await;
    other.shows("unlucky", Some("3")).await;
}

#[tokio::test]
async fn a_restarted_server_is_not_written_before_it_is_checked() {
    let nats = NatsServer::start().await.unwrap();
    let mut one = Region::start(&nats, "iad").await;
    let other = Region::start(&nats, "fra").await;
    for _ in 0..5 {
        counted(&one, "n").await;
    }
    other.shows("n", Some("5")).await;
    save(&one.server).await;
    one.server.kill();
    one.server.revive();
    // Whatever a caller tries meanwhile is counted once, refused, or sent into the dead socket.
    let (mut acknowledged, mut unknown, mut refused) = (5_u64, 0, 0);
    while acknowledged < 30 {
        match one.store.increment("default", "n", 1).await {
            Ok(_) => acknowledged += 1,
            Err(Error::OutcomeUnknown { .. }) => unknown += 1,
            Err(Error::Unavailable { .. } | Error::NotConnected { .. }) => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    println!("refused {refused}, unknown {unknown}");
    assert!(refused > 0);
    // The process that the socket led to was dead, so nothing of unknown outcome was counted.
    one.shows("n", Some("30")).await;
    other.shows("n", Some("30")).await;
}

#[tokio::test]
async fn values_larger_than_a_message_travel_in_parts() {
    let nats = NatsServer::start().await.unwrap();
    let one = Region::start(&nats, "iad").await;
    let other = Region::start(&nats, "fra").await;
    let large = |n: u8| Bytes::from(vec![n; 500_000]);
    let entries: Vec<_> = (0..14).map(|n| (format!("large/{n}"), large(n))).collect();
    one.store.set_many("default", entries).await.unwrap();
    let arrives = |region: &Region| {
        let store = region.store.clone();
        async move {
            eventually("large values arrive", SOON, || async {
                store.get("default", "large/13").await == Ok(Some(large(13)))
                    && store.get("default", "large/0").await == Ok(Some(large(0)))
            })
            .await
        }
    };
    println!("pushed within {:?}", arrives(&other).await);
    let third = Region::start(&nats, "sin").await;
    arrives(&third).await;
}

#[tokio::test]
async fn a_new_region_gets_twenty_thousand_keys_while_the_others_serve() {
    let nats = NatsServer::start().await.unwrap();
    let one = Region::start(&nats, "iad").await;
    for batch in 0..20 {
        let entries = (0..1_000).map(|n| (format!("k/{batch}/{n}"), bytes("value")));
        let entries = entries.collect();
        one.store.set_many("default", entries).await.unwrap();
    }
    let start = std::time::Instant::now();
    let other = Region::over(Server::start(), &nats, settings("fra"));
    let (mut slowest, mut writes) = (Duration::ZERO, 0);
    while other.replica.fault().is_some() {
        assert!(start.elapsed() < SOON, "not joined within {SOON:?}");
        let asked = std::time::Instant::now();
        counted(&one, "n").await;
        slowest = slowest.max(asked.elapsed());
        writes += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = start.elapsed();
    println!("joined after {took:?}, {writes} writes meanwhile, slowest {slowest:?}");
    // Served in between, not one after the other had everything.
    assert!(writes >= 20, "{writes} writes within {took:?}");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    let mut admin = other.server.admin().await;
    let held: u64 = redis::cmd("HLEN")
        .arg("@kv/r/meta")
        .query_async(&mut admin)
        .await
        .unwrap();
    assert!(held >= 20_000, "{held}");
}

#[tokio::test]
async fn a_batch_that_stops_at_a_damaged_entry_gives_none_of_its_numbers_away_again() {
    let nats = NatsServer::start().await.unwrap();
    let one = Region::start(&nats, "iad").await;
    let other = Region::start(&nats, "fra").await;
    one.store.set("default", "z", &bytes("1")).await.unwrap();
    other.shows("z", Some("1")).await;

    let mut admin = one.server.admin().await;
    let entry: String = admin.hget("@kv/r/meta", "z").await.unwrap();
    let () = admin.hset("@kv/r/meta", "z", "damaged").await.unwrap();
    let batch = ["a", "z"].map(|key| (key.to_owned(), bytes("2"))).to_vec();
    let refused = one.store.set_many("default", batch).await;
    assert!(refused.is_err(), "{refused:?}");
    let () = admin.hset("@kv/r/meta", "z", entry).await.unwrap();

    one.store.set("default", "c", &bytes("3")).await.unwrap();
    other.shows("c", Some("3")).await;
    // Its number before that of "c" is missing there until it has come, too.
    assert_eq!(one.store.get("default", "a").await, Ok(Some(bytes("2"))));
    other.shows("a", Some("2")).await;
}
