//! Metrics of replication, from provider processes to an OpenTelemetry collector of the test's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/site.rs"]
mod site;
mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;

use provider_harness::{link, Collector, NatsServer, Point};
use site::Site;
use support::region::SOON;
use support::{eventually, free_port, Server};

/// As a host hands them on: the interval between two exports, and who exports.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
    ("OTEL_RESOURCE_ATTRIBUTES", "cloud.region=virginia"),
];

/// A region whose host wants its metrics at this endpoint.
async fn measured(nats: &NatsServer, region: &str, endpoint: &str, more: &[(&str, &str)]) -> Site {
    let provider = format!("V{region}");
    let digests = [("digest_s", "1")];
    let mut site = Site::prepare(Server::start(), nats, region, &provider, &digests).await;
    site.host = site.host.clone().with_metrics(endpoint);
    site.add_provider_with(&[&ENVIRONMENT[..], more].concat())
        .await;
    site.serves().await;
    site
}

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs.map(|(k, v)| ((*k).into(), (*v).into())).collect()
}

fn point<'a>(points: &'a [Point], wanted: &[(&str, &str)]) -> Option<&'a Point> {
    let wanted = attributes(wanted);
    points.iter().find(|point| point.attributes == wanted)
}

const IAD: [(&str, &str); 2] = [("region", "iad"), ("group", "default")];
const OF_FRA: [(&str, &str); 3] = [("region", "iad"), ("group", "default"), ("peer", "fra")];
const LIVE: [(&str, &str); 3] = [("region", "iad"), ("group", "default"), ("state", "live")];

#[tokio::test]
async fn a_collector_gets_what_the_leader_knows_until_the_link_goes() {
    let nats = NatsServer::start().await.unwrap();
    let collector = Collector::start().await.unwrap();
    let iad = measured(&nats, "iad", &collector.url(), &[]).await;
    let fra = Site::start(&nats, "fra", &[("digest_s", "1")]).await;
    fra.counted("visits").await;
    iad.counted("visits").await;

    let value = |name: &str, of: &[(&str, &str)]| {
        let points = collector.points(&format!("keyvalue.replication.{name}"));
        point(&points, of).map(|point| point.value)
    };
    eventually("the collector knows both regions", SOON, || async {
        value("peers", &LIVE) == Some(1.0)
            && value("peer.digest.equal", &OF_FRA) == Some(1.0)
            && value("lag.operations", &IAD) == Some(0.0)
            && value("lag", &IAD) == Some(0.0)
            && value("peer.lag.operations", &OF_FRA) == Some(0.0)
            && value("peer.lag", &OF_FRA) == Some(0.0)
            && value("quarantined", &IAD) == Some(0.0)
            && value("conflicts", &IAD) == Some(0.0)
            && value("sent", &IAD) > Some(0.0)
            && value("received", &OF_FRA) > Some(0.0)
            && value("waiting", &IAD).is_some()
            && value("dropped", &IAD) == Some(0.0)
    })
    .await;
    let received = collector.points("keyvalue.replication.received");
    let received = point(&received, &OF_FRA).unwrap();
    assert_eq!((received.unit.as_str(), received.counter), ("By", true));
    let lag = collector.points("keyvalue.replication.lag");
    let lag = point(&lag, &IAD).unwrap();
    assert_eq!((lag.unit.as_str(), lag.counter), ("s", false));
    assert_eq!(lag.resource["service.name"], "keyvalue-valkey");
    assert_eq!(lag.resource["service.instance.id"], "instance");
    assert_eq!(lag.resource["cloud.region"], "virginia");

    let deleted = iad.host.delete_link(link("hello", "default", []));
    deleted.await.unwrap();
    eventually("the link's gauges are gone", SOON, || async {
        let last = collector.points("keyvalue.replication.lag.operations");
        let exports = collector.exports();
        last.is_empty() && exports > 0
    })
    .await;
}

#[tokio::test]
async fn the_last_export_comes_with_a_stop() {
    let nats = NatsServer::start().await.unwrap();
    let collector = Collector::start().await.unwrap();
    // The later one counts.
    let rarely = [("OTEL_METRIC_EXPORT_INTERVAL", "3600000")];
    let mut iad = measured(&nats, "iad", &collector.url(), &rarely).await;
    // What it publishes, it reports.
    eventually("the leader has published", SOON, || async {
        iad.status().await["phase"] == "ready"
    })
    .await;
    iad.host.stop_provider().await.unwrap();
    let ended = iad.providers[0].ended(SOON).await.unwrap();
    assert!(ended.success(), "{ended}");
    eventually("the export has come", SOON, || async {
        collector.exports() > 0
    })
    .await;
    assert_eq!(collector.exports(), 1);
    let points = collector.points("keyvalue.replication.lag.operations");
    assert!(point(&points, &IAD).is_some(), "{points:?}");
}

#[tokio::test]
async fn a_collector_that_is_away_or_hangs_disturbs_nobody() {
    let nats = NatsServer::start().await.unwrap();
    let held = Mutex::new(None);
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = [free_port(), hanging.local_addr().unwrap().port()];
    for (region, port) in ["iad", "fra"].into_iter().zip(ports) {
        let endpoint = format!("http://user:hunter2@127.0.0.1:{port}");
        let mut site = measured(&nats, region, &endpoint, &[("RUST_LOG", "trace")]).await;
        if region == "iad" {
            let warned = "the collector does not take the metrics";
            eventually(warned, SOON, || async { site.log().contains(warned) }).await;
        } else {
            // It waits for an answer from now on, and gets none.
            hanging.set_nonblocking(true).unwrap();
            eventually("an export is under way", SOON, || async {
                let accepted = hanging.accept();
                accepted.is_ok_and(|(stream, _)| held.lock().unwrap().replace(stream).is_none())
            })
            .await;
        }
        for _ in 0..50 {
            site.counted("visits").await;
        }
        site.host.stop_provider().await.unwrap();
        let ended = site.providers[0].ended(SOON).await.unwrap();
        assert!(ended.success(), "{ended}");
        assert!(!site.log().contains("hunter2"), "{}", site.log());
    }
}
