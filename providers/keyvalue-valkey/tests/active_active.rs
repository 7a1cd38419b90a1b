//! Regions as they are run: provider processes, each region with a Valkey and a host of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/site.rs"]
mod site;
mod support;
#[path = "support/tally.rs"]
mod tally;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use provider_harness::{link, Host, NatsServer, Process};
use replica::wire::VERSION;
use site::{in_step, owned, replicated, Site, Went};
use support::region::SOON;
use support::{eventually, free_port, Server};
use tally::{agreed, Tally};

#[tokio::test]
async fn three_regions_count_together_and_agree() {
    let nats = NatsServer::start().await.unwrap();
    let sites = [
        Site::start(&nats, "iad", &[]).await,
        Site::start(&nats, "fra", &[]).await,
        Site::start(&nats, "sin", &[]).await,
    ];
    let counting = sites.iter().map(|site| async {
        for _ in 0..100 {
            site.counted("visits").await;
        }
    });
    futures::future::join_all(counting).await;
    for site in &sites {
        site.shows("visits", "300").await;
    }
    eventually("every region knows both others", SOON, || async {
        let status = sites[0].status().await;
        let peers = status["peers"].as_array().map_or(0, Vec::len);
        peers == 2 && status["behind_operations"] == 0
    })
    .await;
}

#[tokio::test]
async fn regions_that_are_cut_off_go_on_counting_and_agree_after_the_heal() {
    let port = free_port();
    let hub = NatsServer::start_hub(port).await.unwrap();
    let (near, far) = (
        NatsServer::start_leaf(port).await.unwrap(),
        NatsServer::start_leaf(port).await.unwrap(),
    );
    let one = Site::start(&near, "iad", &[]).await;
    let other = Site::start(&far, "fra", &[]).await;
    assert_eq!(one.counted("k").await, 1);
    other.shows("k", "1").await;

    drop(hub);
    eventually("the cut is seen", SOON, || async {
        one.increment("probe").await;
        one.status().await["peers"][0]["live"] == false
    })
    .await;
    for sum in 2..=101 {
        assert_eq!(one.counted("k").await, sum);
        assert_eq!(other.counted("k").await, sum);
    }
    let _hub = NatsServer::start_hub(port).await.unwrap();
    one.shows("k", "201").await;
    other.shows("k", "201").await;
}

#[tokio::test]
async fn a_provider_killed_under_load_loses_and_doubles_nothing() {
    let nats = NatsServer::start().await.unwrap();
    let mut one = Site::start(&nats, "iad", &[]).await;
    let other = Site::start(&nats, "fra", &[]).await;
    let (tally, stop) = (Tally::default(), AtomicBool::new(false));
    for round in 0..3 {
        stop.store(false, Ordering::Relaxed);
        let mut victim = one.providers.pop().unwrap();
        let faults = async {
            let before = tally.read().0;
            eventually("some are counted", SOON, || async {
                tally.read().0 > before + 50
            })
            .await;
            victim.kill().await.unwrap();
            stop.store(true, Ordering::Relaxed);
        };
        let counting = (0..8).map(|_| tally.count(&one, "k", &stop));
        let others = tally.count(&other, "k", &stop);
        tokio::join!(faults, futures::future::join_all(counting), others);
        one.add_provider().await;
        let took = one.serves().await;
        println!("round {round}: serves again after {took:?}");
    }
    let (counted, unknown) = tally.read();
    let sum = agreed(&[&one, &other], "k", counted).await;
    println!("counted {counted}, unknown {unknown}, sum {sum}");
    assert!(unknown > 0, "no call was in flight: nothing was tried");
    assert!(sum <= counted + unknown, "{sum} > {counted} + {unknown}");
}

