//! Links, config, labels and health of a provider that runs as its host would run it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use provider_harness::{command, eventually, link, traced, NatsServer, Process};
use support::{binary, greet, greeted, host, start, PATIENCE};

const MISSING: &str = "component `hello` has no link `default` to this provider";

#[tokio::test]
async fn each_link_of_a_component_is_answered_by_its_own_config() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats)
        .await
        .with_link(link("hello", "default", [("greeting", "Hello")]))
        .with_link(link("hello", "french", [("greeting", "Salut")]));
    let _provider = start(&host).await;
    greeted(&host, Ok("Hello, World")).await;
    assert_eq!(
        greet(&host, "french").await.unwrap(),
        Ok("Salut, World".into())
    );
    assert_eq!(
        greet(&host, "german").await.unwrap(),
        Err("component `hello` has no link `german` to this provider".into())
    );
    assert!(host.health().await.unwrap().healthy);
}

#[tokio::test]
async fn links_come_and_go_while_the_provider_runs() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats).await;
    let _provider = start(&host).await;
    greeted(&host, Err(MISSING)).await;
    let hello = link("hello", "default", [("greeting", "Hello")]);
    host.put_link(hello.clone()).await.unwrap();
    greeted(&host, Ok("Hello, World")).await;
    host.delete_link(hello).await.unwrap();
    greeted(&host, Err(MISSING)).await;
}

#[tokio::test]
async fn a_refused_link_tells_callers_and_the_health_which_key_is_wrong() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats)
        .await
        .with_link(link("hello", "default", [("greetnig", "Hello")]));
    let _provider = start(&host).await;
    let reason = "link hello/default is refused: config key `greeting` is missing";
    greeted(&host, Err(reason)).await;
    let health = host.health().await.unwrap();
    assert!(!health.healthy);
    assert_eq!(
        health.message.as_deref(),
        Some(format!("link hello/default: {reason}").as_str())
    );
    // Asked again: an unhealthy provider lives on.
    assert!(!host.health().await.unwrap().healthy);

    host.put_link(link("hello", "default", [("greeting", "Hello")]))
        .await
        .unwrap();
    greeted(&host, Ok("Hello, World")).await;
    assert!(host.health().await.unwrap().healthy);
}

#[tokio::test]
async fn a_link_that_names_a_label_waits_for_a_control_interface_that_is_late() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats).await.with_link(link(
        "hello",
        "default",
        [("greeting", "Hello from {label:region}")],
    ));
    let _provider = start(&host).await;
    greeted(
        &host,
        Err("link hello/default waits for the labels of its host"),
    )
    .await;
    // Waiting blocks neither health checks nor other links.
    assert!(host.health().await.unwrap().healthy);
    let _inventory = host.answer_inventory([("region", "iad")]).await.unwrap();
    greeted(&host, Ok("Hello from iad, World")).await;
}

