//! The provider's binary, started as its host would start it, against a DNS server and an HTTP
//! server that speak Fly's formats, well and badly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;
use std::time::Duration;

use provider_harness::metadata::{get_until, Error, Metadata};
use provider_harness::{
    command, eventually, link, traced, Host, HttpServer, NatsServer, Process, Reply,
};
use support::{DnsServer, Zone, FAILING, GARBAGE, GOOD, LATE, NOISE, SILENT, SLOW};

const BINARY: &str = env!("CARGO_BIN_EXE_fly-io-metadata");
const MACHINE: &str = "148ed193b95d48";
const ADDRESS: &str = "fdaa:0:18:a7b:2809:1:7:2";

/// The zone of an organization with enough Machines to fill more than a datagram.
fn zone() -> Zone {
    let mut instances = String::new();
    for number in 0..40 {
        instances.push_str(&format!(
            "instance=e78407{number},app=other,ip=fdaa:0:18:a7b:d6b:0:a:{number},region=fra;"
        ));
    }
    instances.push_str(&format!(
        "instance={MACHINE},app=demo,ip={ADDRESS},region=iad"
    ));
    Zone {
        texts: vec![("_instances.internal".into(), instances)],
        addresses: vec![],
    }
}

async fn host(nats: &NatsServer, dns: &DnsServer) -> Host {
    Host::new(nats, "NHOST", "VFLY")
        .await
        .unwrap()
        .with_link(link("hello", "default", []))
        .with_config([
            ("nameserver", dns.address.to_string().as_str()),
            ("hosts_file", "/nonexistent"),
            ("timeout_ms", "3000"),
            ("refresh_seconds", "1"),
        ])
}

async fn start(host: &Host) -> Process {
    Process::start(command(BINARY), host).await.unwrap()
}

