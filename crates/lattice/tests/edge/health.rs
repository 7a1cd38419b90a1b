//! Which region is asked first.

use std::time::Duration;

use lattice::edge::{Edge, RegionState};

use crate::port::Port;
use crate::region::{get, request, send, Mode, Region};
use crate::{config, config_of, edge_before, edge_with, two_regions, two_regions_with, until};

#[tokio::test]
async fn a_dead_port_takes_its_region_down_and_is_asked_last_from_then_on() {
    let dead = Port::take();
    let fra = Region::start("fra", Mode::Page).await;
    let edge = Edge::bind(config(&[("iad", dead.addr), ("fra", fra.addr)]))
        .await
        .unwrap();
    until(&edge, |status| {
        status.regions[0].state == RegionState::Down && status.regions[1].healthy
    })
    .await;
    let reply = get(edge.addr()).await;
    assert_eq!(reply.header("x-edge-tried"), "fra");
    let status = edge.status();
    assert!(status.regions[0].failed_checks_in_a_row > 0);
    assert!(status.regions[0].last_error.is_some());
}

#[tokio::test]
async fn a_region_that_dies_between_checks_costs_one_attempt_and_is_down_at_once() {
    let iad = Region::start("iad", Mode::Page).await;
    let fra = Region::start("fra", Mode::Page).await;
    let mut config = config_of(&[&iad, &fra]);
    config.health.interval = Duration::from_secs(60);
    let edge = edge_with(config).await;
    let _port = iad.die();
    let first = get(edge.addr()).await;
    assert_eq!(first.header("x-edge-tried"), "iad:connect,fra");
    let second = get(edge.addr()).await;
    assert_eq!(second.header("x-edge-tried"), "fra");
    assert_eq!(edge.status().regions[0].state, RegionState::Down);
}

#[tokio::test]
async fn a_region_that_keeps_failing_is_asked_last_for_a_while() {
    let (iad, _fra, edge) = two_regions_with(Mode::Status(503), |config| {
        config.health.avoid_for = Duration::from_secs(5);
    })
    .await;
    for _ in 0..3 {
        assert_eq!(get(edge.addr()).await.header("x-edge-tried"), "iad:503,fra");
    }
    assert!(edge.status().regions[0].avoided);
    assert_eq!(get(edge.addr()).await.header("x-edge-tried"), "fra");
    iad.set(Mode::Page);
    until(&edge, |status| !status.regions[0].avoided).await;
    assert_eq!(get(edge.addr()).await.header("x-edge-tried"), "iad");
    assert_eq!(edge.status().regions[0].failed_attempts_in_a_row, 0);
}

#[tokio::test]
async fn a_visitor_goes_to_the_region_nearest_to_home() {
    let iad = Region::start("iad", Mode::Page).await;
    let fra = Region::start("fra", Mode::Page).await;
    let sin = Region::start("sin", Mode::Page).await;
    let edge = edge_before(&[&iad, &fra, &sin]).await;
    type Headers = &'static [(&'static str, &'static [u8])];
    let cases: [(Headers, &str); 6] = [
        (&[], "iad"),
        (&[("fly-prefer-region", b"fra")], "fra"),
        (&[("x-home-region", b"sin")], "sin"),
        (&[("cookie", b"x=y; home-region=fra")], "fra"),
        (&[("x-home-region", b"nrt")], "sin"),
        (&[("x-home-region", b"atlantis")], "iad"),
    ];
    for (headers, served_by) in cases {
        let reply = send(edge.addr(), request("GET", headers, "")).await;
        assert_eq!(reply.header("x-served-by"), served_by, "{headers:?}");
    }
    sin.set(Mode::Empty);
    let reply = send(
        edge.addr(),
        request("GET", &[("x-home-region", b"sin")], ""),
    )
    .await;
    assert_eq!(reply.header("x-edge-tried"), "sin:empty,fra");
}

#[tokio::test]
async fn health_flips_with_the_checks() {
    let (iad, _fra, edge) = two_regions(Mode::Page).await;
    let since = edge.status().regions[0].since_unix_ms;
    iad.set_health(Mode::Status(500));
    until(&edge, |status| !status.regions[0].healthy).await;
    let down = edge.status().regions[0].clone();
    assert_eq!(down.state, RegionState::Down);
    assert_eq!(down.last_error.as_deref(), Some("health check: 500"));
    assert!(down.since_unix_ms >= since);
    assert_eq!(get(edge.addr()).await.header("x-edge-tried"), "fra");
    iad.set_health(Mode::Page);
    until(&edge, |status| status.regions[0].healthy).await;
    assert_eq!(get(edge.addr()).await.header("x-edge-tried"), "iad");
}

#[tokio::test]
async fn a_check_that_hangs_counts_as_bad() {
    let iad = Region::start("iad", Mode::Page).await;
    let fra = Region::start("fra", Mode::Page).await;
    let mut config = config_of(&[&iad, &fra]);
    config.health.timeout = Duration::from_millis(500);
    let edge = edge_with(config).await;
    iad.set_health(Mode::Hang);
    until(&edge, |status| {
        status.regions[0].state == RegionState::Down && status.regions[1].healthy
    })
    .await;
}

#[tokio::test]
async fn a_region_that_died_comes_back_by_itself() {
    let (iad, _fra, edge) = two_regions(Mode::Page).await;
    let port = iad.die();
    until(&edge, |status| status.regions[0].state == RegionState::Down).await;
    let _iad = Region::start_at("iad", Mode::Page, port).await;
    until(&edge, |status| status.regions[0].healthy).await;
    assert_eq!(get(edge.addr()).await.header("x-served-by"), "iad");
}
