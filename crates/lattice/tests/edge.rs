//! The edge over real sockets, with regions that misbehave on demand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "edge/failover.rs"]
mod failover;
#[path = "edge/health.rs"]
mod health;
#[path = "edge/lifetime.rs"]
mod lifetime;
#[path = "edge/limit.rs"]
mod limit;
#[path = "edge/passage.rs"]
mod passage;
mod port;
#[path = "edge/region.rs"]
mod region;
#[path = "edge/repetition.rs"]
mod repetition;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lattice::edge::{Edge, EdgeConfig, EdgeStatus, Upstream};

use region::{Mode, Region};

const FREE: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

fn config(upstreams: &[(&str, SocketAddr)]) -> EdgeConfig {
    let upstreams = upstreams
        .iter()
        .map(|(region, addr)| Upstream {
            region: (*region).to_owned(),
            addr: *addr,
        })
        .collect();
    let mut config = EdgeConfig::new(SocketAddr::from(FREE), upstreams);
    config.health.interval = Duration::from_millis(100);
    // Longer than a busy machine holds a test up; tests that are about time set their own.
    config.health.timeout = Duration::from_secs(10);
    config.attempt_timeout = Duration::from_secs(5);
    config.deadline = Duration::from_secs(20);
    config
}

fn config_of(regions: &[&Region]) -> EdgeConfig {
    let upstreams: Vec<_> = regions.iter().map(|r| (r.code, r.addr)).collect();
    config(&upstreams)
}

/// An edge that has found all these regions healthy.
async fn edge_before(regions: &[&Region]) -> Edge {
    edge_with(config_of(regions)).await
}

async fn edge_with(config: EdgeConfig) -> Edge {
    let edge = Edge::bind(config).await.unwrap();
    until(&edge, |status| status.regions.iter().all(|r| r.healthy)).await;
    edge
}

async fn until(edge: &Edge, condition: impl Fn(&EdgeStatus) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition(&edge.status()) {
        assert!(Instant::now() < deadline, "still {:#?}", edge.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn two_regions(first: Mode) -> (Region, Region, Edge) {
    two_regions_with(first, |_| {}).await
}

async fn two_regions_with(
    first: Mode,
    set: impl FnOnce(&mut EdgeConfig),
) -> (Region, Region, Edge) {
    let iad = Region::start("iad", first).await;
    let fra = Region::start("fra", Mode::Page).await;
    let mut config = config_of(&[&iad, &fra]);
    set(&mut config);
    let edge = edge_with(config).await;
    (iad, fra, edge)
}
