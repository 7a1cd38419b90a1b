//! What passes through, both ways.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;

use crate::region::{get, request, send, send_raw, Mode, Region};
use crate::{config_of, edge_with, two_regions, two_regions_with};

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
    let (_iad, fra, edge) = two_regions(Mode::Drip(10, Duration::from_millis(500))).await;
    let reply = get(edge.addr()).await;
    assert!(reply.complete);
    assert_eq!(reply.text(), "drip".repeat(10));
    assert!(
        reply.head_after < Duration::from_secs(5),
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
    assert!(began.elapsed() < Duration::from_secs(10));
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
async fn a_visitor_who_pauses_in_a_large_upload_is_waited_for() {
    let (iad, _fra, edge) = two_regions_with(Mode::Page, |config| {
        config.attempt_timeout = Duration::from_secs(3);
        config.deadline = Duration::from_secs(3);
    })
    .await;
    let chunks = stream::unfold(0, |sent| async move {
        if sent == 5 {
            tokio::time::sleep(Duration::from_secs(5)).await;
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
