//! What an edge tells about itself.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A snapshot of an edge: counts since it was bound, and its regions in configured order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeStatus {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Requests taken.
    pub requests: u64,
    /// Requests sent to a region, over all requests; never less than what regions saw.
    pub attempts_total: u64,
    /// Attempts that were not the first of their request.
    pub retries: u64,
    /// Requests answered by the edge's own 503.
    pub unavailable: u64,
    /// Visitors connected now.
    pub connections: u64,
    /// The regions.
    pub regions: Vec<RegionStatus>,
}

/// A snapshot of one region as the edge sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionStatus {
    /// Its code.
    pub region: String,
    /// Where its requests go.
    pub addr: SocketAddr,
    /// What the checks say.
    pub state: RegionState,
    /// Whether `state` is healthy.
    pub healthy: bool,
    /// Milliseconds since the Unix epoch when `state` began.
    pub since_unix_ms: u64,
    /// Healthy by its checks, but asked last for now since its answers fail.
    pub avoided: bool,
    /// Bad health checks since the last good one.
    pub failed_checks_in_a_row: u32,
    /// Failed attempts since the last answer.
    pub failed_attempts_in_a_row: u32,
    /// The last failure, of a check or an attempt, kept after recovery.
    pub last_error: Option<String>,
    /// Requests sent to it, health checks not counted.
    pub attempts: u64,
    /// Answers of its that visitors got.
    pub served: u64,
    /// Attempts that failed.
    pub failed: u64,
}

/// What the checks say of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionState {
    /// Not checked yet: asked after the healthy ones.
    Unchecked,
    /// Good.
    Healthy,
    /// Bad: asked last.
    Down,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub requests: AtomicU64,
    pub attempts: AtomicU64,
    pub retries: AtomicU64,
    pub unavailable: AtomicU64,
    pub connections: AtomicU64,
}

/// Counts a visitor as connected until it is dropped.
#[derive(Debug)]
pub(super) struct Connected<'a>(&'a AtomicU64);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    pub fn connected(&self) -> Connected<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(&self.connections)
    }

    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn status(&self, addr: SocketAddr, regions: Vec<RegionStatus>) -> EdgeStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EdgeStatus {
            addr,
            requests: read(&self.requests),
            attempts_total: read(&self.attempts),
            retries: read(&self.retries),
            unavailable: read(&self.unavailable),
            connections: read(&self.connections),
            regions,
        }
    }
}

pub(super) fn unix_ms(at: SystemTime) -> u64 {
    let age = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}
