//! The provider as a process under a real NATS, called over wRPC.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use provider_harness::{link, traced, Host, NatsServer, Process};
use support::{eventually, Server};
use wasmcloud_provider_sdk::InterfaceLinkDefinition;

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

const SOON: Duration = Duration::from_secs(30);
/// Less than what a call is waited for.
const AT_ONCE: Duration = Duration::from_millis(2_500);

fn url(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port)
}

async fn host(nats: &NatsServer) -> Host {
    Host::new(nats, "NHOST", "VKEYVALUE").await.unwrap()
}

fn to(component: &str, url: &str) -> InterfaceLinkDefinition {
    link(component, "default", [("url", url)])
}

/// Headers of a call from a component.
fn from(component: &str) -> Option<async_nats::HeaderMap> {
    Some(Host::call_headers(component, "default"))
}

/// Starts the provider; `valkey` becomes the host label of that name.
async fn start(host: &Host, valkey: &str) -> Process {
    let mut command = traced(env!("CARGO_BIN_EXE_keyvalue-valkey"));
    command.env("OTEL_RESOURCE_ATTRIBUTES", format!("valkey={valkey}"));
    Process::start(command, host).await.unwrap()
}

async fn says(provider: &Process, text: &str) {
    eventually(text, SOON, || async { provider.log().contains(text) }).await;
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
    let nats = NatsServer::start().await.unwrap();
    let server = Server::start_with(&["--requirepass", "hunter2-password"]);
    let url = url(&server);
    let config = [
        ("url", url.as_str()),
        ("buckets", "default,sessions"),
        ("max_value_bytes", "600000"),
    ];
    let link = link("hello", "default", config);
    let host = host(&nats).await;
    let host = host.with_secret_link(link, [("password", "hunter2-password")]);
    let host = host.unwrap();
    let provider = start(&host, "unused").await;
    let client = host.caller().await.unwrap();
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

    let output = provider.log();
    let whose = r#"component="hello" link="default" key="text""#;
    assert!(output.contains(whose), "{output}");
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
    let (nats, mut server) = (NatsServer::start().await.unwrap(), Server::start());
    let host = host(&nats).await.with_link(to("hello", &url(&server)));
    let _provider = start(&host, "unused").await;
    let client = host.caller().await.unwrap();
    serving(&client, "hello").await;
    assert!(host.health().await.unwrap().healthy);

    for hang in [false, true] {
        let start = Instant::now();
        if hang {
            server.pause();
        } else {
            server.kill();
        }
        // No responders: the client fails without an answer, and fast.
        eventually("left the queue group", SOON, || async {
            increment(&client, "hello", "k").await.is_none()
        })
        .await;
        println!("left after {:?} (hang: {hang})", start.elapsed());
        let asked = Instant::now();
        assert!(increment(&client, "hello", "k").await.is_none());
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
        let port = server.port.to_string();
        eventually("unhealthy, and says why", SOON, || async {
            let health = host.health().await.unwrap();
            !health.healthy && health.message.is_some_and(|why| why.contains(&port))
        })
        .await;

        let start = Instant::now();
        if hang {
            server.resume();
        } else {
            server.revive();
        }
        serving(&client, "hello").await;
        println!("back after {:?} (hang: {hang})", start.elapsed());
        eventually("healthy", SOON, || async {
            host.health().await.unwrap().healthy
        })
        .await;
    }
}

#[tokio::test]
async fn a_provider_whose_valkey_is_away_at_the_start_joins_when_it_comes() {
    let (nats, mut server) = (NatsServer::start().await.unwrap(), Server::start());
    server.kill();
    let host = host(&nats).await.with_link(to("hello", &url(&server)));
    let provider = start(&host, "unused").await;
    let client = host.caller().await.unwrap();
    says(&provider, "cannot connect").await;
    assert!(increment(&client, "hello", "k").await.is_none());
    eventually("unhealthy", SOON, || async {
        host.health().await.is_ok_and(|health| !health.healthy)
    })
    .await;
    server.revive();
    serving(&client, "hello").await;
}

