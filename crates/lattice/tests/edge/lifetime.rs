//! Many visitors, and the end of an edge.

use std::time::{Duration, Instant};

use futures::future::join_all;
use lattice::edge::Edge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::region::{get, Mode, Region};
use crate::{config_of, edge_before, two_regions, until};

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
        iad.until_hits(200).await;
        (iad.hits(), iad.die())
    };
    let (slowest, (iad_hits, _port)) = tokio::join!(visits, dying);
    let slowest = slowest.into_iter().max().unwrap();
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
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
    iad.until_hits(1).await;
    let left = Instant::now();
    drop(stream);
    until(&edge, |status| status.connections == 0).await;
    assert!(
        left.elapsed() < Duration::from_secs(10),
        "well before the deadline"
    );
}

#[tokio::test]
async fn stopping_lets_a_request_finish_and_takes_no_more() {
    let iad = Region::start("iad", Mode::Slow(Duration::from_millis(200))).await;
    let edge = edge_before(&[&iad]).await;
    let addr = edge.addr();
    let under_way = tokio::spawn(get(addr));
    iad.until_hits(1).await;
    edge.stop(Duration::from_secs(20)).await;
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
    iad.until_hits(1).await;
    drop(edge);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
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
