//! What happens to calls when Valkey dies, hangs, loads, or loses a reply.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/proxy.rs"]
mod proxy;
mod support;

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keyvalue_valkey::connection::{PING_DEADLINE, PING_EVERY, PROOFS};
use keyvalue_valkey::endpoint::{Endpoint, Tls};
use keyvalue_valkey::pool::Pool;
use keyvalue_valkey::{Error, Store, Valkey};
use proxy::Proxy;
use redis::AsyncCommands as _;
use support::{connected, eventually, store, unusable, usable, Server, DEADLINE};
use tokio::task::JoinSet;

/// What a busy machine may add to any bound.
const SLACK: Duration = Duration::from_secs(10);

/// A call that waits for nothing, on a busy machine: less than the deadline that it would wait for.
const AT_ONCE: Duration = Duration::from_secs(4);

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    (call.await, start.elapsed())
}

fn count(result: Result<u64, Error>) -> Result<u64, Error> {
    match &result {
        Ok(_) | Err(Error::OutcomeUnknown { .. } | Error::NotConnected { .. }) => result,
        Err(error) => panic!("neither counted, nor unknown, nor unsent: {error:?}"),
    }
}

#[tokio::test]
async fn a_call_into_a_stopped_valkey_ends_within_its_deadline() {
    let server = Server::start();
    let connection = connected(server.endpoint()).await;
    let store = store(&connection);
    store.set("default", "k", &bytes("1")).await.unwrap();
    server.pause();
    let ((write, read), took) = timed(async {
        tokio::join!(
            store.increment("default", "k", 1),
            store.get("default", "k")
        )
    })
    .await;
    assert!(took < DEADLINE + SLACK, "{took:?}");
    assert!(
        matches!(write, Err(Error::OutcomeUnknown { .. })),
        "{write:?}"
    );
    assert!(matches!(read, Err(Error::NoAnswer { .. })), "{read:?}");

    unusable(&connection).await;
    let (refused, took) = timed(store.increment("default", "k", 1)).await;
    assert!(
        matches!(refused, Err(Error::NotConnected { .. })),
        "{refused:?}"
    );
    assert!(took < AT_ONCE, "{took:?}");

    server.resume();
    usable(&connection).await;
    // The one of unknown outcome may have counted; the refused one has not.
    let value = store.increment("default", "k", 0).await.unwrap();
    assert!((1..=2).contains(&value), "{value}");
}

#[tokio::test]
async fn a_stopped_valkey_is_noticed_without_any_call() {
    let server = Server::start();
    let connection = connected(server.endpoint()).await;
    server.pause();
    let noticed = unusable(&connection).await;
    assert!(noticed < PING_EVERY + PING_DEADLINE + SLACK, "{noticed:?}");
    assert!(
        connection.fault().unwrap().contains("PING"),
        "{:?}",
        connection.fault()
    );
    server.resume();
    usable(&connection).await;
}

#[tokio::test]
async fn a_killed_valkey_is_noticed_by_its_connections_end_and_so_is_its_return() {
    let mut server = Server::start();
    let connection = connected(server.endpoint()).await;
    let store = store(&connection);
    server.kill();
    unusable(&connection).await;
    // Not by a PING that goes unanswered.
    let fault = connection.fault().unwrap_or_default();
    assert!(!fault.contains("PING"), "{fault}");
    let (refused, took) = timed(store.get("default", "k")).await;
    assert!(
        matches!(refused, Err(Error::NotConnected { .. })),
        "{refused:?}"
    );
    assert!(took < AT_ONCE, "{took:?}");
    eventually("says why", SLACK, || async {
        connection
            .fault()
            .is_some_and(|fault| fault.contains("refused"))
    })
    .await;

    server.revive();
    let returned = usable(&connection).await;
    // At most one capped delay, then the proofs.
    assert!(
        returned < Duration::from_millis(500) + PING_EVERY / 2 * PROOFS + SLACK,
        "{returned:?}"
    );
    assert_eq!(store.get("default", "k").await, Ok(None));
}

#[tokio::test]
async fn calls_in_flight_when_valkey_dies_end_and_what_was_acknowledged_is_exact() {
    // AOF with fsync on every write: what Valkey acknowledged survives its SIGKILL.
    let mut server = Server::start();
    server.kill();
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    server.revive_with(&durable);
    let connection = connected(server.endpoint()).await;
    let store = Arc::new(store(&connection));
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let store = store.clone();
        callers.spawn(async move {
            let (mut acknowledged, mut unknown, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
            loop {
                let (result, took) = timed(store.increment("default", "k", 1)).await;
                slowest = slowest.max(took);
                match count(result) {
                    Ok(_) => acknowledged += 1,
                    Err(Error::OutcomeUnknown { .. }) => unknown += 1,
                    Err(_) => return (acknowledged, unknown, slowest),
                }
            }
        });
    }
    let seen = store.clone();
    eventually("the load runs", SLACK, || async {
        // As many as there are callers, so that each is likely to be in the middle of a call.
        let held = seen.get("default", "k").await.unwrap().unwrap_or_default();
        String::from_utf8_lossy(&held).parse::<u64>().unwrap_or(0) > 64
    })
    .await;
    server.kill();
    let (mut acknowledged, mut unknown) = (0, 0);
    for (ok, lost, slowest) in callers.join_all().await {
        acknowledged += ok;
        unknown += lost;
        assert!(slowest < DEADLINE + SLACK, "{slowest:?}");
    }
    assert!(acknowledged > 0);
    server.revive_with(&durable);
    usable(&connection).await;
    let held = store.increment("default", "k", 0).await.unwrap();
    assert!(
        (acknowledged..=acknowledged + unknown).contains(&held),
        "{acknowledged} ≤ {held} ≤ {acknowledged} + {unknown}"
    );
}

