//! Counters of a link, and the snapshot made of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::rule::{Direction, Heading, Rules};

/// What a link carries now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WanStatus {
    /// Where leaves connect.
    pub local: SocketAddr,
    /// Where new connections go.
    pub target: SocketAddr,
    /// Delay in each direction.
    pub one_way_ms: u64,
    /// Connections open now, those held by a cut included.
    pub open: u64,
    /// Connections ever accepted.
    pub accepted: u64,
    /// Connections closed because the target could not be reached.
    pub unreachable: u64,
    /// Connections that a cut kept from the target: the leaf heard nothing on them.
    pub swallowed: u64,
    /// From the leaf to the hub.
    pub to_hub: LaneStatus,
    /// From the hub to the leaf.
    pub from_hub: LaneStatus,
    /// The cut in force, if any.
    pub cut: Option<CutStatus>,
}

/// Bytes that went one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// Bytes handed to the receiver.
    pub delivered: u64,
    /// Bytes a cut lost.
    pub lost: u64,
}

/// A cut in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutStatus {
    /// What is cut.
    pub direction: Direction,
    /// Milliseconds since the Unix epoch when the first direction was cut.
    pub since_unix_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    open: AtomicU64,
    accepted: AtomicU64,
    unreachable: AtomicU64,
    swallowed: AtomicU64,
    to_hub: Lane,
    from_hub: Lane,
}

#[derive(Debug, Default)]
struct Lane {
    delivered: AtomicU64,
    lost: AtomicU64,
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub(super) struct Open(Arc<Counters>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    pub fn opened(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    pub fn target_unreachable(&self) {
        self.unreachable.fetch_add(1, Ordering::Relaxed);
    }

    pub fn swallowed(&self) {
        self.swallowed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn delivered(&self, heading: Heading, bytes: usize) {
        add(&self.lane(heading).delivered, bytes);
    }

    pub fn lost(&self, heading: Heading, bytes: usize) {
        add(&self.lane(heading).lost, bytes);
    }

    fn lane(&self, heading: Heading) -> &Lane {
        match heading {
            Heading::ToHub => &self.to_hub,
            Heading::FromHub => &self.from_hub,
        }
    }

    pub fn status(&self, local: SocketAddr, rules: &Rules) -> WanStatus {
        WanStatus {
            local,
            target: rules.target,
            one_way_ms: millis(rules.one_way.as_millis()),
            open: self.open.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            unreachable: self.unreachable.load(Ordering::Relaxed),
            swallowed: self.swallowed.load(Ordering::Relaxed),
            to_hub: self.to_hub.status(),
            from_hub: self.from_hub.status(),
            cut: rules.cut_now().map(|(direction, since)| CutStatus {
                direction,
                since_unix_ms: since
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |age| millis(age.as_millis())),
            }),
        }
    }
}

impl Lane {
    fn status(&self) -> LaneStatus {
        LaneStatus {
            delivered: self.delivered.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

fn millis(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