#[tokio::test]
async fn another_instance_with_a_valkey_of_its_own_takes_over() {
    let nats = NatsServer::start().await.unwrap();
    let (mut here, there) = (Server::start(), Server::start());
    let host = host(&nats).await;
    let host = host.with_link(to("hello", "redis://{label:valkey}/0"));
    let one = start(&host, &format!("127.0.0.1:{}", here.port)).await;
    let two = start(&host, &format!("127.0.0.1:{}", there.port)).await;
    let client = host.caller().await.unwrap();
    for provider in [&one, &two] {
        says(provider, ": serving\n").await;
    }
    serving(&client, "hello").await;
    here.kill();
    eventually("left", SOON, || async {
        one.log().matches("serving is paused").count() >= 2
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
    let (nats, alive) = (NatsServer::start().await.unwrap(), Server::start());
    let mut dead = Server::start();
    dead.kill();
    let host = host(&nats).await.with_link(to("hello", &url(&alive)));
    let mut unlucky = to("unlucky", &url(&dead));
    let deadline = ("timeout_ms".to_owned(), "10000".to_owned());
    unlucky.target_config.extend([deadline]);
    let host = host.with_link(unlucky);
    let _provider = start(&host, "unused").await;
    let client = host.caller().await.unwrap();
    serving(&client, "hello").await;
    let start = Instant::now();
    let refused = increment(&client, "unlucky", "k")
        .await
        .unwrap()
        .unwrap_err();
    assert!(start.elapsed() < AT_ONCE);
    assert!(reason(&refused).contains("not connected"), "{refused:?}");
    let health = host.health().await.unwrap();
    assert!(!health.healthy && health.message.unwrap().contains(&dead.port.to_string()));
}

#[tokio::test]
async fn a_link_with_bad_config_is_refused_with_the_key_and_what_is_allowed() {
    let (nats, server) = (NatsServer::start().await.unwrap(), Server::start());
    let url = url(&server);
    let typo = [("url", url.as_str()), ("timeout", "800")];
    let login = [("username", "nobody"), ("password", "hunter2-password")];
    let host = host(&nats)
        .await
        .with_link(to("hello", &url))
        .with_link(to("inline", "redis://:hunter2-password@127.0.0.1"))
        .with_link(link("typo", "default", typo))
        .with_secret_link(to("denied", &url), login)
        .unwrap();
    let provider = start(&host, "unused").await;
    let client = host.caller().await.unwrap();
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
    let why = host.health().await.unwrap().message.unwrap();
    assert!(
        why.contains("inline/default") && why.contains("typo/default"),
        "{why}"
    );
    assert!(!provider.log().contains("hunter2"));
}

#[tokio::test]
async fn a_refused_link_gets_its_store_once_the_links_in_its_way_are_gone() {
    let nats = NatsServer::start().await.unwrap();
    let (server, elsewhere) = (Server::start(), Server::start());
    let (here, there) = (url(&server), url(&elsewhere));
    let replicated = |component: &str| {
        let url = ("url", here.as_str());
        let config = [url, ("mode", "replicated"), ("region", "iad")];
        link(component, "default", config)
    };
    let host = host(&nats).await.with_link(to("one", &here));
    let host = host.with_link(to("other", &here));
    let provider = start(&host, "unused").await;
    let client = host.caller().await.unwrap();
    let is_told = |component: &'static str, text: &'static str| {
        let client = &client;
        eventually(text, SOON, move || async move {
            let answer = increment(client, component, "k").await;
            matches!(answer, Some(Err(error)) if reason(&error).contains(text))
        })
    };
    serving(&client, "one").await;
    serving(&client, "other").await;
    let counted = increment(&client, "one", "n").await;
    assert!(matches!(counted, Some(Ok(1))), "{counted:?}");

    // A delete and a put may overtake each other on their way.
    host.delete_link(to("one", &here)).await.unwrap();
    is_told("one", "has no link").await;
    host.put_link(replicated("one")).await.unwrap();
    is_told("one", "in plain mode").await;
    let health = host.health().await.unwrap().message.unwrap();
    assert!(health.contains("the store of link one/default"), "{health}");

    // Another store comes and goes, and is not what was in the way.
    host.put_link(to("third", &there)).await.unwrap();
    serving(&client, "third").await;
    host.delete_link(to("third", &there)).await.unwrap();
    is_told("third", "has no link").await;
    is_told("one", "in plain mode").await;

    host.delete_link(to("other", &here)).await.unwrap();
    let took = serving(&client, "one").await;
    println!("serves {took:?} after the other link is gone");
    eventually("healthy", SOON, || async {
        host.health().await.unwrap().healthy
    })
    .await;
    host.put_link(replicated("other")).await.unwrap();
    serving(&client, "other").await;
    let counted = increment(&client, "other", "n").await;
    assert!(matches!(counted, Some(Ok(2))), "{counted:?}");
    assert!(host.health().await.unwrap().healthy);
    let log = provider.log();
    let said = log.matches("a link gets no store").count();
    assert_eq!(said, 1, "once per reason, however often it is tried");
}
