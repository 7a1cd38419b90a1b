//! The provider as a process under a real NATS, called over wRPC.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/host.rs"]
mod host;
mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use host::{from, Link, Nats, ProviderProcess};
use support::{eventually, Server};

#[allow(clippy::all, missing_debug_implementations)]
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package resiliency:keyvalue-valkey-test@0.1.0;
            world probe {
                import wrpc:keyvalue/store@0.2.0-draft;
                import wrpc:keyvalue/atomics@0.2.0-draft;
                import wrpc:keyvalue/batch@0.2.0-draft;
            }
        ",
        path: "../../wit/deps/wrpc-keyvalue",
        world: "resiliency:keyvalue-valkey-test/probe",
        generate_all,
    });
}
use bindings::wrpc::keyvalue::{atomics, batch, store};
use wrpc_transport_nats::Client;

const SOON: Duration = Duration::from_secs(20);

fn url(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port)
}

/// `None` when nobody answered (or not in time).
async fn increment(
    client: &Client,
    component: &str,
    key: &str,
) -> Option<Result<u64, store::Error>> {
    let call = atomics::increment(client, from(component), "default", key, 1);
    tokio::time::timeout(Duration::from_secs(3), call)
        .await
        .ok()?
        .ok()
}

async fn serving(client: &Client, component: &str) -> Duration {
    eventually("serving", SOON, || async {
        matches!(increment(client, component, "warm-up").await, Some(Ok(_)))
    })
    .await
}

fn reason(error: &store::Error) -> &str {
    match error {
        store::Error::Other(reason) => reason,
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn every_function_answers_over_wrpc_and_nothing_secret_is_ever_logged() {
    let (nats, server) = (
        Nats::start(),
        Server::start_with(&["--requirepass", "hunter2-password"]),
    );
    let link = Link::new("hello", &url(&server))
        .config("buckets", "default,sessions")
        .config("max_value_bytes", "600000")
        .secret("password", "hunter2-password");
    let provider = ProviderProcess::start(&nats, vec![link], "unused");
    let client = nats.wrpc().await;
    serving(&client, "hello").await;
    let me = || from("hello");
    let value = Bytes::from_static(b"hunter2-value");

    store::set(&client, me(), "default", "k", &value)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        store::get(&client, me(), "default", "k")
            .await
            .unwrap()
            .unwrap(),
        Some(value.clone())
    );
    assert!(store::exists(&client, me(), "default", "k")
        .await
        .unwrap()
        .unwrap());
    store::delete(&client, me(), "default", "k")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        store::get(&client, me(), "default", "k")
            .await
            .unwrap()
            .unwrap(),
        None
    );
    assert_eq!(
        atomics::increment(&client, me(), "sessions", "n", 7)
            .await
            .unwrap()
            .unwrap(),
        7
    );
    batch::set_many(&client, me(), "sessions", &[("a", &value), ("b", &value)])
        .await
        .unwrap()
        .unwrap();
    let got = batch::get_many(&client, me(), "sessions", &["b", "nope"])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got, [Some(("b".to_owned(), value.clone())), None]);
    let listed = store::list_keys(&client, me(), "sessions", None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (listed.keys, listed.cursor),
        (vec!["a".into(), "b".into(), "n".into()], None)
    );
    batch::delete_many(&client, me(), "sessions", &["a", "b"])
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(
        store::get(&client, me(), "other", "k").await.unwrap(),
        Err(store::Error::NoSuchStore)
    ));

    // Errors, too, must not repeat what they were given.
    store::set(&client, me(), "default", "text", &value)
        .await
        .unwrap()
        .unwrap();
    let refused = atomics::increment(&client, me(), "default", "text", 1)
        .await
        .unwrap()
        .unwrap_err();
    assert!(reason(&refused).contains("not a counter"), "{refused:?}");
    let large = Bytes::from(b"hunter2-value".repeat(50_000));
    let refused = store::set(&client, me(), "default", "k", &large)
        .await
        .unwrap()
        .unwrap_err();
    assert!(reason(&refused).contains("max_value_bytes"), "{refused:?}");
    let stranger = store::get(&client, from("stranger"), "default", "k")
        .await
        .unwrap()
        .unwrap_err();
    assert!(reason(&stranger).contains("no link"), "{stranger:?}");

    // A value past NATS's message size travels in pieces.
    let chunked = Bytes::from(vec![7; 600_000]);
    batch::set_many(
        &client,
        me(),
        "default",
        &[("x", &chunked), ("y", &chunked)],
    )
    .await
    .unwrap()
    .unwrap();
    let got = batch::get_many(&client, me(), "default", &["x", "y"])
        .await
        .unwrap()
        .unwrap();
    assert!(got.iter().flatten().all(|(_, value)| *value == chunked));

    let output = provider.output();
    assert!(
        output.contains("TRACE") || output.contains("DEBUG"),
        "the log level is not what this test needs:\n{output}"
    );
    let decimal = b"hunter2".map(|byte| byte.to_string()).join(", ");
    for secret in ["hunter2", decimal.as_str(), "68756e746572"] {
        assert!(!output.contains(secret), "{secret:?} in the output");
    }
}