#[tokio::test]
async fn instances_of_a_region_share_its_store_and_one_takes_over_from_the_other() {
    let nats = NatsServer::start().await.unwrap();
    let mut one = Site::start(&nats, "iad", &[]).await;
    let other = Site::start(&nats, "fra", &[]).await;
    one.add_provider().await;
    eventually("both serve", SOON, || async {
        one.providers[1].log().contains(": serving\n")
    })
    .await;
    for sum in 1..=100 {
        assert_eq!(one.counted("k").await, sum);
    }
    other.shows("k", "100").await;

    // The leader goes; the other one serves on, and leads within the lease.
    let leader = one.says("who leads", |status| {
        let instance = status.pointer("/leader/instance")?.as_str()?;
        let leads = format!("leads the region instance=\"{instance}\"");
        let mut logs = one.providers.iter().map(Process::log);
        logs.position(|log| log.contains(&leads))
    });
    let leader = leader.await;
    let mut leader = one.providers.remove(leader);
    let log = one.log();
    let led = log.matches("leads the region").count();
    let reasons = |log: &str| {
        let lost = log.matches(": connection lost").count();
        (log.matches("serving is paused\n").count(), lost)
    };
    let (paused, lost) = reasons(&log);
    leader.kill().await.unwrap();
    let (tally, stop) = (Tally::default(), AtomicBool::new(false));
    let takeover = async {
        eventually("another one leads", SOON, || async {
            one.log().matches("leads the region").count() > led
        })
        .await;
        // On a busy machine the lease may have gone over just before the kill.
        eventually("it counts", SOON, || async { tally.read().0 > 0 }).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(takeover, tally.count(&one, "k", &stop));
    let (counted, unknown) = tally.read();
    assert!(counted > 0);
    let log = one.log();
    let (paused_then, lost_then) = reasons(&log);
    assert!(
        paused_then - paused <= lost_then - lost,
        "taking over is no reason to stop serving:\n{log}"
    );
    let sum = agreed(&[&one, &other], "k", 100 + counted).await;
    assert!(sum <= 100 + counted + unknown);
    assert_eq!(other.counted("back").await, 1);
    one.shows("back", "1").await;
}

#[tokio::test]
async fn garbage_and_foreign_versions_are_refused_named_and_harmless() {
    let nats = NatsServer::start().await.unwrap();
    let one = Site::start(&nats, "iad", &[]).await;
    let other = Site::start(&nats, "fra", &[]).await;
    let stranger = nats.client().await.unwrap();
    // What a region of the next, and of the previous, version might say: a hello as it is said, but for
    // the version; or all of it, as far as somebody let it through.
    let mut said = stranger.subscribe("wasmkv.test.default.all").await.unwrap();
    let hello = said.next().await.unwrap().payload.to_vec();
    said.unsubscribe().await.unwrap();
    assert_eq!(hello[..2], [b'R', VERSION]);
    let neighbour = |version: u8| [b"R", &[version][..], &hello[2..]].concat();
    let half = hello[..hello.len() / 2].to_vec();
    let garbage: [&[u8]; 9] = [
        &neighbour(VERSION + 1),
        &neighbour(VERSION - 1),
        &half,
        &[&hello[..], b"and more"].concat(),
        b"",
        b"hello",
        &[b"R", &[VERSION][..], b"nonsense"].concat(),
        b"C\x01too short",
        b"C\x09a part of a message of another version",
    ];
    let storm = async {
        for _ in 0..200 {
            for payload in garbage {
                for subject in ["all", "to.iad", "to.fra"] {
                    let subject = format!("wasmkv.test.default.{subject}");
                    let payload = payload.to_vec().into();
                    stranger.publish(subject, payload).await.unwrap();
                }
            }
        }
        stranger.flush().await.unwrap();
    };
    let counting = async {
        for sum in 1..=100 {
            assert_eq!(one.counted("during").await, sum);
            assert_eq!(other.counted("too").await, sum);
        }
    };
    tokio::join!(storm, counting);
    for site in [&one, &other] {
        eventually("named in the log", SOON, || async {
            let log = site.log();
            let named = |version: u8| {
                log.contains(&format!("version {version}, this is version {VERSION}"))
            };
            log.contains("a replication message is refused")
                && named(VERSION + 1)
                && named(VERSION - 1)
        })
        .await;
        let log = site.log();
        let lines = log.matches("a replication message is refused").count();
        assert!(lines < 100, "{lines} lines about {} messages", 200 * 9 * 2);
    }
    eventually("named in the health", SOON, || async {
        one.health().await.contains("a message was refused")
    })
    .await;
    assert_eq!(one.counted("k").await, 1);
    other.shows("k", "1").await;
    let visible = in_step(&[&one, &other]).await;
    let wanted = [("during", "100"), ("k", "1"), ("too", "100")];
    assert_eq!(visible, owned(wanted));
}

#[tokio::test]
async fn links_that_contradict_each_other_are_refused_and_say_why() {
    let nats = NatsServer::start().await.unwrap();
    let (valkey, elsewhere) = (Server::start(), Server::start());
    let url = format!("redis://127.0.0.1:{}", valkey.port);
    let named = |component: &str, mut link: wasmcloud_provider_sdk::InterfaceLinkDefinition| {
        link.source_id = component.to_owned();
        link
    };
    let host = Host::new(&nats, "NHOST", "VKV")
        .await
        .unwrap()
        .with_link(replicated(&valkey, "iad", &[]))
        .with_link(named("same", replicated(&valkey, "iad", &[("ack", "1")])))
        .with_link(named(
            "plain",
            link("plain", "default", [("url", url.as_str())]),
        ))
        .with_link(named(
            "group",
            replicated(&valkey, "iad", &[("group", "other")]),
        ))
        .with_link(named("twice", replicated(&elsewhere, "iad", &[])))
        .with_link(named(
            "wrong",
            replicated(&valkey, "iad", &[("ack", "many")]),
        ));
    let mut command = provider_harness::command(env!("CARGO_BIN_EXE_keyvalue-valkey"));
    command.env("RUST_LOG", "info");
    let provider = Process::start(command, &host).await.unwrap();
    let client = host.caller().await.unwrap();
    let call = |component: &'static str| {
        let client = &client;
        async move {
            let me = Some(Host::call_headers(component, "default"));
            let call = site::atomics::increment(client, me, "default", "k", 1);
            let answer = tokio::time::timeout(Duration::from_secs(5), call).await;
            answer.ok()?.ok().map(|answer| format!("{answer:?}"))
        }
    };
    eventually("the first one serves", SOON, || async {
        call("hello")
            .await
            .is_some_and(|answer| answer.contains("Ok("))
    })
    .await;
    for (component, why) in [
        ("plain", "replicated as group `default`"),
        ("group", "with other settings"),
        ("twice", "a group has one database in a region"),
        ("wrong", "config key `ack`"),
        ("same", "only 0 of 1 other regions"),
    ] {
        let answer = call(component).await.unwrap();
        assert!(answer.contains(why), "{component}: {answer}");
    }
    let health = host.health().await.unwrap().message.unwrap();
    assert!(
        health.contains("the store of link plain/default"),
        "{health}"
    );
    assert!(provider.log().contains("a link gets no store"));
}