#[tokio::test]
async fn without_a_control_interface_the_environment_tells_the_labels() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats)
        .await
        .with_link(link(
            "hello",
            "default",
            [("greeting", "Hello from {label:region}")],
        ))
        .with_link(link(
            "hello",
            "store",
            [("greeting", "Store at {label:valkey}")],
        ));
    let mut command = command(binary());
    command.env("OTEL_RESOURCE_ATTRIBUTES", "cloud.region=fra,host.id=7");
    let _provider = Process::start(command, &host).await.unwrap();
    eventually(Duration::from_secs(20), || async {
        let answer = greet(&host, "default").await?;
        anyhow::ensure!(answer == Ok("Hello from fra, World".into()), "{answer:?}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(
        greet(&host, "store").await.unwrap(),
        Err(
            "link hello/store is refused: config key `greeting` names the host label `valkey`, \
             but the host has only `cloud.region`, `host.id`, `region`"
                .into()
        )
    );
    // A control interface that answers at last mends what the environment could not.
    let _inventory = host.answer_inventory([("valkey", "v:1")]).await.unwrap();
    eventually(Duration::from_secs(20), || async {
        let answer = greet(&host, "store").await?;
        anyhow::ensure!(answer == Ok("Store at v:1, World".into()), "{answer:?}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_link_that_never_arrived_is_fetched_without_a_restart() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats).await;
    let lost = link(
        "hello",
        "default",
        [("greeting", "Hello from {label:region}")],
    );
    let _inventory = host.answer_inventory([("region", "iad")]).await.unwrap();
    let _links = host.answer_links([lost.clone()]).await.unwrap();
    let provider = Process::start(traced(binary()), &host).await.unwrap();
    // Nobody has called: a provider that waits for a link to serve at all is not called without it.
    eventually(PATIENCE, || async {
        anyhow::ensure!(provider.log().contains("link is ready"));
        Ok(())
    })
    .await
    .unwrap();
    greeted(&host, Ok("Hello from iad, World")).await;
    assert!(host.health().await.unwrap().healthy);
    assert!(!provider.log().contains("Hello"), "{}", provider.log());

    // From then on it is a link like any other, whoever still lists it.
    host.put_link(link("hello", "default", [("greeting", "Salut")]))
        .await
        .unwrap();
    greeted(&host, Ok("Salut, World")).await;
    host.delete_link(lost).await.unwrap();
    greeted(&host, Err(MISSING)).await;
}

#[tokio::test]
async fn calls_without_a_link_never_end_a_provider_and_a_deleted_link_stays_deleted() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats)
        .await
        .with_link(link("other", "default", [("greeting", "Hi")]));
    let gone = link("hello", "default", [("greeting", "Hello")]);
    let provider = start(&host).await;
    greeted(&host, Err(MISSING)).await;
    host.put_link(gone.clone()).await.unwrap();
    greeted(&host, Ok("Hello, World")).await;
    host.delete_link(gone.clone()).await.unwrap();
    greeted(&host, Err(MISSING)).await;
    // A host that has not heard of it goes on listing the link, and its components go on calling.
    let links = host.answer_links([gone]).await.unwrap();
    eventually(PATIENCE, || async {
        assert_eq!(greet(&host, "default").await?, Err(MISSING.into()));
        anyhow::ensure!(links.asked() >= 3, "asked {} times", links.asked());
        Ok(())
    })
    .await
    .unwrap();
    assert!(host.health().await.unwrap().healthy);
    assert!(!provider.log().contains("stopped"), "{}", provider.log());
}

#[tokio::test]
async fn a_link_that_never_arrived_and_has_bad_config_is_refused_like_any_other() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats).await;
    let bad = link("hello", "default", [("greetnig", "Hello")]);
    let links = host.answer_links([bad]).await.unwrap();
    let provider = start(&host).await;
    let reason = "link hello/default is refused: config key `greeting` is missing";
    greeted(&host, Err(reason)).await;
    let asked = links.asked();
    eventually(PATIENCE, || async {
        assert_eq!(greet(&host, "default").await?, Err(reason.into()));
        anyhow::ensure!(links.asked() >= asked + 2);
        Ok(())
    })
    .await
    .unwrap();
    assert!(!provider.log().contains("stopped"), "{}", provider.log());
}

#[tokio::test]
async fn only_for_a_link_with_secrets_and_only_when_it_serves_nobody_does_a_provider_leave() {
    let nats = NatsServer::start().await.unwrap();
    let hello = link("hello", "default", [("greeting", "Hello")]);
    let bare = host(&nats).await;
    let sealed = bare
        .clone()
        .with_secret_link(hello, [("password", "sesame")]);
    let sealed = sealed.unwrap().links();
    let _links = bare.answer_links(sealed.clone()).await.unwrap();
    let mut alone = start(&bare).await;
    let other = link("other", "default", [("greeting", "Hi")]);
    let mut busy = start(&bare.clone().with_link(other)).await;
    // One whose host did hand it over, sealed with another key: a restart would bring the same.
    let mut handed = bare.clone();
    for link in sealed {
        handed = handed.with_link(link);
    }
    let mut handed = start(&handed).await;

    let status = alone.ended(Duration::from_secs(20)).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", alone.log());
    assert!(alone.log().contains("never arrived"), "{}", alone.log());
    for (provider, reason) in [
        (&mut busy, "its secrets come with a restart of the provider"),
        (&mut handed, "its secrets cannot be read"),
    ] {
        assert!(provider.log().contains(reason), "{}", provider.log());
        let ended = provider.ended(Duration::from_millis(500)).await;
        assert!(ended.is_err(), "{}", provider.log());
    }
}

#[tokio::test]
async fn neither_password_nor_values_reach_the_log_at_the_finest_level() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats)
        .await
        .with_login("demo", "hunter2")
        .with_link(link("hello", "default", [("greeting", "sesame")]));
    let provider = Process::start(traced(binary()), &host).await.unwrap();
    greeted(&host, Ok("sesame, World")).await;
    host.delete_link(link("hello", "default", [("greeting", "sesame")]))
        .await
        .unwrap();
    eventually(PATIENCE, || async {
        anyhow::ensure!(provider.log().contains("link is gone"));
        Ok(())
    })
    .await
    .unwrap();
    let log = provider.log();
    assert!(log.contains(r#"component="hello" link="default""#), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    assert!(!log.contains("sesame"), "{log}");
}