#[tokio::test]
async fn a_provider_without_its_valkey_leaves_the_queue_group_and_comes_back() {
    let (nats, mut server) = (Nats::start(), Server::start());
    let _provider =
        ProviderProcess::start(&nats, vec![Link::new("hello", &url(&server))], "unused");
    let client = nats.wrpc().await;
    serving(&client, "hello").await;
    assert!(nats.health().await.healthy);

    for hang in [false, true] {
        let start = Instant::now();
        if hang {
            server.pause();
        } else {
            server.kill();
        }
        // No responders: the client fails without an answer, and fast.
        eventually("left the queue group", Duration::from_secs(3), || async {
            increment(&client, "hello", "k").await.is_none()
        })
        .await;
        println!("left after {:?} (hang: {hang})", start.elapsed());
        let asked = Instant::now();
        assert!(increment(&client, "hello", "k").await.is_none());
        assert!(
            asked.elapsed() < Duration::from_millis(500),
            "{:?}",
            asked.elapsed()
        );
        let health = nats.health().await;
        assert!(!health.healthy);
        let why = health.message.unwrap();
        assert!(why.contains(&server.port.to_string()), "{why}");

        let start = Instant::now();
        if hang {
            server.resume();
        } else {
            server.revive();
        }
        serving(&client, "hello").await;
        println!("back after {:?} (hang: {hang})", start.elapsed());
        eventually("healthy", SOON, || async { nats.health().await.healthy }).await;
    }
}

#[tokio::test]
async fn a_provider_whose_valkey_is_away_at_the_start_joins_when_it_comes() {
    let (nats, mut server) = (Nats::start(), Server::start());
    server.kill();
    let provider = ProviderProcess::start(&nats, vec![Link::new("hello", &url(&server))], "unused");
    let client = nats.wrpc().await;
    provider.says("cannot connect").await;
    assert!(increment(&client, "hello", "k").await.is_none());
    assert!(!nats.health().await.healthy);
    server.revive();
    serving(&client, "hello").await;
}

#[tokio::test]
async fn another_instance_with_a_valkey_of_its_own_takes_over() {
    let nats = Nats::start();
    let (mut here, there) = (Server::start(), Server::start());
    let link = || vec![Link::new("hello", "redis://{label:valkey}/0")];
    let one = ProviderProcess::start(&nats, link(), &format!("127.0.0.1:{}", here.port));
    let two = ProviderProcess::start(&nats, link(), &format!("127.0.0.1:{}", there.port));
    let client = nats.wrpc().await;
    for provider in [&one, &two] {
        provider.says(": serving\n").await;
    }
    serving(&client, "hello").await;
    here.kill();
    one.says("serving is paused").await;
    eventually("left", Duration::from_secs(3), || async {
        one.output().matches("serving is paused").count() >= 2
    })
    .await;
    for _ in 0..100 {
        assert!(matches!(
            increment(&client, "hello", "k").await,
            Some(Ok(_))
        ));
    }
    assert!(
        matches!(increment(&client, "hello", "k").await, Some(Ok(101))),
        "one store, the other's, has them all"
    );
}

#[tokio::test]
async fn a_dead_store_of_one_link_leaves_the_other_links_served() {
    let (nats, alive) = (Nats::start(), Server::start());
    let mut dead = Server::start();
    dead.kill();
    let links = vec![
        Link::new("hello", &url(&alive)),
        Link::new("unlucky", &url(&dead)),
    ];
    let _provider = ProviderProcess::start(&nats, links, "unused");
    let client = nats.wrpc().await;
    serving(&client, "hello").await;
    let start = Instant::now();
    let refused = increment(&client, "unlucky", "k")
        .await
        .unwrap()
        .unwrap_err();
    assert!(start.elapsed() < Duration::from_millis(500));
    assert!(reason(&refused).contains("not connected"), "{refused:?}");
    let health = nats.health().await;
    assert!(!health.healthy && health.message.unwrap().contains(&dead.port.to_string()));
}

#[tokio::test]
async fn a_link_with_bad_config_is_refused_with_the_key_and_what_is_allowed() {
    let (nats, server) = (Nats::start(), Server::start());
    let links = vec![
        Link::new("hello", &url(&server)),
        Link::new("inline", "redis://:hunter2-password@127.0.0.1"),
        Link::new("typo", &url(&server)).config("timeout", "800"),
        Link::new("denied", &url(&server))
            .secret("username", "nobody")
            .secret("password", "hunter2-password"),
    ];
    let provider = ProviderProcess::start(&nats, links, "unused");
    let client = nats.wrpc().await;
    serving(&client, "hello").await;
    let inline = increment(&client, "inline", "k")
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        reason(&inline).contains("`url`") && reason(&inline).contains("secret `password`"),
        "{inline:?}"
    );
    let typo = increment(&client, "typo", "k").await.unwrap().unwrap_err();
    assert!(
        reason(&typo).contains("`timeout` is unknown") && reason(&typo).contains("`timeout_ms`"),
        "{typo:?}"
    );
    eventually("denied", SOON, || async {
        matches!(
            increment(&client, "denied", "k").await,
            Some(Err(store::Error::AccessDenied))
        )
    })
    .await;
    let why = nats.health().await.message.unwrap();
    assert!(
        why.contains("inline/default") && why.contains("typo/default"),
        "{why}"
    );
    assert!(!provider.output().contains("hunter2"));
}
