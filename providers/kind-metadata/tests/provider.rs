//! The provider's binary, started as its host would start it, and called over wRPC.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;
use std::time::Duration;

use provider_harness::metadata::{get, get_until, Error, Metadata};
use provider_harness::{
    command, eventually, link, traced, Host, HttpServer, NatsServer, Process, Reply,
};

const BINARY: &str = env!("CARGO_BIN_EXE_kind-metadata");

async fn host(nats: &NatsServer) -> Host {
    Host::new(nats, "NHOST", "VKIND")
        .await
        .unwrap()
        .with_link(link("hello", "default", []))
        // Without one, a machine that runs these tests in a cluster would ask that.
        .with_config([("service_account_dir", "/nonexistent")])
}

async fn start(host: &Host) -> Process {
    Process::start(command(BINARY), host).await.unwrap()
}

async fn answer(host: &Host) -> Metadata {
    get_until(host, Result::is_ok).await.unwrap().unwrap()
}

#[tokio::test]
async fn on_one_machine_the_hosts_labels_say_where_it_is() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats).await;
    let labels = [
        ("region", "iad"),
        ("instance", "iad-1"),
        ("cloud", "fly.io"),
    ];
    let _inventory = host.answer_inventory(labels).await.unwrap();
    let _provider = start(&host).await;
    let metadata = answer(&host).await;
    assert_eq!(metadata.region.code, "iad");
    assert_eq!(metadata.region.name, "Ashburn, Virginia (US)");
    assert_eq!(metadata.region.city.as_deref(), Some("Ashburn"));
    assert_eq!(metadata.instance_id, "iad-1");
    assert_eq!(metadata.platform, "kind");
    assert_eq!(metadata.private_address, None);
    host.well().await.unwrap();
}

#[tokio::test]
async fn a_component_is_answered_by_its_link_or_told_that_it_has_none() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats)
        .await
        .with_config([("platform", "kubernetes")])
        .with_link(link("hello", "other", [("region", "fra")]))
        .with_link(link("hello", "broken", [("regoin", "fra")]));
    let _inventory = host.answer_inventory([("region", "iad")]).await.unwrap();
    let _provider = start(&host).await;
    assert_eq!(answer(&host).await.region.code, "iad");
    let other = eventually(Duration::from_secs(20), || async {
        let answer = get(&host, "hello", "other").await?;
        answer.map_err(|err| anyhow::anyhow!("{err:?}"))
    })
    .await
    .unwrap();
    assert_eq!(other.region.code, "fra");
    assert_eq!(other.platform, "kubernetes");
    match get(&host, "hello", "broken").await.unwrap() {
        Err(Error::Misconfigured(reason)) => assert!(reason.contains("`regoin`"), "{reason}"),
        other => panic!("{other:?}"),
    }
    match get(&host, "stranger", "default").await.unwrap() {
        Err(Error::Unavailable(reason)) => assert!(reason.contains("stranger"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_wrong_config_is_said_until_it_is_mended() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats).await.with_config([("refresh_seconds", "0")]);
    let _inventory = host.answer_inventory([("region", "iad")]).await.unwrap();
    let _provider = start(&host).await;
    let misconfigured = |answer: &Result<Metadata, Error>| matches!(answer, Err(Error::Misconfigured(reason)) if reason.contains("refresh_seconds"));
    get_until(&host, misconfigured).await.unwrap().unwrap_err();
    host.ails(&["refresh_seconds"]).await.unwrap();
    let mended = [("service_account_dir", "/nonexistent"), ("region", "sin")];
    host.change_config(mended).await.unwrap();
    assert_eq!(answer(&host).await.region.code, "sin");
    host.well().await.unwrap();
}

#[tokio::test]
async fn before_the_labels_are_known_the_metadata_is_unavailable() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats).await;
    let _provider = start(&host).await;
    let unavailable = |answer: &Result<Metadata, Error>| matches!(answer, Err(Error::Unavailable(reason)) if reason.contains("not resolved"));
    get_until(&host, unavailable).await.unwrap().unwrap_err();
    let _inventory = host.answer_inventory([("region", "fra")]).await.unwrap();
    assert_eq!(answer(&host).await.region.code, "fra");
}

const GOOD: u8 = 0;
const FORBIDDEN: u8 = 1;
const GARBAGE: u8 = 2;
const SLOW: u8 = 3;

