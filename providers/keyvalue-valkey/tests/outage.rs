//! Providers that hang and go on, and a region that was away for long: provider processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/site.rs"]
mod site;
mod support;
#[path = "support/tally.rs"]
mod tally;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use provider_harness::{NatsServer, Process};
use site::{digests_agree, in_step, owned, Site};
use support::region::SOON;
use support::{eventually, free_port, Server};
use tally::Tally;

const OFTEN: (&str, &str) = ("digest_s", "1");

/// A SIGSTOP or SIGCONT for a provider.
fn signal(provider: &Process, signal: Signal) {
    let pid = provider.id().unwrap();
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

async fn logged(site: &Site, instance: usize, text: &str) {
    eventually(
        &format!("instance {instance} says `{text}`"),
        SOON,
        || async { site.providers[instance].log().contains(text) },
    )
    .await;
}

/// Counts with some clients while something happens.
async fn counting<T>(site: &Site, tally: &Tally, what: impl Future<Output = T>) -> T {
    let stop = AtomicBool::new(false);
    let counting = (0..8).map(|_| tally.count(site, "k", &stop));
    let what = async {
        let done = what.await;
        stop.store(true, Ordering::Relaxed);
        done
    };
    tokio::join!(what, futures::future::join_all(counting)).0
}

/// Waits until so many more are counted.
async fn counts(tally: &Tally, more: u64) {
    let before = tally.read().0;
    eventually("some more are counted", SOON, || async {
        tally.read().0 >= before + more
    })
    .await;
}

/// What all show is what was acknowledged, and perhaps what nobody knows of.
fn exact(sum: &str, tally: &Tally) {
    let (counted, unknown) = tally.read();
    println!("counted {counted}, unknown {unknown}, sum {sum}");
    let sum: u64 = sum.parse().unwrap();
    assert!(sum >= counted, "{sum} < {counted}: lost");
    assert!(sum <= counted + unknown, "{sum} > {counted} + {unknown}");
}

#[tokio::test]
async fn a_leader_that_hangs_is_followed_and_does_no_harm_when_it_goes_on() {
    let nats = NatsServer::start_hub(free_port()).await.unwrap();
    let mut one = Site::start(&nats, "iad", &[OFTEN]).await;
    let other = Site::start(&nats, "fra", &[OFTEN]).await;
    one.add_provider().await;
    logged(&one, 1, ": serving\n").await;
    let tally = Tally::default();
    counting(&one, &tally, async {
        counts(&tally, 100).await;
        signal(&one.providers[0], Signal::SIGSTOP);
        // NATS goes on handing it calls until it misses its pings, and the lease runs out before.
        logged(&one, 1, ": leads the region").await;
        counts(&tally, 200).await;
        signal(&one.providers[0], Signal::SIGCONT);
        logged(&one, 0, "another instance leads the region").await;
        counts(&tally, 200).await;
    })
    .await;
    assert!(
        tally.read().1 > 0,
        "no call was in flight: nothing was tried"
    );
    exact(&in_step(&[&one, &other]).await["k"], &tally);

    // What hung is a full member again: it serves when it is alone.
    let mut follower = one.providers.pop().unwrap();
    follower.kill().await.unwrap();
    one.serves().await;
    counting(&one, &tally, counts(&tally, 50)).await;
    eventually("it leads again", SOON, || async {
        one.log().matches(": leads the region").count() > 1
    })
    .await;
    assert_eq!(other.counted("back").await, 1);
    one.shows("back", "1").await;
    exact(&in_step(&[&one, &other]).await["k"], &tally);
    digests_agree(&[&one, &other]).await;
}

/// Counts in both, so that each has writes of its own that the other one heard of.
async fn count_ten_each(one: &Site, other: &Site) {
    tokio::join!(one.count("k", 10), other.count("k", 10));
}

#[tokio::test]
async fn a_store_that_is_emptied_or_set_back_under_its_provider_gets_everything_back() {
    let nats = NatsServer::start().await.unwrap();
    let iad = Site::start(&nats, "iad", &[OFTEN]).await;
    let mut fra = Site::start(&nats, "fra", &[OFTEN]).await;
    fra.set("text", "old").await;
    count_ten_each(&iad, &fra).await;
    let before = in_step(&[&iad, &fra]).await;
    assert_eq!(before, owned([("k", "20"), ("text", "old")]));

    let mut admin = fra.valkey.admin().await;
    let () = redis::cmd("FLUSHALL")
        .query_async(&mut admin)
        .await
        .unwrap();
    assert_eq!(in_step(&[&iad, &fra]).await, before);
    fra.serves().await;

    // A copy of the disk, and writes that it lacks: fra's own among them, which only iad has then.
    let () = redis::cmd("SAVE").query_async(&mut admin).await.unwrap();
    count_ten_each(&iad, &fra).await;
    fra.set("text", "new").await;
    iad.shows("text", "new").await;
    iad.shows("k", "40").await;
    fra.valkey.kill();
    fra.valkey.revive();
    let wanted = owned([("k", "40"), ("text", "new")]);
    assert_eq!(in_step(&[&iad, &fra]).await, wanted);
    assert!(fra.log().contains("the store starts anew"), "{}", fra.log());
    fra.serves().await;
    count_ten_each(&iad, &fra).await;
    assert_eq!(in_step(&[&iad, &fra]).await["k"], "60");
    digests_agree(&[&iad, &fra]).await;
}

/// The most memory that a process ever had, in MiB.
fn peak_mib(provider: &Process) -> u64 {
    let status = format!("/proc/{}/status", provider.id().unwrap());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() / 1024
}

/// Whether calls from iad are answered in iad.
async fn is_local(site: &Site) -> bool {
    site.status().await["region"] == "iad"
}

#[tokio::test]
async fn callers_of_a_region_whose_provider_hangs_are_served_by_another_region() {
    let port = free_port();
    let _hub = NatsServer::start_hub(port).await.unwrap();
    let (near, far) = (
        NatsServer::start_leaf(port).await.unwrap(),
        NatsServer::start_leaf(port).await.unwrap(),
    );
    // One provider in both regions, as in a lattice.
    let mut one = Site::prepare(Server::start(), &near, "iad", "VKV", &[OFTEN]).await;
    let mut other = Site::prepare(Server::start(), &far, "fra", "VKV", &[OFTEN]).await;
    one.add_provider().await;
    other.add_provider().await;
    for site in [&one, &other] {
        logged(site, 0, ": serving\n").await;
    }
    eventually("calls stay in their region", SOON, || is_local(&one)).await;
    let tally = Tally::default();
    counting(&one, &tally, counts(&tally, 100)).await;
    in_step(&[&one, &other]).await;

    let away = counting(&one, &tally, async {
        signal(&one.providers[0], Signal::SIGSTOP);
        counts(&tally, 200).await;
        let (here, there) = (one.visible().await, other.visible().await);
        let number = |visible: &std::collections::BTreeMap<String, String>| {
            visible["k"].parse::<u64>().unwrap()
        };
        signal(&one.providers[0], Signal::SIGCONT);
        eventually("calls are local again", SOON, || is_local(&one)).await;
        counts(&tally, 200).await;
        number(&there) - number(&here)
    })
    .await;
    assert!(away >= 100, "only {away} calls were served elsewhere");
    assert!(
        tally.read().1 > 0,
        "no call was in flight: nothing was tried"
    );
    exact(&in_step(&[&one, &other]).await["k"], &tally);
    digests_agree(&[&one, &other]).await;
}

#[tokio::test]
async fn a_region_down_for_an_hour_of_writes_has_all_of_them_afterwards() {
    const KEYS: usize = 20_000;
    let nats = NatsServer::start().await.unwrap();
    let disk = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let iad = Site::start(&nats, "iad", &[OFTEN]).await;
    let sin = Site::start(&nats, "sin", &[OFTEN]).await;
    let mut fra = Site::start_over(disk, &nats, "fra", &[OFTEN]).await;
    fra.serves().await;
    assert_eq!(fra.counted("n0").await, 1);
    iad.shows("n0", "1").await;
    sin.shows("n0", "1").await;
    fra.providers.pop().unwrap().kill().await.unwrap();
    fra.valkey.kill();

    // 90,000 sets of 20,000 keys and 10,000 counts, all of them acknowledged, in two regions.
    let start = Instant::now();
    let set = |site: &'static str, batch: usize| {
        let at = (batch % (KEYS / 1_000)) * 1_000;
        (at..at + 1_000)
            .map(|n| {
                let value = Bytes::from(format!("{site} {batch}"));
                (format!("key {n}"), value)
            })
            .collect::<Vec<_>>()
    };
    let sets = async {
        for batch in 0..90 {
            let (site, name) = if batch % 2 == 0 {
                (&iad, "iad")
            } else {
                (&sin, "sin")
            };
            site.set_many(&set(name, batch)).await;
        }
    };
    let counts = futures::future::join_all([&iad, &sin].map(|site| async move {
        let clients = (0..10).map(|client| async move {
            site.count(&format!("n{client}"), 500).await;
        });
        futures::future::join_all(clients).await;
    }));
    tokio::join!(sets, counts);
    iad.delete("key 0").await;
    println!("written within {:?}", start.elapsed());

    let start = Instant::now();
    fra.valkey.revive();
    fra.add_provider().await;
    fra.serves().await;
    println!("serves after {:?}", start.elapsed());
    let visible = in_step(&[&iad, &sin, &fra]).await;
    println!("in step after {:?}", start.elapsed());
    assert_eq!(visible.len(), KEYS - 1 + 10);
    assert_eq!(visible["n0"], "1001");
    assert!((1..10).all(|n| visible[&format!("n{n}")] == "1000"));
    digests_agree(&[&iad, &sin, &fra]).await;
    // Bounded by the queues, not by what there was to take in or to tell.
    let peaks = [&iad, &sin, &fra].map(|site| peak_mib(&site.providers[0]));
    println!("the providers had {peaks:?} MiB at most");
    assert!(peaks.iter().all(|peak| *peak < 256), "{peaks:?} MiB");
}
