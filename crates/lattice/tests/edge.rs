//! The edge over real sockets, with regions that misbehave on demand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "edge/region.rs"]
mod region;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use futures::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use lattice::edge::{Edge, EdgeConfig, EdgeStatus, RegionState, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use region::{dead_addr, get, request, send, send_raw, Mode, Region};

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
    config.attempt_timeout = Duration::from_millis(300);
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
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition(&edge.status()) {
        assert!(Instant::now() < deadline, "still {:#?}", edge.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn two_regions(first: Mode) -> (Region, Region, Edge) {
    let iad = Region::start("iad", first).await;
    let fra = Region::start("fra", Mode::Page).await;
    let edge = edge_before(&[&iad, &fra]).await;
    (iad, fra, edge)
}

/// A GET that the first region fails in this way is answered by the second.
async fn fails_over(mode: Mode, tried: &str) {
    let (iad, fra, edge) = two_regions(mode).await;
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
async fn a_dead_port_takes_its_region_down_and_is_asked_last_from_then_on() {
    let dead = dead_addr().await;
    let fra = Region::start("fra", Mode::Page).await;
    let edge = Edge::bind(config(&[("iad", dead), ("fra", fra.addr)]))
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
    drop(iad);
    let first = get(edge.addr()).await;
    assert_eq!(first.header("x-edge-tried"), "iad:connect,fra");
    let second = get(edge.addr()).await;
    assert_eq!(second.header("x-edge-tried"), "fra");
    assert_eq!(edge.status().regions[0].state, RegionState::Down);
}

#[tokio::test]
async fn with_every_region_down_the_visitor_gets_the_edges_own_503_quickly() {
    let config = config(&[("iad", dead_addr().await), ("fra", dead_addr().await)]);
    let edge = Edge::bind(config).await.unwrap();
    let reply = get(edge.addr()).await;
    assert_eq!(reply.status, 503);
    assert!(reply.head_after < Duration::from_millis(1500));
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
    let edge = edge_before(&[&iad, &fra, &sin]).await;
    let reply = get(edge.addr()).await;
    assert_eq!(reply.status, 503);
    assert_eq!(
        reply.header("x-edge-tried"),
        "iad:timeout,fra:timeout,sin:timeout"
    );
    assert!(
        (Duration::from_millis(1700)..Duration::from_millis(2500)).contains(&reply.head_after),
        "{:?}",
        reply.head_after
    );
    assert_eq!((iad.hits(), fra.hits(), sin.hits()), (1, 1, 1));
}

#[tokio::test]
async fn a_slow_first_answer_still_wins_over_a_hanging_second_region() {
    let iad = Region::start("iad", Mode::Slow(Duration::from_millis(600))).await;
    let fra = Region::start("fra", Mode::Hang).await;
    let edge = edge_before(&[&iad, &fra]).await;
    let reply = get(edge.addr()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-served-by"), "iad");
    assert_eq!(reply.header("x-edge-attempts"), "2");
    assert_eq!(iad.hits(), 1, "the first attempt went on");
}

#[tokio::test]
async fn a_region_known_to_be_slow_is_given_its_time() {
    let iad = Region::start("iad", Mode::Slow(Duration::from_millis(400))).await;
    let fra = Region::start("fra", Mode::Hang).await;
    let edge = edge_before(&[&iad, &fra]).await;
    for _ in 0..2 {
        get(edge.addr()).await;
    }
    let hits = fra.hits();
    let reply = get(edge.addr()).await;
    assert_eq!(reply.header("x-edge-tried"), "iad");
    assert_eq!(fra.hits(), hits);
}

#[tokio::test]
async fn a_single_region_is_asked_again_after_a_broken_connection() {
    let iad = Region::start("iad", Mode::Empty).await;
    let edge = edge_before(&[&iad]).await;
    let (reply, ()) = tokio::join!(get(edge.addr()), async {
        while iad.hits() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
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

#[tokio::test]
async fn a_region_that_keeps_failing_is_asked_last_for_a_while() {
    let (iad, _fra, edge) = two_regions(Mode::Empty).await;
    for _ in 0..3 {
        assert_eq!(
            get(edge.addr()).await.header("x-edge-tried"),
            "iad:empty,fra"
        );
    }
    assert!(edge.status().regions[0].avoided);
    assert_eq!(get(edge.addr()).await.header("x-edge-tried"), "fra");
    iad.set(Mode::Page);
    until(&edge, |status| !status.regions[0].avoided).await;
    assert_eq!(get(edge.addr()).await.header("x-edge-tried"), "iad");
    assert_eq!(edge.status().regions[0].failed_attempts_in_a_row, 0);
}

#[tokio::test]
async fn post_and_patch_are_never_sent_twice() {
    let modes = [Mode::Reset, Mode::Empty, Mode::Hang, Mode::Garbage];
    for mode in modes {
        for method in ["POST", "PATCH", "PURGE"] {
            let (iad, fra, edge) = two_regions(mode.clone()).await;
            let reply = send(edge.addr(), request(method, &[], "a=1")).await;
            assert_eq!(reply.status, 503, "{method} {mode:?}");
            assert!(reply.head_after < Duration::from_millis(2500));
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
    drop(iad);
    let reply = send(edge.addr(), request("POST", &[], "a=1")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-edge-tried"), "iad:connect,fra");
    assert_eq!(fra.last_seen().body, b"a=1");
    drop(fra);
    let reply = send(edge.addr(), request("POST", &[], "a=1")).await;
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("Nothing was changed"));
}

#[tokio::test]
async fn put_and_delete_are_sent_elsewhere_with_their_body_one_by_one() {
    for method in ["PUT", "DELETE"] {
        let (iad, fra, edge) = two_regions(Mode::Slow(Duration::from_millis(500))).await;
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

#[tokio::test]
async fn what_a_region_gets_is_what_the_visitor_sent() {
    let (iad, _fra, edge) = two_regions(Mode::Page).await;
    let reply = send(
        edge.addr(),
        request(
            "GET",
            &[
                ("user-agent", b"Mozilla \xff\xfe <script>"),
                ("x-forwarded-for", b"10.9.8.7"),
                ("connection", b"x-hop"),
                ("x-hop", b"1"),
                ("te", b"trailers"),
                ("cookie", b"a=b"),
            ],
            "",
        ),
    )
    .await;
    assert_eq!(reply.status, 200);
    let seen = iad.last_seen();
    let text = seen.text();
    assert!(text.starts_with("get /some/path?a=b%20c http/1.1\r\n"));
    assert!(text.contains("\r\nhost: demo.example\r\n"));
    assert!(text.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"));
    assert!(text.contains("\r\nx-forwarded-proto: http\r\n"));
    assert!(text.contains("\r\nx-forwarded-host: demo.example\r\n"));
    assert!(text.contains("\r\ncookie: a=b\r\n"));
    for gone in [
        "x-hop",
        "te:",
        "10.9.8.7",
        "transfer-encoding",
        "content-length",
    ] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    let agent = b"user-agent: Mozilla \xff\xfe <script>\r\n";
    assert!(
        seen.head.windows(agent.len()).any(|part| part == agent),
        "the bytes of User-Agent came through"
    );
    assert_eq!(
        reply.header("x-served-by"),
        "iad",
        "not what the region claims"
    );
    assert_eq!(reply.headers.get_all("x-served-by").iter().count(), 1);
    assert_eq!(reply.header("keep-alive"), "");
}

#[tokio::test]
async fn head_gets_the_head_alone_and_fails_over() {
    let (_iad, _fra, edge) = two_regions(Mode::Empty).await;
    let reply = send(edge.addr(), request("HEAD", &[], "")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-length"), "13");
    assert!(reply.body.is_empty());
    assert_eq!(reply.header("x-served-by"), "fra");
}

#[tokio::test]
async fn a_page_that_drips_is_passed_on_as_it_comes() {
    let (_iad, fra, edge) = two_regions(Mode::Drip(12, Duration::from_millis(50))).await;
    let reply = get(edge.addr()).await;
    assert!(reply.complete);
    assert_eq!(reply.text(), "drip".repeat(12));
    assert!(
        reply.head_after < Duration::from_millis(550),
        "the head did not wait for the end: {:?}",
        reply.head_after
    );
    assert_eq!(fra.hits(), 0);
}

#[tokio::test]
async fn a_body_that_falls_silent_ends_and_is_seen_to_be_cut() {
    let iad = Region::start("iad", Mode::Silence).await;
    let mut config = config_of(&[&iad]);
    config.limits.answer_idle = Duration::from_millis(300);
    let edge = edge_with(config).await;
    let began = Instant::now();
    let reply = get(edge.addr()).await;
    assert_eq!(reply.text(), "word");
    assert!(!reply.complete);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_large_answer_comes_whole() {
    let (_iad, _fra, edge) = two_regions(Mode::Big(5_000_000)).await;
    let reply = get(edge.addr()).await;
    assert!(reply.complete);
    assert_eq!(reply.body.len(), 5_000_000);
    assert_eq!(reply.header("content-length"), "5000000");
}

#[tokio::test]
async fn a_large_upload_is_streamed_once_and_whole() {
    let (iad, fra, edge) = two_regions(Mode::Page).await;
    let body = "0123456789".repeat(100_000);
    let reply = send(edge.addr(), request("PUT", &[], &body)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(iad.last_seen().body, body.as_bytes());
    assert!(iad.last_seen().text().contains("content-length: 1000000"));

    iad.set(Mode::Empty);
    let reply = send(edge.addr(), request("PUT", &[], &body)).await;
    assert_eq!(reply.status, 503);
    assert_eq!(fra.hits(), 0, "a streamed body cannot be sent again");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_with_413() {
    let (iad, _fra, edge) = two_regions(Mode::Page).await;
    let announced = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 8388609\r\n\r\n";
    let answer = send_raw(edge.addr(), announced).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(iad.hits(), 0);
}

#[tokio::test]
async fn a_visitor_in_the_middle_of_a_body_that_is_too_large_still_gets_the_413() {
    let (_iad, _fra, edge) = two_regions(Mode::Page).await;
    let mut large = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n".to_vec();
    large.resize(9_000_000, b'x');
    let answer = send_raw(edge.addr(), &large).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_visitor_who_pauses_in_a_large_upload_is_waited_for() {
    let (iad, _fra, edge) = two_regions(Mode::Page).await;
    let chunks = stream::unfold(0, |sent| async move {
        if sent == 5 {
            tokio::time::sleep(Duration::from_millis(2500)).await;
        }
        let chunk = Frame::data(Bytes::from(vec![b'x'; 20_000]));
        (sent < 10).then_some((Ok::<_, std::io::Error>(chunk), sent + 1))
    });
    let request = http::Request::post("/")
        .header("host", "x")
        .body(StreamBody::new(Box::pin(chunks)))
        .unwrap();
    let reply = send(edge.addr(), request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(
        iad.last_seen().body.len() > 200_000,
        "chunk framing included"
    );
}

#[tokio::test]
async fn a_visitor_who_does_not_read_is_cut_off() {
    let iad = Region::start("iad", Mode::Big(30_000_000)).await;
    let mut config = config_of(&[&iad]);
    config.limits.visitor_stall = Duration::from_millis(300);
    let edge = edge_with(config).await;
    let mut stream = TcpStream::connect(edge.addr()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    until(&edge, |status| status.connections == 1).await;
    until(&edge, |status| status.connections == 0).await;
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    assert!(got.len() < 30_000_000, "it was not cut off");
}

#[tokio::test]
async fn a_chunked_body_beyond_the_limit_is_refused_with_413_too() {
    let iad = Region::start("iad", Mode::Page).await;
    let mut config = config_of(&[&iad]);
    config.limits.body_bytes = 200_000;
    let edge = edge_with(config).await;
    let chunks = stream::iter(
        (0..30).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![b'x'; 10_000])))),
    );
    let request = http::Request::post("/")
        .header("host", "x")
        .body(StreamBody::new(chunks))
        .unwrap();
    let reply = send(edge.addr(), request).await;
    assert_eq!(reply.status, 413);
    assert_eq!(iad.hits(), 0, "the region never got a whole request");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_refused_with_408() {
    let iad = Region::start("iad", Mode::Page).await;
    let mut config = config_of(&[&iad]);
    config.limits.body_timeout = Duration::from_millis(200);
    let edge = edge_with(config).await;
    let promised = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc";
    let answer = send_raw(edge.addr(), promised).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let large = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\nabc";
    let answer = send_raw(edge.addr(), large).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(iad.hits(), 0);
}

#[tokio::test]
async fn heads_that_are_too_large_or_malformed_are_refused() {
    let (iad, _fra, edge) = two_regions(Mode::Page).await;
    let long = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nuser-agent: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let answer = send_raw(edge.addr(), long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many = format!(
        "GET / HTTP/1.1\r\nhost: x\r\n{}\r\n",
        "a: b\r\n".repeat(500)
    );
    let answer = send_raw(edge.addr(), many.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    for bad in [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nbad header: b\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
    ] {
        let answer = send_raw(edge.addr(), bad.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bad:?}: {answer}");
    }
    let answer = send_raw(edge.addr(), b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
    assert_eq!(iad.hits(), 0);
}

#[tokio::test]
async fn a_user_agent_of_64_kib_passes() {
    let (iad, _fra, edge) = two_regions(Mode::Page).await;
    let agent = vec![b'x'; 64 * 1024];
    let reply = send(edge.addr(), request("GET", &[("user-agent", &agent)], "")).await;
    assert_eq!(reply.status, 200);
    assert!(iad.last_seen().head.len() > agent.len());
}

#[tokio::test]
async fn a_visitor_who_never_finishes_a_head_is_cut_off() {
    let iad = Region::start("iad", Mode::Page).await;
    let mut config = config_of(&[&iad]);
    config.limits.head_timeout = Duration::from_millis(200);
    let edge = edge_with(config).await;
    let mut stream = TcpStream::connect(edge.addr()).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest))
        .await
        .expect("the edge closes")
        .unwrap();
    until(&edge, |status| status.connections == 0).await;
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_slot() {
    let iad = Region::start("iad", Mode::Page).await;
    let mut config = config_of(&[&iad]);
    config.limits.connections = 1;
    let edge = edge_with(config).await;
    let holding = TcpStream::connect(edge.addr()).await.unwrap();
    until(&edge, |status| status.connections == 1).await;
    let mut waiting = tokio::spawn(get(edge.addr()));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "the second visitor was not held back");
    drop(holding);
    assert_eq!(waiting.await.unwrap().status, 200);
}

#[tokio::test]
async fn absolute_form_and_options_star_are_understood() {
    let (iad, _fra, edge) = two_regions(Mode::Page).await;
    let absolute =
        b"GET http://elsewhere/p?q HTTP/1.1\r\nhost: elsewhere\r\nconnection: close\r\n\r\n";
    let answer = send_raw(edge.addr(), absolute).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(iad.last_seen().text().starts_with("get /p?q http/1.1\r\n"));
    let star = b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = send_raw(edge.addr(), star).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(iad.last_seen().text().starts_with("options * http/1.1\r\n"));
}

#[tokio::test]
async fn a_visitor_stays_on_one_connection_for_several_requests() {
    let (iad, _fra, edge) = two_regions(Mode::Page).await;
    let twice =
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = send_raw(edge.addr(), twice).await;
    assert_eq!(answer.matches("page from iad").count(), 2, "{answer}");
    assert_eq!(iad.hits(), 2);
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
async fn health_flips_with_the_checks_and_is_announced() {
    let (iad, _fra, edge) = two_regions(Mode::Page).await;
    let mut changes = edge.changes();
    changes.borrow_and_update();
    let since = edge.status().regions[0].since_unix_ms;
    iad.set_health(Mode::Status(500));
    tokio::time::timeout(Duration::from_secs(5), changes.changed())
        .await
        .expect("a change is announced")
        .unwrap();
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
    config.health.timeout = Duration::from_millis(50);
    let edge = edge_with(config).await;
    iad.set_health(Mode::Hang);
    until(&edge, |status| status.regions[0].state == RegionState::Down).await;
    assert!(edge.status().regions[1].healthy);
}

#[tokio::test]
async fn a_region_that_died_comes_back_by_itself() {
    let (iad, _fra, edge) = two_regions(Mode::Page).await;
    let addr = iad.addr;
    drop(iad);
    until(&edge, |status| status.regions[0].state == RegionState::Down).await;
    let _iad = Region::start_at("iad", Mode::Page, addr).await;
    until(&edge, |status| status.regions[0].healthy).await;
    assert_eq!(get(edge.addr()).await.header("x-served-by"), "iad");
}

#[tokio::test]
async fn regions_can_be_replaced_while_serving() {
    let (iad, fra, edge) = two_regions(Mode::Page).await;
    let sin = Region::start("sin", Mode::Page).await;
    let upstream = |region: &Region| Upstream {
        region: region.code.to_owned(),
        addr: region.addr,
    };
    get(edge.addr()).await;
    edge.set_upstreams(vec![upstream(&sin), upstream(&iad)])
        .unwrap();
    let status = edge.status();
    assert_eq!(status.regions.len(), 2);
    assert!(status.regions[1].healthy, "iad stayed where it was");
    assert_eq!(status.regions[1].served, 1);
    until(&edge, |status| status.regions[0].healthy).await;
    assert_eq!(get(edge.addr()).await.header("x-served-by"), "sin");
    assert_eq!(fra.hits(), 0);
    let twice = vec![upstream(&sin), upstream(&sin)];
    assert!(edge.set_upstreams(twice).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_visitors_at_once_are_all_served_while_a_region_dies() {
    let (iad, fra, edge) = two_regions(Mode::Page).await;
    let addr = edge.addr();
    let visits = join_all((0..200).map(|_| async move {
        let mut slowest = Duration::ZERO;
        for _ in 0..5 {
            let reply = get(addr).await;
            assert_eq!(reply.status, 200);
            slowest = slowest.max(reply.head_after);
        }
        slowest
    }));
    let dying = async {
        while iad.hits() < 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let hits = iad.hits();
        drop(iad);
        hits
    };
    let (slowest, iad_hits) = tokio::join!(visits, dying);
    let slowest = slowest.into_iter().max().unwrap();
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    let status = edge.status();
    assert_eq!((status.requests, status.unavailable), (1000, 0));
    let served: u64 = status.regions.iter().map(|region| region.served).sum();
    assert_eq!(served, 1000);
    assert!(status.attempts_total >= iad_hits + fra.hits());
    assert!(fra.hits() > 0);
}

#[tokio::test]
async fn a_visitor_who_leaves_ends_the_attempt() {
    let iad = Region::start("iad", Mode::Hang).await;
    let edge = edge_before(&[&iad]).await;
    let mut stream = TcpStream::connect(edge.addr()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    while iad.hits() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let left = Instant::now();
    drop(stream);
    until(&edge, |status| status.connections == 0).await;
    assert!(
        left.elapsed() < Duration::from_millis(1000),
        "well before the deadline"
    );
}

#[tokio::test]
async fn stopping_lets_a_request_finish_and_takes_no_more() {
    let iad = Region::start("iad", Mode::Slow(Duration::from_millis(200))).await;
    let edge = edge_before(&[&iad]).await;
    let addr = edge.addr();
    let under_way = tokio::spawn(get(addr));
    while iad.hits() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    edge.stop(Duration::from_secs(5)).await;
    assert_eq!(under_way.await.unwrap().status, 200);
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_dropped_edge_leaves_no_socket_behind() {
    let iad = Region::start("iad", Mode::Hang).await;
    let edge = edge_before(&[&iad]).await;
    let addr = edge.addr();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    while iad.hits() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(edge);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the visitor's connection ended");
    assert!(rest.is_empty());
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_names_it() {
    let iad = Region::start("iad", Mode::Page).await;
    let mut config = config_of(&[]);
    config.listen = iad.addr;
    let error = Edge::bind(config).await.unwrap_err();
    assert!(error.to_string().contains(&iad.addr.to_string()), "{error}");
}
