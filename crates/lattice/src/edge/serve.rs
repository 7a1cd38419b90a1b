//! Visitors' connections and requests.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{timeout, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::attempt::Head;
use super::body::{self, Body, Payload, Refusal};
use super::failure::Failure;
use super::forward::{forward, Outcome, Tried};
use super::header::prepare_request;
use super::page::{self, Notice};
use super::stall::Unstalled;
use super::status::Counters;
use super::Shared;

const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
const X_EDGE_ATTEMPTS: HeaderName = HeaderName::from_static("x-edge-attempts");
const X_EDGE_TRIED: HeaderName = HeaderName::from_static("x-edge-tried");

/// How long accepting pauses after an error such as "too many open files".
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// How long a visitor may take to notice that the connection is over.
const FAREWELL: Duration = Duration::from_secs(1);

/// Accepts until `stop`, then lets the requests under way finish.
pub(super) async fn accept(listener: TcpListener, edge: Arc<Shared>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(edge.config.limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed, so a missing permit cannot happen.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, listener.accept().await)
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    warn!(%error, "edge connection task failed");
                }
            }
            (slot, accepted) = next => match accepted {
                Ok((stream, peer)) => {
                    let (edge, stop) = (Arc::clone(&edge), stop.clone());
                    connections.spawn(async move {
                        let _open = edge.counters.connected();
                        converse(stream, peer, &edge, stop).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    debug!(%error, "edge could not accept");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    edge: &Arc<Shared>,
    stop: CancellationToken,
) {
    // A failure only means that small answers are slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let edge = Arc::clone(edge);
        Box::pin(async move { Ok::<_, Infallible>(respond(&edge, peer, request).await) })
    });
    let limits = &edge.config.limits;
    let stream = Unstalled::new(stream, limits.visitor_stall);
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => ended,
        () = stop.cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|cx| connection.poll_without_shutdown(cx)).await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "visitor's connection ended early");
    }
    farewell(connection.into_parts().io.into_inner()).await;
}

/// Ends a connection so that the visitor can read the last answer: closing while input is unread, as after a body that
/// was too large, would send a reset that overtakes it.
async fn farewell(mut stream: Unstalled) {
    let mut rest = vec![0; 16 * 1024];
    let drained = async {
        stream.shutdown().await?;
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whatever comes of it, the connection is over.
    let _ = timeout(FAREWELL, drained).await;
}

async fn respond(
    edge: &Arc<Shared>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    Counters::add(&edge.counters.requests);
    let (mut parts, body) = request.into_parts();
    let visitor_headers = parts.headers.clone();
    let refuse = |notice| {
        let mut response = page::render(notice, &visitor_headers);
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    };
    if let Some(notice) = objection(&parts) {
        return refuse(notice);
    }
    let payload = match body::receive(body, &edge.config.limits).await {
        Ok(payload) => payload,
        Err(refusal) => return refuse(refused(refusal)),
    };
    let upload = match &payload {
        Payload::Kept(_) => None,
        Payload::Streamed(_, progress) => Some(progress.clone()),
    };
    prepare_request(&mut parts.headers, peer);
    let candidates = edge.fleet.candidates(&parts.headers, Instant::now());
    let method = parts.method.clone();
    let head = Head {
        method: parts.method,
        target: parts
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/")),
        headers: parts.headers,
    };
    let Outcome { answer, tried } = forward(edge, head, payload, candidates).await;
    let (mut response, served_by) = match answer {
        Some((region, mut response)) => {
            page::complete(&mut response);
            (response, HeaderValue::from_str(&region.code).ok())
        }
        None => {
            if let Some(refusal) = upload.and_then(|progress| progress.refusal()) {
                return refuse(refused(refusal));
            }
            Counters::add(&edge.counters.unavailable);
            let response = page::render(unanswered(&method, &tried), &visitor_headers);
            (response, Some(HeaderValue::from_static("edge")))
        }
    };
    let headers = response.headers_mut();
    if let Some(served_by) = served_by {
        headers.insert(X_SERVED_BY, served_by);
    }
    headers.insert(X_EDGE_ATTEMPTS, HeaderValue::from(tried.len()));
    if let Ok(tried) = HeaderValue::from_str(&describe(&tried)) {
        headers.insert(X_EDGE_TRIED, tried);
    }
    response
}

/// What is wrong with a request before anyone is asked.
fn objection(parts: &http::request::Parts) -> Option<Notice> {
    if parts.method == Method::CONNECT {
        return Some(Notice {
            status: StatusCode::NOT_IMPLEMENTED,
            title: "Not a tunnel",
            detail: "This edge forwards requests and opens no tunnels.",
            again: false,
        });
    }
    let hosts = parts.headers.get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && parts.version == Version::HTTP_11) {
        return Some(Notice {
            status: StatusCode::BAD_REQUEST,
            title: "Bad request",
            detail: "A request needs exactly one Host header.",
            again: false,
        });
    }
    None
}

fn refused(refusal: Refusal) -> Notice {
    let (status, title, detail) = match refusal {
        Refusal::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "Too large",
            "The body of the request is larger than this edge takes.",
        ),
        Refusal::TooSlow => (
            StatusCode::REQUEST_TIMEOUT,
            "Too slow",
            "The body of the request did not arrive in time.",
        ),
        Refusal::Broken => (
            StatusCode::BAD_REQUEST,
            "Bad request",
            "The body of the request is broken.",
        ),
    };
    Notice {
        status,
        title,
        detail,
        again: false,
    }
}

/// What to tell a visitor whom nobody answered.
fn unanswered(method: &Method, tried: &[Tried]) -> Notice {
    let unsent = |tried: &Tried| tried.failure.is_some_and(Failure::is_before_request);
    if method.is_safe() {
        page::UNAVAILABLE
    } else if tried.iter().all(unsent) {
        page::UNSENT
    } else {
        page::UNCONFIRMED
    }
}

/// `iad:timeout,fra`: every attempt and why it failed, last the one that answered.
fn describe(tried: &[Tried]) -> String {
    let each = tried.iter().map(|tried| {
        let region = &tried.region.code;
        match tried.failure {
            Some(failure) => format!("{region}:{failure}"),
            None if tried.answered => region.clone(),
            None => format!("{region}:unneeded"),
        }
    });
    each.collect::<Vec<_>>().join(",")
}