async fn answer(host: &Host) -> Metadata {
    get_until(host, Result::is_ok).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_hosts_labels_and_the_dns_say_where_the_machine_is() {
    let nats = NatsServer::start().await.unwrap();
    let dns = DnsServer::start(zone()).await;
    let host = host(&nats, &dns).await;
    let labels = [
        ("region", "iad"),
        ("fly_region", "iad"),
        ("fly_app", "demo"),
        ("fly_machine_id", MACHINE),
        ("fly_public_ip", "2605:4c40:95:9fcc:0:a7b:2809:1"),
    ];
    let _inventory = host.answer_inventory(labels).await.unwrap();
    let _provider = start(&host).await;
    let metadata = answer(&host).await;
    assert_eq!(metadata.region.code, "iad");
    assert_eq!(metadata.region.name, "Ashburn, Virginia (US)");
    assert_eq!(metadata.region.city.as_deref(), Some("Ashburn"));
    assert_eq!(metadata.instance_id, MACHINE);
    assert_eq!(metadata.platform, "fly.io");
    assert_eq!(metadata.private_address.as_deref(), Some(ADDRESS));
    assert_eq!(
        metadata.public_address.as_deref(),
        Some("2605:4c40:95:9fcc:0:a7b:2809:1")
    );
    host.well().await.unwrap();
}

#[tokio::test]
async fn without_labels_the_machine_finds_itself_by_its_address() {
    let nats = NatsServer::start().await.unwrap();
    let dns = DnsServer::start(zone()).await;
    let directory = tempfile::tempdir().unwrap();
    let hosts_file = directory.path().join("hosts");
    std::fs::write(&hosts_file, format!("{ADDRESS} fly-local-6pn\n")).unwrap();
    let host = host(&nats, &dns)
        .await
        .with_config([("hosts_file", hosts_file.to_str().unwrap())]);
    let _inventory = host.answer_inventory([]).await.unwrap();
    let _provider = start(&host).await;
    let metadata = answer(&host).await;
    assert_eq!(metadata.region.code, "iad");
    assert_eq!(metadata.instance_id, MACHINE);
    assert_eq!(metadata.private_address.as_deref(), Some(ADDRESS));
}

#[tokio::test]
async fn a_machine_that_is_not_listed_with_all_is_found_with_its_app() {
    let nats = NatsServer::start().await.unwrap();
    let dns = DnsServer::start(Zone {
        texts: vec![(
            "vms.demo.internal".into(),
            format!("e784079b449483 fra,{MACHINE} qqq"),
        )],
        addresses: vec![(format!("{MACHINE}.vm.demo.internal"), ADDRESS.into())],
    })
    .await;
    let host = host(&nats, &dns).await;
    let labels = [("fly_app", "demo"), ("fly_machine_id", MACHINE)];
    let _inventory = host.answer_inventory(labels).await.unwrap();
    let _provider = start(&host).await;
    let metadata = answer(&host).await;
    // No table knows this region: its code is its name.
    assert_eq!(metadata.region.code, "qqq");
    assert_eq!(metadata.region.name, "qqq");
    assert_eq!(metadata.region.city, None);
    assert_eq!(metadata.private_address.as_deref(), Some(ADDRESS));
    host.well().await.unwrap();
}

#[tokio::test]
async fn a_dns_that_fails_in_any_way_leaves_the_last_good_answer_in_place() {
    let nats = NatsServer::start().await.unwrap();
    let dns = DnsServer::start(zone()).await;
    let host = host(&nats, &dns).await;
    let labels = [("fly_machine_id", MACHINE)];
    let _inventory = host.answer_inventory(labels).await.unwrap();
    let _provider = start(&host).await;
    let metadata = answer(&host).await;
    assert_eq!(metadata.region.code, "iad");
    let failed = "failed to look up _instances.internal.";
    // Who notices first that there is no answer in time: the resolver or our own deadline.
    let late = [failed, "the internal DNS did not finish within 3000 ms"];
    for (mood, reasons) in [
        (SILENT, &late[..]),
        (LATE, &late[..]),
        (FAILING, &late[..1]),
        (GARBAGE, &["the text of _instances.internal. is malformed"]),
        (NOISE, &late[..]),
    ] {
        dns.set(mood);
        host.ails(reasons).await.unwrap();
        assert_eq!(answer(&host).await, metadata);
        dns.set(GOOD);
        host.well().await.unwrap();
    }
}

#[tokio::test]
async fn a_dns_that_is_slow_but_within_the_limit_is_waited_for() {
    let nats = NatsServer::start().await.unwrap();
    let dns = DnsServer::start(zone()).await;
    dns.set(SLOW);
    let host = host(&nats, &dns)
        .await
        .with_config([("timeout_ms", "5000")]);
    let labels = [("fly_machine_id", MACHINE)];
    let _inventory = host.answer_inventory(labels).await.unwrap();
    let _provider = start(&host).await;
    assert_eq!(answer(&host).await.region.code, "iad");
    host.well().await.unwrap();
}

#[tokio::test]
async fn without_an_answer_the_labels_suffice_and_without_labels_nothing_is_made_up() {
    let nats = NatsServer::start().await.unwrap();
    let dns = DnsServer::start(zone()).await;
    dns.set(SILENT);
    let host = host(&nats, &dns)
        .await
        .with_link(link("hello", "labelled", [("region", "fra")]));
    let _inventory = host.answer_inventory([]).await.unwrap();
    let _provider = start(&host).await;
    host.ails(&["look up", "did not finish"]).await.unwrap();
    let unavailable = |answer: &Result<Metadata, Error>| {
        matches!(answer, Err(Error::Unavailable(reason)) if reason.contains("look up")
            || reason.contains("did not finish"))
    };
    get_until(&host, unavailable).await.unwrap().unwrap_err();
    // Each link is resolved by itself.
    let labelled = eventually(Duration::from_secs(20), || async {
        let answer = provider_harness::metadata::get(&host, "hello", "labelled").await?;
        answer.map_err(|err| anyhow::anyhow!("{err:?}"))
    });
    let labelled = labelled.await.unwrap();
    assert_eq!(labelled.region.code, "fra");
    assert_eq!(labelled.instance_id, "NHOST");
    dns.set(GOOD);
    // Still not listed: it has neither id nor address to be found by.
    host.ails(&["not know this Machine"]).await.unwrap();
}

const TOKEN: &str = "FlyV1 fm2_sesame";

/// A Machines API that knows a region which the static table does not.
async fn machines_api(mood: &Arc<AtomicU8>) -> HttpServer {
    let mood = Arc::clone(mood);
    HttpServer::start(move |request| {
        let authorized = request
            .headers()
            .get("authorization")
            .is_some_and(|token| token == format!("Bearer {TOKEN}").as_str());
        let good = Reply::ok(
            r#"{"Regions":[{"code":"iad","name":"Ashburn, Virginia (renamed)","latitude":39.02},
                           {"code":"tau","name":"Tau Ceti, Space"}],"nearest":"iad"}"#,
        );
        if !authorized || request.uri().path() != "/v1/platform/regions" {
            return Reply::status(401);
        }
        match mood.load(Ordering::SeqCst) {
            SILENT => good.after(Duration::from_secs(20)),
            FAILING => Reply::status(503),
            GARBAGE => Reply::ok(r#"{"Regions":"none"}"#),
            NOISE => Reply::ok("x".repeat(2 << 20)),
            _ => good,
        }
    })
    .await
    .unwrap()
}