/// A Kubernetes API that knows one pod, called like this machine, on one node.
async fn kubernetes(mood: &Arc<AtomicU8>) -> HttpServer {
    let mood = Arc::clone(mood);
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let pod = format!("/api/v1/namespaces/demo/pods/{}", hostname.trim());
    HttpServer::start(move |request| {
        let authorized = request
            .headers()
            .get("authorization")
            .is_some_and(|token| token == "Bearer sesame");
        let path = request.uri().path();
        let good = if !authorized {
            Reply::status(401)
        } else if path == pod {
            Reply::ok(r#"{"spec":{"nodeName":"node-7"},"status":{"podIP":"10.244.1.9"}}"#)
        } else if path == "/api/v1/nodes/node-7" {
            Reply::ok(
                r#"{"metadata":{"labels":{"topology.kubernetes.io/region":"eu-west-1"}},
                    "status":{"addresses":[{"type":"InternalIP","address":"10.0.0.7"},
                                           {"type":"ExternalIP","address":"203.0.113.7"}]}}"#,
            )
        } else {
            Reply::status(404)
        };
        match mood.load(Ordering::SeqCst) {
            FORBIDDEN => Reply::status(403),
            GARBAGE => Reply::ok("<html>"),
            SLOW => good.after(Duration::from_secs(20)),
            _ => good,
        }
    })
    .await
    .unwrap()
}

fn service_account() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "sesame\n").unwrap();
    std::fs::write(directory.path().join("ca.crt"), "").unwrap();
    std::fs::write(directory.path().join("namespace"), "demo").unwrap();
    directory
}

async fn in_cluster(nats: &NatsServer, api: &HttpServer, account: &tempfile::TempDir) -> Host {
    host(nats).await.with_config([
        ("service_account_dir", account.path().to_str().unwrap()),
        ("kubernetes_api", &api.url()),
        ("timeout_ms", "3000"),
        ("refresh_seconds", "1"),
    ])
}

#[tokio::test]
async fn in_a_cluster_the_node_says_where_it_is_and_failures_change_nothing() {
    let nats = NatsServer::start().await.unwrap();
    let mood = Arc::new(AtomicU8::new(GOOD));
    let api = kubernetes(&mood).await;
    let account = service_account();
    let host = in_cluster(&nats, &api, &account).await;
    let _inventory = host.answer_inventory([("region", "iad")]).await.unwrap();
    let provider = Process::start(traced(BINARY), &host).await.unwrap();
    let metadata = answer(&host).await;
    assert_eq!(metadata.region.code, "eu-west-1");
    assert_eq!(metadata.instance_id, "node-7");
    assert_eq!(metadata.private_address.as_deref(), Some("10.244.1.9"));
    assert_eq!(metadata.public_address.as_deref(), Some("203.0.113.7"));

    for (bad, reason) in [
        (FORBIDDEN, "answers 403"),
        (GARBAGE, "malformed"),
        (SLOW, "did not finish within 3000 ms"),
    ] {
        mood.store(bad, Ordering::SeqCst);
        host.ails(&[reason]).await.unwrap();
        assert_eq!(answer(&host).await, metadata);
        mood.store(GOOD, Ordering::SeqCst);
        host.well().await.unwrap();
    }
    let log = provider.log();
    assert!(log.contains("TRACE"), "{log}");
    assert!(!log.contains("sesame"), "{log}");
}

#[tokio::test]
async fn a_cluster_that_refuses_leaves_the_labels_to_answer() {
    let nats = NatsServer::start().await.unwrap();
    let mood = Arc::new(AtomicU8::new(FORBIDDEN));
    let api = kubernetes(&mood).await;
    let account = service_account();
    let host = in_cluster(&nats, &api, &account).await;
    let _inventory = host.answer_inventory([("region", "iad")]).await.unwrap();
    let _provider = start(&host).await;
    assert_eq!(answer(&host).await.region.code, "iad");
    host.ails(&["403"]).await.unwrap();
    mood.store(GOOD, Ordering::SeqCst);
    let better =
        |answer: &Result<Metadata, Error>| matches!(answer, Ok(m) if m.region.code == "eu-west-1");
    get_until(&host, better).await.unwrap().unwrap();
}

#[tokio::test]
async fn without_its_host_the_provider_ends() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats).await;
    let _inventory = host.answer_inventory([]).await.unwrap();
    let (mut parent, _) = Process::start_below_a_parent(BINARY.as_ref(), &host)
        .await
        .unwrap();
    assert_eq!(answer(&host).await.region.code, "kind");
    parent.kill().await.unwrap();
    eventually(Duration::from_secs(20), || async {
        anyhow::ensure!(get(&host, "hello", "default").await.is_err());
        Ok(())
    })
    .await
    .unwrap();
    assert!(parent.log().contains("its host"));
}
