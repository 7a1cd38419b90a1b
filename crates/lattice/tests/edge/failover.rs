//! What a visitor sees when a region fails.

use std::time::Duration;

use lattice::edge::{Edge, RegionState, RegionStatus};

use crate::port::Port;
use crate::region::{get, request, send, Mode, Region};
use crate::{config, config_of, edge_before, edge_with, two_regions, two_regions_with, until};

/// A GET that the first region fails in this way is answered by the second.
async fn fails_over(mode: Mode, tried: &str) {
    let (iad, fra, edge) = two_regions_with(mode, |config| {
        config.limits.read_ahead_for = Duration::from_secs(5);
    })
    .await;
    let reply = get(edge.addr()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text(), "page from fra");
    assert_eq!(reply.header("x-served-by"), "fra");
    assert_eq!(reply.header("x-edge-attempts"), "2");
    assert_eq!(reply.header("x-edge-tried"), tried);
    assert_eq!((iad.hits(), fra.hits()), (1, 1));
    let status = edge.status();
    assert_eq!((status.attempts_total, status.retries), (2, 1));
    assert_eq!(
        (status.regions[0].failed, status.regions[1].served),
        (1, 1),
        "{status:#?}"
    );
}

#[tokio::test]
async fn a_reset_is_answered_by_another_region() {
    fails_over(Mode::Reset, "iad:reset,fra").await;
}

#[tokio::test]
async fn an_empty_reply_is_answered_by_another_region() {
    fails_over(Mode::Empty, "iad:empty,fra").await;
}

#[tokio::test]
async fn a_hang_is_answered_by_another_region() {
    fails_over(Mode::Hang, "iad:timeout,fra").await;
}

#[tokio::test]
async fn garbage_is_answered_by_another_region() {
    fails_over(Mode::Garbage, "iad:invalid,fra").await;
}

#[tokio::test]
async fn a_truncated_page_is_answered_by_another_region() {
    fails_over(Mode::Truncated, "iad:truncated,fra").await;
}

#[tokio::test]
async fn a_503_is_answered_by_another_region() {
    fails_over(Mode::Status(503), "iad:503,fra").await;
}

#[tokio::test]
async fn other_errors_of_a_region_are_its_answer() {
    for status in [404, 405, 500, 501] {
        let (_iad, fra, edge) = two_regions(Mode::Status(status)).await;
        let reply = get(edge.addr()).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("x-served-by"), "iad");
        assert_eq!(fra.hits(), 0);
    }
}

#[tokio::test]
async fn with_every_region_down_the_visitor_gets_the_edges_own_503_quickly() {
    let (iad, fra) = (Port::take(), Port::take());
    let config = config(&[("iad", iad.addr), ("fra", fra.addr)]);
    let edge = Edge::bind(config).await.unwrap();
    let down = |region: &RegionStatus| region.state == RegionState::Down;
    until(&edge, |status| status.regions.iter().all(down)).await;
    let reply = get(edge.addr()).await;
    assert_eq!(reply.status, 503);
    assert!(
        reply.head_after < Duration::from_secs(10),
        "well before the deadline"
    );
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("x-served-by"), "edge");
    assert_eq!(reply.header("x-edge-attempts"), "4");
    assert_eq!(
        reply.header("x-edge-tried"),
        "iad:connect,fra:connect,iad:connect,fra:connect"
    );
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert!(reply
        .header("content-security-policy")
        .starts_with("default-src 'none'"));
    assert!(reply.text().starts_with("<!doctype html>"));
    assert_eq!(edge.status().unavailable, 1);

    let json = send(
        edge.addr(),
        request("GET", &[("accept", b"application/json")], ""),
    )
    .await;
    assert_eq!(json.status, 503);
    assert_eq!(json.header("content-type"), "application/problem+json");
    let problem: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(problem["status"], 503);
}

#[tokio::test]
async fn an_edge_without_regions_answers_503() {
    let edge = Edge::bind(config(&[])).await.unwrap();
    let reply = get(edge.addr()).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("x-edge-attempts"), "0");
}

#[tokio::test]
async fn with_every_region_hanging_the_deadline_holds() {
    let iad = Region::start("iad", Mode::Hang).await;
    let fra = Region::start("fra", Mode::Hang).await;
    let sin = Region::start("sin", Mode::Hang).await;
    let mut config = config_of(&[&iad, &fra, &sin]);
    let deadline = Duration::from_secs(5);
    config.attempt_timeout = Duration::from_secs(1);
    config.deadline = deadline;
    let edge = edge_with(config).await;
    let reply = get(edge.addr()).await;
    assert_eq!(reply.status, 503);
    assert_eq!(
        reply.header("x-edge-tried"),
        "iad:timeout,fra:timeout,sin:timeout"
    );
    assert!(
        (deadline..deadline + Duration::from_secs(10)).contains(&reply.head_after),
        "{:?}",
        reply.head_after
    );
    assert_eq!((iad.hits(), fra.hits(), sin.hits()), (1, 1, 1));
}

#[tokio::test]
async fn a_slow_first_answer_still_wins_over_a_hanging_second_region() {
    let iad = Region::start("iad", Mode::Slow(Duration::from_secs(4))).await;
    let fra = Region::start("fra", Mode::Hang).await;
    let mut config = config_of(&[&iad, &fra]);
    config.attempt_timeout = Duration::from_secs(1);
    let edge = edge_with(config).await;
    let reply = get(edge.addr()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-served-by"), "iad");
    assert_eq!(reply.header("x-edge-attempts"), "2");
    assert_eq!(iad.hits(), 1, "the first attempt went on");
}

#[tokio::test]
async fn a_region_known_to_be_slow_is_given_its_time() {
    let iad = Region::start("iad", Mode::Slow(Duration::from_secs(2))).await;
    let fra = Region::start("fra", Mode::Hang).await;
    let mut config = config_of(&[&iad, &fra]);
    config.attempt_timeout = Duration::from_secs(1);
    let edge = edge_with(config).await;
    // From then on it is given three times what it took, so that being held up a little changes nothing.
    get(edge.addr()).await;
    let attempts = edge.status().regions[1].attempts;
    let reply = get(edge.addr()).await;
    assert_eq!(reply.header("x-edge-tried"), "iad");
    assert_eq!(edge.status().regions[1].attempts, attempts);
}

#[tokio::test]
async fn a_single_region_is_asked_again_after_a_broken_connection() {
    let iad = Region::start("iad", Mode::Empty).await;
    let mut config = config_of(&[&iad]);
    // Time to mend it before it is asked again.
    config.round_pause = Duration::from_secs(3);
    let edge = edge_with(config).await;
    let (reply, ()) = tokio::join!(get(edge.addr()), async {
        iad.until_hits(1).await;
        iad.set(Mode::Page);
    });
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-edge-tried"), "iad:empty,iad");
}

#[tokio::test]
async fn when_all_say_503_the_visitor_sees_the_applications_own() {
    let iad = Region::start("iad", Mode::Status(503)).await;
    let fra = Region::start("fra", Mode::Status(503)).await;
    let edge = edge_before(&[&iad, &fra]).await;
    let reply = get(edge.addr()).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.text(), "status 503");
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(reply.header("x-edge-attempts"), "4");
}
