//! A region that joins in two goes, and one that is gone for good: provider processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/site.rs"]
mod site;
mod support;

use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::libc::SIGKILL;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use provider_harness::NatsServer;
use redis::AsyncCommands as _;
use site::{digests_agree, in_step, owned, Site, Went, LONG};
use support::region::SOON;
use support::{eventually, Server};

/// Digests are compared often.
const OFTEN: (&str, &str) = ("digest_s", "1");
const KEYS: usize = 60_000;
/// The same for so many keys: a digest of all of them takes longer than a second.
const SELDOM: (&str, &str) = ("digest_s", "5");
/// With so many keys a join is under way, and far from its end.
const SOME: usize = 20_000;
const MOST: usize = 50_000;

/// A Valkey that plain links have used.
async fn filled() -> Server {
    let valkey = Server::start();
    let mut admin = valkey.admin().await;
    let value = "v".repeat(100);
    let pairs: Vec<_> = (0..KEYS)
        .map(|n| (format!("text/{n}"), value.as_str()))
        .collect();
    for batch in pairs.chunks(1_000) {
        let () = admin.mset(batch).await.unwrap();
    }
    valkey
}

/// Entries of a region's store.
async fn entries(site: &Site) -> usize {
    let mut admin = site.valkey.admin().await;
    redis::cmd("HLEN")
        .arg("@kv/r/meta")
        .query_async(&mut admin)
        .await
        .unwrap()
}

/// Waits until a region's change log is empty: with nobody there to read it, it is not kept, and who joins is given all keys.
async fn nothing_is_left_to_read(site: &Site) {
    eventually("the change log is empty", LONG, || async {
        let mut admin = site.valkey.admin().await;
        admin.llen::<_, usize>("@kv/r/log").await.unwrap() == 0
    })
    .await;
}

/// Waits until a region says that it has joined; returns the bytes that came from `iad` until then.
async fn joined(site: &Site) -> u64 {
    site.says("joined", |status| {
        let peers = status["peers"].as_array()?;
        let iad = peers.iter().find(|peer| peer["region"] == "iad")?;
        let received = iad["received_bytes"].as_u64()?;
        (status["phase"] == "ready").then_some(received)
    })
    .await
}

/// A SIGKILL for an instance, by which it ends.
async fn kill_instance(site: &mut Site, instance: usize) {
    let provider = &mut site.providers[instance];
    let pid = provider.id().unwrap();
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    let ended = provider.ended(SOON).await.unwrap();
    assert_eq!(ended.signal(), Some(SIGKILL), "{ended}");
}

/// Reads and counts until told to stop. Returns how often, and the slowest call.
async fn serves_all_the_time(site: &Site, stop: &AtomicBool) -> (u64, Duration) {
    let (mut counted, mut slowest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        counted += 1;
        assert_eq!(site.counted("n").await, counted);
        slowest = slowest.max(asked.elapsed());
        let asked = Instant::now();
        eventually("the text is read", SOON, || async {
            let read = site.get("default", "text/7").await;
            read.is_some_and(|value| value.len() == 100)
        })
        .await;
        slowest = slowest.max(asked.elapsed());
    }
    (counted, slowest)
}

#[tokio::test]
async fn a_join_whose_provider_is_killed_goes_on_where_it_was_while_the_others_serve() {
    let nats = NatsServer::start().await.unwrap();
    let iad = Site::start_over(filled().await, &nats, "iad", &[SELDOM]).await;
    eventually("all is adopted", LONG, || async {
        iad.status().await["phase"] == "ready" && entries(&iad).await == KEYS
    })
    .await;
    nothing_is_left_to_read(&iad).await;
    // What a join in one go takes. Then this region is still, so that the other one joins from the same one.
    let mut sin = Site::start_over(Server::start(), &nats, "sin", &[SELDOM]).await;
    let in_one_go = joined(&sin).await;
    assert_eq!(entries(&sin).await, KEYS);
    kill_instance(&mut sin, 0).await;

    let mut fra = Site::start_over(Server::start(), &nats, "fra", &[SELDOM]).await;
    let stop = AtomicBool::new(false);
    let joins = async {
        eventually("some have come", LONG, || async {
            entries(&fra).await >= SOME
        })
        .await;
        kill_instance(&mut fra, 0).await;
        let there = entries(&fra).await;
        assert!((SOME..=MOST).contains(&there), "{there} had come");
        let before = fra.visible().await;
        fra.add_provider().await;
        eventually("all have come", LONG, || async {
            let held = entries(&fra).await;
            assert!(held >= there, "{held} of {there} are left");
            held >= KEYS
        })
        .await;
        let in_two_goes = joined(&fra).await;
        stop.store(true, Ordering::Relaxed);
        (there, before, in_two_goes)
    };
    let (served, (there, before, in_two_goes)) =
        tokio::join!(serves_all_the_time(&iad, &stop), joins);
    let (counted, slowest) = served;
    println!(
        "killed with {there} of {KEYS} keys; {in_two_goes} bytes after it, {in_one_go} in one go; \
         counted {counted}, slowest call {slowest:?}"
    );
    // Served in between, not one after the other had everything.
    assert!(counted >= 20, "{counted} counts during two joins");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    assert!(
        in_two_goes * 10 <= in_one_go * 9,
        "{in_two_goes} of {in_one_go} bytes: it started over"
    );

    sin.add_provider().await;
    let shown = in_step(&[&iad, &fra, &sin]).await;
    assert_eq!(shown.len(), KEYS + 1);
    assert_eq!(shown["n"], counted.to_string());
    // The counter may have been there before, with a lower sum.
    let kept: Vec<_> = before
        .iter()
        .filter(|(key, _)| key.starts_with("text/"))
        .collect();
    assert!(kept.len() + 1 >= there);
    for (key, value) in kept {
        assert_eq!(shown.get(key), Some(value), "{key}");
    }
    digests_agree(&[&iad, &fra, &sin]).await;
}

