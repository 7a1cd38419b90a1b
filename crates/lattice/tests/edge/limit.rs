//! What the edge does not take.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::region::{get, request, send, send_raw, Mode, Region};
use crate::{config_of, edge_with, two_regions, until};

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
    until(&edge, |status| status.requests == 1).await;
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
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest))
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
