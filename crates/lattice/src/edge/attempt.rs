//! One attempt: one request to one region.

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use tokio::time::Instant;

use super::body::{Body, Relay};
use super::config::{EdgeConfig, Limits};
use super::failure::Failure;
use super::header;
use super::region::Region;
use super::task::OwnedExecutor;

/// How long an idle connection to a region is kept.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// The part of a request that every attempt sends.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub method: Method,
    pub target: PathAndQuery,
    pub headers: HeaderMap,
}

/// Which connection an attempt may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// One kept from an earlier request. The region may be closing it at this very moment, which only shows once the
    /// request is sent: for requests that can be sent again.
    Pooled,
    /// A new one, so that a failure to connect is known to come before the request.
    New,
}

/// HTTP clients towards the regions.
#[derive(Debug)]
pub(super) struct Clients {
    pooled: Client<HttpConnector, Body>,
    new: Client<HttpConnector, Body>,
}

impl Clients {
    /// Every connection's task runs on `executor` and ends with it.
    pub fn new(config: &EdgeConfig, executor: OwnedExecutor) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(config.attempt_timeout));
        let mut builder = Client::builder(executor);
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .http1_max_buf_size(config.limits.head_bytes);
        let pooled = builder.build(connector.clone());
        let new = builder.pool_max_idle_per_host(0).build(connector);
        Self { pooled, new }
    }

    pub async fn send(
        &self,
        region: &Region,
        head: Head,
        body: Body,
        connection: Connection,
    ) -> Result<Response<Incoming>, Failure> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(region.addr.to_string())
            .path_and_query(head.target)
            .build()
            .map_err(|_| Failure::Other)?;
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = head.headers;
        let client = match connection {
            Connection::Pooled => &self.pooled,
            Connection::New => &self.new,
        };
        let mut response = client
            .request(request)
            .await
            .map_err(|error| Failure::of(&error))?;
        // Nobody asked for another protocol.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::Invalid);
        }
        *response.version_mut() = Version::HTTP_11;
        header::strip_hop_by_hop(response.headers_mut());
        Ok(response)
    }
}

/// Turns an upstream's answer into the visitor's. With `read_ahead_until`, the first part of the body is read before
/// the answer counts as one.
pub(super) async fn take(
    response: Response<Incoming>,
    limits: &Limits,
    read_ahead_until: Option<Instant>,
) -> Result<Response<Body>, Failure> {
    let (head, body) = response.into_parts();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut relay = Relay::new(body, limits.answer_idle);
    if let Some(until) = read_ahead_until.filter(|_| announced <= limits.read_ahead_bytes) {
        let due = until.min(Instant::now() + limits.read_ahead_for);
        relay
            .read_ahead(limits.read_ahead_bytes, due)
            .await
            .map_err(|_| Failure::Truncated)?;
    }
    Ok(Response::from_parts(head, relay.boxed_unsync()))
}
