//! The active health check.

use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use http::uri::PathAndQuery;
use http::{header, HeaderMap, HeaderValue, Method};
use tokio::time::{interval, timeout, MissedTickBehavior};

use super::attempt::{Connection, Head};
use super::body::whole;
use super::failure::Failure;
use super::region::Region;
use super::Shared;

/// Checks every region at every tick. Never returns.
pub(super) async fn watch(edge: Arc<Shared>) {
    let mut ticks = interval(edge.config.health.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let regions = edge.fleet.all().iter();
        let mut checks: FuturesUnordered<_> = regions.map(|region| check(&edge, region)).collect();
        while checks.next().await.is_some() {}
    }
}

async fn check(edge: &Shared, region: &Region) {
    let policy = &edge.config.health;
    let Ok(target) = PathAndQuery::try_from(policy.path.as_str()) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("edge-health"));
    let head = Head {
        method: Method::GET,
        target,
        headers,
    };
    // On a new connection, so that a listener that is gone is noticed.
    let sent = edge
        .clients
        .send(region, head, whole(bytes::Bytes::new()), Connection::New);
    match timeout(policy.timeout, sent).await {
        Ok(Ok(response)) if response.status().is_success() => edge.fleet.check_passed(region),
        Ok(Ok(response)) => {
            let status = response.status();
            edge.fleet.check_failed(region, status.as_str(), false);
        }
        Ok(Err(failure)) => {
            let refused = failure == Failure::Connect;
            edge.fleet
                .check_failed(region, &failure.to_string(), refused);
        }
        Err(_) => edge.fleet.check_failed(region, "timeout", false),
    }
}
