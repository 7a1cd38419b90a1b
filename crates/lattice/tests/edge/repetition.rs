//! What is sent twice, and what never is.

use std::time::Duration;

use crate::region::{get, request, send, Mode, Region};
use crate::{config_of, edge_before, edge_with, two_regions, two_regions_with};

#[tokio::test]
async fn post_and_patch_are_never_sent_twice() {
    let modes = [Mode::Reset, Mode::Empty, Mode::Hang, Mode::Garbage];
    for mode in modes {
        for method in ["POST", "PATCH", "PURGE"] {
            // A hang lasts until the deadline; a second attempt would come before it.
            let (iad, fra, edge) = two_regions_with(mode.clone(), |config| {
                config.attempt_timeout = Duration::from_secs(1);
                config.deadline = Duration::from_secs(3);
            })
            .await;
            let reply = send(edge.addr(), request(method, &[], "a=1")).await;
            assert_eq!(reply.status, 503, "{method} {mode:?}");
            assert!(reply.head_after < Duration::from_secs(10));
            assert_eq!((iad.hits(), fra.hits()), (1, 0), "{method} {mode:?}");
            assert!(reply.text().contains("may or may not"), "{}", reply.text());
        }
    }
    let (iad, fra, edge) = two_regions(Mode::Status(503)).await;
    let reply = send(edge.addr(), request("POST", &[], "a=1")).await;
    assert_eq!(reply.text(), "status 503");
    assert_eq!((iad.hits(), fra.hits()), (1, 0));
}

#[tokio::test]
async fn post_moves_on_only_when_no_connection_could_be_made() {
    let iad = Region::start("iad", Mode::Page).await;
    let fra = Region::start("fra", Mode::Page).await;
    let mut config = config_of(&[&iad, &fra]);
    config.health.interval = Duration::from_secs(60);
    let edge = edge_with(config).await;
    let _iad_port = iad.die();
    let reply = send(edge.addr(), request("POST", &[], "a=1")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-edge-tried"), "iad:connect,fra");
    assert_eq!(fra.last_seen().body, b"a=1");
    let _fra_port = fra.die();
    let reply = send(edge.addr(), request("POST", &[], "a=1")).await;
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("Nothing was changed"));
}

#[tokio::test]
async fn put_and_delete_are_sent_elsewhere_with_their_body_one_by_one() {
    for method in ["PUT", "DELETE"] {
        let (iad, fra, edge) = two_regions_with(Mode::Slow(Duration::from_secs(8)), |config| {
            config.attempt_timeout = Duration::from_secs(4);
        })
        .await;
        let reply = send(edge.addr(), request(method, &[], "a=1")).await;
        // The first attempt was given up, so it could not win although it would have answered.
        assert_eq!(reply.header("x-edge-tried"), "iad:timeout,fra");
        assert_eq!(iad.last_seen().body, b"a=1");
        assert_eq!(fra.last_seen().body, b"a=1");
        assert!(fra.last_seen().text().contains("content-length: 3"));
    }
}

#[tokio::test]
async fn connections_to_a_region_are_reused_and_one_closed_meanwhile_costs_nothing_visible() {
    let iad = Region::start("iad", Mode::ResetSecond).await;
    let edge = edge_before(&[&iad]).await;
    for _ in 0..10 {
        let reply = get(edge.addr()).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.text(), "page from iad");
    }
    assert!(
        edge.status().retries >= 5,
        "connections were not reused: {:#?}",
        edge.status()
    );
    let post = send(edge.addr(), request("POST", &[], "a=1")).await;
    assert_eq!(post.status, 200, "POST takes a new connection");
}