#[tokio::test]
async fn a_write_whose_reply_is_lost_is_done_once_and_reported_as_unknown() {
    let server = Server::start();
    let proxy = Proxy::losing_the_reply_to("EVALSHA", server.port).await;
    let connection = connected(Endpoint {
        port: proxy.port,
        ..server.endpoint()
    })
    .await;
    let store = store(&connection);
    assert_eq!(store.increment("default", "k", 1).await, Ok(1)); // the server knows the script now
    for lost in 1..=3 {
        proxy.armed.store(true, Ordering::SeqCst);
        let result = store.increment("default", "k", 1).await;
        assert!(
            matches!(result, Err(Error::OutcomeUnknown { .. })),
            "{result:?}"
        );
        usable(&connection).await;
        // Long enough for anything that would send it again.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let held: u64 = server.admin().await.get("k").await.unwrap();
        assert_eq!(held, 1 + lost);
    }
}

#[tokio::test]
async fn a_read_whose_reply_is_lost_is_no_answer() {
    let server = Server::start();
    let proxy = Proxy::losing_the_reply_to("GET", server.port).await;
    let store = store(
        &connected(Endpoint {
            port: proxy.port,
            ..server.endpoint()
        })
        .await,
    );
    proxy.armed.store(true, Ordering::SeqCst);
    let result = store.get("default", "k").await;
    assert!(matches!(result, Err(Error::NoAnswer { .. })), "{result:?}");
}

#[tokio::test]
async fn a_valkey_that_loads_its_data_is_not_usable_before_it_has() {
    let mut server = Server::start();
    let mut admin = server.admin().await;
    let () = redis::cmd("DEBUG")
        .arg("POPULATE")
        .arg(20_000)
        .query_async(&mut admin)
        .await
        .unwrap_or(());
    let mut pipe = redis::pipe();
    for n in 0..20_000 {
        pipe.set(n, n).ignore();
    }
    let () = pipe.query_async(&mut admin).await.unwrap();
    let () = redis::cmd("SAVE").query_async(&mut admin).await.unwrap();
    let connection = connected(server.endpoint()).await;
    let store = store(&connection);
    server.kill();
    unusable(&connection).await;
    // 200 µs per key: four seconds of loading.
    server.revive_with(&[
        "--key-load-delay",
        "200",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    eventually("says that it loads", SLACK, || async {
        connection
            .fault()
            .is_some_and(|fault| fault.contains("LOADING"))
    })
    .await;
    let refused = store.get("default", "7").await;
    assert!(
        matches!(refused, Err(Error::NotConnected { .. })),
        "{refused:?}"
    );
    eventually("loaded", 3 * SLACK, || async {
        connection.fault().is_none()
    })
    .await;
    assert_eq!(store.get("default", "7").await, Ok(Some(bytes("7"))));
}

#[tokio::test]
async fn while_the_first_connection_is_pending_calls_fail_at_once() {
    // A server that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let server = Server::start();
    let connection = Pool::default().connection(Endpoint {
        port,
        ..server.endpoint()
    });
    let connection = connection.unwrap();
    let store: Store<Valkey> = store(&connection);
    for wait in [0, 100, 1500] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let (refused, took) = timed(store.get("default", "k")).await;
        assert!(
            matches!(refused, Err(Error::NotConnected { .. })),
            "{refused:?}"
        );
        assert!(took < AT_ONCE, "{took:?}");
    }
}

#[tokio::test]
async fn tls_reaches_a_server_of_the_configured_authority_and_no_other() {
    let server = Server::start();
    let (proxy, pem) = Proxy::tls(server.port).await;
    let tls = |host: &str, ca_pem: Option<String>| Endpoint {
        host: host.into(),
        port: proxy.port,
        tls: Some(Tls { ca_pem }),
        ..server.endpoint()
    };
    let trusted = store(&connected(tls("localhost", Some(pem.clone()))).await);
    trusted.set("default", "k", &bytes("v")).await.unwrap();
    assert_eq!(trusted.get("default", "k").await, Ok(Some(bytes("v"))));
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()])
        .unwrap()
        .cert
        .pem();
    for (host, ca) in [
        ("localhost", None),
        ("localhost", Some(other)),
        ("127.0.0.1", Some(pem)),
    ] {
        let connection = Pool::default().connection(tls(host, ca)).unwrap();
        eventually("certificate refused", SLACK, || async {
            connection
                .fault()
                .is_some_and(|fault| fault.contains("certificate"))
        })
        .await;
    }
}