#[tokio::test]
async fn groups_on_one_nats_hear_nothing_of_each_other() {
    let nats = NatsServer::start().await.unwrap();
    let start = |region: &'static str, group: &'static str| {
        // Providers of their own: a call for one group stays with it.
        let provider = format!("V{region}{group}");
        let nats = &nats;
        async move {
            let more = [("group", group)];
            let mut site = Site::prepare(Server::start(), nats, region, &provider, &more).await;
            site.add_provider().await;
            site.serves().await;
            site
        }
    };
    let shop = [start("iad", "shop").await, start("fra", "shop").await];
    let blog = [start("iad", "blog").await, start("fra", "blog").await];
    for (times, group) in [(3, &shop), (5, &blog)] {
        for site in group {
            site.count("k", times).await;
        }
    }
    for ([iad, fra], sum) in [(&shop, "6"), (&blog, "10")] {
        assert_eq!(in_step(&[iad, fra]).await, owned([("k", sum)]));
        let status = iad.status().await;
        assert_eq!(status["peers"].as_array().map(Vec::len), Some(1));
    }
}

#[tokio::test]
async fn nothing_secret_is_logged_by_regions_that_tell_each_other_everything() {
    let nats = NatsServer::start().await.unwrap();
    let start = |region: &'static str| {
        let nats = &nats;
        async move {
            let valkey = Server::start_with(&["--requirepass", "hunter2-password"]);
            let config = [("ack", "1"), ("ack_timeout_ms", "300"), ("digest_s", "1")];
            let link = replicated(&valkey, region, &config);
            let (name, provider) = (format!("N{region}"), format!("V{region}"));
            let host = Host::new(nats, &name, &provider).await.unwrap();
            let host = host.with_secret_link(link, [("password", "hunter2-password")]);
            let host = host.unwrap();
            let mut site = Site {
                client: host.caller().await.unwrap(),
                host,
                valkey,
                providers: Vec::new(),
            };
            site.add_provider_with(&[("RUST_LOG", "trace")]).await;
            site.serves().await;
            site
        }
    };
    let value = bytes::Bytes::from_static(b"hunter2-value");
    let set = |site: &Site, key: &'static str| {
        let (client, value) = (site.client.clone(), value.clone());
        let me = Some(Host::call_headers("hello", "default"));
        async move { site::store::set(&client, me, "default", key, &value).await }
    };
    let iad = start("iad").await;
    // Nobody is there to confirm it.
    let alone = set(&iad, "k").await.unwrap();
    assert!(
        format!("{alone:?}").contains("of 1 other regions"),
        "{alone:?}"
    );
    // It joins, is told of writes, and both write the same key.
    let mut fra = start("fra").await;
    fra.shows("k", "hunter2-value").await;
    eventually("a write is confirmed", SOON, || async {
        matches!(set(&iad, "k").await, Ok(Ok(())))
    })
    .await;
    let (here, there) = tokio::join!(set(&iad, "clash"), set(&fra, "clash"));
    for answer in [here, there] {
        answer.unwrap().unwrap();
    }
    assert!(matches!(iad.increment("k").await, Went::Wrong(_)));
    eventually("digests are compared", SOON, || async {
        iad.log().contains("both regions hold the same")
    })
    .await;
    fra.providers[0].kill().await.unwrap();
    let lost = set(&iad, "k").await.unwrap();
    assert!(format!("{lost:?}").contains("unknown"), "{lost:?}");
    for log in [iad.log(), fra.log()] {
        assert!(log.contains(" TRACE "), "not everything is in the log");
        assert!(!log.contains("hunter2"), "{log}");
    }
}

#[tokio::test]
async fn a_database_of_another_group_is_left_alone_and_not_served() {
    let nats = NatsServer::start().await.unwrap();
    let first = Site::start(&nats, "iad", &[("group", "first")]).await;
    assert_eq!(first.counted("k").await, 1);
    let Site {
        valkey, providers, ..
    } = first;
    drop(providers);
    let second = Site::start_over(valkey, &nats, "iad", &[("group", "second")]).await;
    eventually("it is said whose it is", SOON, || async {
        let health = second.health().await;
        // In the words of an instance that does not lead, or of one that does.
        health.contains("the database belongs to") && health.contains("first")
    })
    .await;
    assert_eq!(
        second.increment("k").await,
        Went::Nobody,
        "not in the queue group"
    );
    let mut admin = second.valkey.admin().await;
    let left: String = redis::cmd("GET")
        .arg("k")
        .query_async(&mut admin)
        .await
        .unwrap();
    assert_eq!(left, "1");
}