async fn with_api(nats: &NatsServer, dns: &DnsServer, api: &HttpServer) -> Host {
    host(nats, dns)
        .await
        .with_config([
            ("machines_api", api.url().as_str()),
            ("catalogue_seconds", "1"),
        ])
        .with_secret("token", TOKEN)
}

#[tokio::test]
async fn with_a_token_the_machines_api_names_the_regions() {
    let nats = NatsServer::start().await.unwrap();
    let dns = DnsServer::start(zone()).await;
    let mood = Arc::new(AtomicU8::new(GOOD));
    let api = machines_api(&mood).await;
    let host = with_api(&nats, &dns, &api).await;
    let labels = [("fly_machine_id", MACHINE), ("fly_region", "tau")];
    let _inventory = host.answer_inventory(labels).await.unwrap();
    let provider = Process::start(traced(BINARY), &host).await.unwrap();
    let metadata = answer(&host).await;
    assert_eq!(metadata.region.name, "Tau Ceti, Space");
    assert_eq!(metadata.region.city.as_deref(), Some("Tau Ceti"));
    for (bad, reason) in [
        (SILENT, "the Machines API did not finish within 3000 ms"),
        (FAILING, "the Machines API for its regions: it answers 503"),
        (GARBAGE, "list of regions is malformed"),
        (NOISE, "longer than 1048576 bytes"),
    ] {
        mood.store(bad, Ordering::SeqCst);
        host.ails(&[reason]).await.unwrap();
        assert_eq!(answer(&host).await, metadata);
        mood.store(GOOD, Ordering::SeqCst);
        host.well().await.unwrap();
    }
    assert!(!provider.log().contains("sesame"), "{}", provider.log());
}

#[tokio::test]
async fn while_the_machines_api_fails_from_the_start_the_static_table_names_the_regions() {
    let nats = NatsServer::start().await.unwrap();
    let dns = DnsServer::start(zone()).await;
    let mood = Arc::new(AtomicU8::new(FAILING));
    let api = machines_api(&mood).await;
    let host = with_api(&nats, &dns, &api).await;
    let _inventory = host.answer_inventory([("fly_machine_id", MACHINE)]).await;
    let _provider = start(&host).await;
    assert_eq!(answer(&host).await.region.name, "Ashburn, Virginia (US)");
    host.ails(&["503"]).await.unwrap();
    mood.store(GOOD, Ordering::SeqCst);
    let renamed = |answer: &Result<Metadata, Error>| matches!(answer, Ok(m) if m.region.name == "Ashburn, Virginia (renamed)");
    get_until(&host, renamed).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_token_in_plain_config_is_refused() {
    let nats = NatsServer::start().await.unwrap();
    let dns = DnsServer::start(zone()).await;
    let host = host(&nats, &dns).await.with_config([("token", TOKEN)]);
    let _inventory = host.answer_inventory([]).await.unwrap();
    let provider = Process::start(traced(BINARY), &host).await.unwrap();
    let refused = |answer: &Result<Metadata, Error>| {
        matches!(answer, Err(Error::Misconfigured(reason))
            if reason == "config key `token` must be given as a secret, not as config")
    };
    get_until(&host, refused).await.unwrap().unwrap_err();
    assert!(!provider.log().contains("sesame"));
}

#[tokio::test]
async fn without_its_host_the_provider_ends() {
    let nats = NatsServer::start().await.unwrap();
    let dns = DnsServer::start(zone()).await;
    let host = host(&nats, &dns).await;
    let _inventory = host.answer_inventory([("region", "iad")]).await.unwrap();
    let (mut parent, _) = Process::start_below_a_parent(BINARY.as_ref(), &host)
        .await
        .unwrap();
    answer(&host).await;
    parent.kill().await.unwrap();
    eventually(Duration::from_secs(20), || async {
        let gone = provider_harness::metadata::get(&host, "hello", "default").await;
        anyhow::ensure!(gone.is_err());
        Ok(())
    })
    .await
    .unwrap();
    assert!(parent.log().contains("its host"));
}