/// Waits until a region tells in its status, and in its health, that `sin` is evicted.
async fn tells(site: &Site, told_by: impl Fn(&serde_json::Value) -> bool) {
    eventually("sin is told to be evicted", SOON, || async {
        let status = site.status().await;
        let peers = status["peers"].as_array().cloned().unwrap_or_default();
        let evicted = |peer: &serde_json::Value| peer["region"] == "sin" && peer["evicted"] == true;
        let health = site.health().await;
        told_by(&status)
            && peers.iter().any(evicted)
            && health.contains("sin was silent for too long")
    })
    .await;
}

/// Which instance leads the region.
fn leader(status: &serde_json::Value) -> Option<&str> {
    status.pointer("/leader/instance")?.as_str()
}

#[tokio::test]
async fn the_regions_that_are_left_go_on_without_one_that_is_gone_for_good() {
    let nats = NatsServer::start().await.unwrap();
    let short = [OFTEN, ("retention_s", "10"), ("tombstone_s", "1")];
    let mut iad = Site::start(&nats, "iad", &short).await;
    let fra = Site::start(&nats, "fra", &short).await;
    let sin = Site::start(&nats, "sin", &short).await;
    for key in ["stays", "goes"] {
        iad.set(key, "old").await;
    }
    tokio::join!(iad.count("k", 10), sin.count("k", 10));
    assert_eq!(in_step(&[&iad, &fra, &sin]).await["k"], "20");

    // Its provider and its Valkey, with all that was in it.
    drop(sin);
    tokio::join!(iad.count("k", 5), fra.count("k", 5));
    fra.delete("goes").await;
    for site in [&iad, &fra] {
        tells(site, |_| true).await;
    }
    tokio::join!(iad.count("k", 5), fra.count("k", 5));
    iad.set("new", "1").await;
    iad.set("stays", "changed").await;
    let wanted = owned([("k", "40"), ("new", "1"), ("stays", "changed")]);
    assert_eq!(in_step(&[&iad, &fra]).await, wanted);

    let named = |status: &serde_json::Value| leader(status).map(str::to_owned);
    let before = iad.says("who leads", named).await;
    kill_instance(&mut iad, 0).await;
    fra.count("k", 5).await;
    fra.delete("new").await;
    iad.add_provider().await;
    let another = |status: &serde_json::Value| leader(status).is_some_and(|now| now != before);
    tells(&iad, another).await;
    tells(&fra, |_| true).await;
    tokio::join!(iad.count("k", 5), fra.count("k", 5));
    iad.delete("stays").await;
    let wanted = owned([("k", "55")]);
    assert_eq!(in_step(&[&iad, &fra]).await, wanted);
    digests_agree(&[&iad, &fra]).await;

    // Had it come back, it would have had to hear of the deletes.
    for site in [&iad, &fra] {
        assert_eq!(entries(site).await, 4, "k, and three deletes");
    }
    for site in [&iad, &fra] {
        let mut admin = site.valkey.admin().await;
        let () = admin.sadd("@kv/r/forget", "sin").await.unwrap();
    }
    for site in [&iad, &fra] {
        tombstones_go(site).await;
    }
    assert_eq!(in_step(&[&iad, &fra]).await, wanted);
    digests_agree(&[&iad, &fra]).await;
}

#[tokio::test]
async fn a_full_region_takes_in_nothing_new_and_whoever_joins_gets_all_that_it_has() {
    let nats = NatsServer::start().await.unwrap();
    let iad = Site::start(&nats, "iad", &[OFTEN]).await;
    // More than Valkey keeps in one piece, and goes through at once.
    let texts: Vec<(String, Bytes)> = (0..2_000)
        .map(|n| (format!("text/{n}"), Bytes::from_static(b"value")))
        .collect();
    for batch in texts.chunks(500) {
        iad.set_many(batch).await;
    }
    iad.set("goes", "x").await;
    iad.delete("goes").await;
    nothing_is_left_to_read(&iad).await;
    limit_memory(&iad, "1").await;
    let before = iad.visible().await;
    for went in [
        iad.set_once("text/7", "y").await,
        iad.set_once("new", "y").await,
        iad.increment("new").await,
        iad.set_once("goes", "y").await,
        iad.increment("goes").await,
    ] {
        let full = matches!(&went, Went::Wrong(reason) if reason.contains("OOM"));
        assert!(full, "{went:?}");
    }
    assert_eq!(iad.visible().await, before);

    let sin = Site::start(&nats, "sin", &[OFTEN]).await;
    joined(&sin).await;
    assert_eq!(sin.visible().await, before);
    assert_eq!(before.len(), texts.len());
    limit_memory(&iad, "0").await;
    sin.set("new", "value").await;
    assert_eq!(in_step(&[&iad, &sin]).await.len(), texts.len() + 1);
    digests_agree(&[&iad, &sin]).await;
}

async fn limit_memory(site: &Site, bytes: &str) {
    let mut admin = site.valkey.admin().await;
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "maxmemory", bytes])
        .query_async(&mut admin)
        .await
        .unwrap();
}

/// Waits until a region remembers no delete any more.
async fn tombstones_go(site: &Site) {
    eventually("tombstones are collected", SOON, || async {
        // What is visible has metadata, and nothing else has.
        entries(site).await == site.visible().await.len()
    })
    .await;
}
