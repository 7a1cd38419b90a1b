//! What the edge knows of its regions: who is healthy, how fast each answers, and the counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::config::{HealthCheck, Upstream};
use super::failure::Failure;
use super::pace::Pace;
use super::route;
use super::status::{unix_ms, RegionState, RegionStatus};

/// The regions in configured order.
#[derive(Debug)]
pub(super) struct Fleet {
    regions: RwLock<Arc<[Arc<Region>]>>,
    changes: watch::Sender<u64>,
    policy: HealthCheck,
}

#[derive(Debug)]
pub(super) struct Region {
    pub code: String,
    pub addr: SocketAddr,
    counters: Arc<Counters>,
    condition: Mutex<Condition>,
}

/// Outlives a region's move to another address.
#[derive(Debug, Default)]
struct Counters {
    attempts: AtomicU64,
    served: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug)]
struct Condition {
    state: RegionState,
    since: SystemTime,
    failed_checks: u32,
    failed_attempts: u32,
    avoided_until: Option<Instant>,
    last_error: Option<String>,
    pace: Pace,
}

impl Fleet {
    pub fn new(upstreams: Vec<Upstream>, policy: HealthCheck) -> Self {
        let fleet = Self {
            regions: RwLock::new(Arc::new([])),
            changes: watch::channel(0).0,
            policy,
        };
        fleet.replace(upstreams);
        fleet
    }

    /// Regions that stay where they are keep their health, regions that stay at all keep their counts.
    pub fn replace(&self, upstreams: Vec<Upstream>) {
        let mut regions = self.regions.write().unwrap_or_else(PoisonError::into_inner);
        *regions = upstreams
            .into_iter()
            .map(|Upstream { region, addr }| {
                match regions.iter().find(|known| known.code == region) {
                    Some(known) if known.addr == addr => Arc::clone(known),
                    Some(moved) => Arc::new(Region::new(region, addr, &moved.counters)),
                    None => Arc::new(Region::new(region, addr, &Arc::default())),
                }
            })
            .collect();
        drop(regions);
        self.changed();
    }

    pub fn all(&self) -> Arc<[Arc<Region>]> {
        let regions = self.regions.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&regions)
    }

    /// Every region, best first for this visitor: healthy ones by distance, then those to avoid for now, then the
    /// others, since what is known of health is up to a second old.
    pub fn candidates(&self, headers: &HeaderMap, now: Instant) -> Vec<Arc<Region>> {
        let regions = self.all();
        let home = route::home_region(headers, |code| {
            regions.iter().any(|region| region.code == code)
        });
        let mut regions = route::nearest_first(regions.to_vec(), home, |region| &region.code);
        regions.sort_by_cached_key(|region| region.rank(now));
        if let Some(first) = regions.first() {
            first.try_again(now, self.policy.avoid_for);
        }
        regions
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub fn status(&self) -> Vec<RegionStatus> {
        self.all().iter().map(|region| region.status()).collect()
    }

    pub fn check_passed(&self, region: &Region) {
        let mut condition = region.condition();
        condition.failed_checks = 0;
        if condition.state != RegionState::Healthy {
            condition.turn(RegionState::Healthy);
            drop(condition);
            info!(region = region.code, "region is healthy");
            self.changed();
        }
    }

    /// `at_once`: one bad check is proof enough.
    pub fn check_failed(&self, region: &Region, error: &str, at_once: bool) {
        let mut condition = region.condition();
        condition.failed_checks = condition.failed_checks.saturating_add(1);
        condition.last_error = Some(format!("health check: {error}"));
        let down = at_once || condition.failed_checks >= self.policy.fall;
        if down && condition.state != RegionState::Down {
            condition.turn(RegionState::Down);
            drop(condition);
            warn!(region = region.code, error, "region is down");
            self.changed();
        }
    }

    pub fn attempt_failed(&self, region: &Region, failure: Failure) {
        if !failure.is_regions_fault() {
            return;
        }
        region.counters.failed.fetch_add(1, Ordering::Relaxed);
        let mut condition = region.condition();
        condition.last_error = Some(format!("attempt: {failure}"));
        condition.failed_attempts = condition.failed_attempts.saturating_add(1);
        if failure == Failure::Connect {
            if condition.state != RegionState::Down {
                condition.turn(RegionState::Down);
                drop(condition);
                warn!(region = region.code, error = %failure, "region is down");
                self.changed();
            }
        } else if condition.failed_attempts >= self.policy.avoid_after {
            let now = Instant::now();
            let already = condition.avoided_until.is_some_and(|until| until > now);
            condition.avoided_until = Some(now + self.policy.avoid_for);
            drop(condition);
            if !already {
                info!(region = region.code, error = %failure, "region is avoided for a while");
            }
        }
    }

    fn changed(&self) {
        self.changes
            .send_modify(|revision| *revision = revision.wrapping_add(1));
    }
}

impl Region {
    fn new(code: String, addr: SocketAddr, counters: &Arc<Counters>) -> Self {
        Self {
            code,
            addr,
            counters: Arc::clone(counters),
            condition: Mutex::new(Condition {
                state: RegionState::Unchecked,
                since: SystemTime::now(),
                failed_checks: 0,
                failed_attempts: 0,
                avoided_until: None,
                last_error: None,
                pace: Pace::default(),
            }),
        }
    }

    pub fn attempt_began(&self) {
        self.counters.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// An answer came, after this long.
    pub fn answered(&self, after: Duration) {
        let mut condition = self.condition();
        condition.failed_attempts = 0;
        condition.avoided_until = None;
        condition.pace.observe(after);
    }

    /// Its answer went to the visitor.
    pub fn served(&self) {
        self.counters.served.fetch_add(1, Ordering::Relaxed);
    }

    /// How long to wait for this region before another is asked too.
    pub fn patience(&self, least: Duration, most: Duration) -> Duration {
        self.condition().pace.patience(least, most)
    }

    fn rank(&self, now: Instant) -> u8 {
        let condition = self.condition();
        let avoided = condition.avoided_until.is_some_and(|until| until > now);
        match (condition.state, avoided) {
            (RegionState::Healthy, false) => 0,
            (RegionState::Healthy, true) => 1,
            (RegionState::Unchecked, _) => 2,
            (RegionState::Down, _) => 3,
        }
    }

    /// When a region's time of being avoided is over, one visitor tries it; the others wait for what comes of it.
    fn try_again(&self, now: Instant, avoid_for: Duration) {
        let mut condition = self.condition();
        if condition.avoided_until.is_some_and(|until| until <= now) {
            condition.avoided_until = Some(now + avoid_for);
        }
    }

    fn status(&self) -> RegionStatus {
        let condition = self.condition();
        let now = Instant::now();
        RegionStatus {
            region: self.code.clone(),
            addr: self.addr,
            state: condition.state,
            healthy: condition.state == RegionState::Healthy,
            since_unix_ms: unix_ms(condition.since),
            avoided: condition.avoided_until.is_some_and(|until| until > now),
            failed_checks_in_a_row: condition.failed_checks,
            failed_attempts_in_a_row: condition.failed_attempts,
            last_error: condition.last_error.clone(),
            attempts: self.counters.attempts.load(Ordering::Relaxed),
            served: self.counters.served.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
        }
    }

    fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    fn turn(&mut self, state: RegionState) {
        self.state = state;
        self.since = SystemTime::now();
        self.avoided_until = None;
        self.failed_attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::EdgeConfig;

    fn upstream(region: &str, port: u16) -> Upstream {
        Upstream {
            region: region.to_owned(),
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    fn fleet(upstreams: Vec<Upstream>) -> Fleet {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Fleet::new(upstreams, EdgeConfig::new(listen, Vec::new()).health)
    }

    fn order(fleet: &Fleet) -> Vec<String> {
        order_at(fleet, Instant::now())
    }

    fn order_at(fleet: &Fleet, now: Instant) -> Vec<String> {
        let candidates = fleet.candidates(&HeaderMap::new(), now);
        candidates
            .iter()
            .map(|region| region.code.clone())
            .collect()
    }

    #[test]
    fn healthy_then_avoided_then_the_rest() {
        let fleet = fleet(vec![
            upstream("iad", 1),
            upstream("lhr", 2),
            upstream("fra", 3),
        ]);
        for region in fleet.all().iter() {
            fleet.check_passed(region);
        }
        assert_eq!(order(&fleet), ["iad", "lhr", "fra"]);
        let regions = fleet.all();
        fleet.attempt_failed(&regions[0], Failure::Connect);
        assert_eq!(order(&fleet), ["lhr", "fra", "iad"]);
        for _ in 0..3 {
            fleet.attempt_failed(&regions[1], Failure::Timeout);
        }
        assert_eq!(order(&fleet), ["fra", "lhr", "iad"]);
        regions[1].answered(Duration::from_millis(1));
        fleet.check_passed(&regions[0]);
        assert_eq!(order(&fleet), ["iad", "lhr", "fra"]);
    }

    #[test]
    fn two_bad_checks_or_one_refused_connection_take_a_region_down() {
        let fleet = fleet(vec![upstream("iad", 1)]);
        let region = &fleet.all()[0];
        fleet.check_passed(region);
        fleet.check_failed(region, "timeout", false);
        assert_eq!(region.status().state, RegionState::Healthy);
        fleet.check_failed(region, "timeout", false);
        assert_eq!(region.status().state, RegionState::Down);
        fleet.check_passed(region);
        fleet.check_failed(region, "refused", true);
        assert_eq!(region.status().state, RegionState::Down);
    }

    #[test]
    fn a_region_that_moves_keeps_its_counts_and_loses_its_health() {
        let fleet = fleet(vec![upstream("iad", 1), upstream("fra", 2)]);
        for region in fleet.all().iter() {
            fleet.check_passed(region);
            region.attempt_began();
        }
        fleet.replace(vec![upstream("fra", 2), upstream("iad", 9)]);
        let status = fleet.status();
        assert_eq!(
            (status[0].region.as_str(), status[0].healthy),
            ("fra", true)
        );
        assert_eq!(
            (status[1].region.as_str(), status[1].healthy),
            ("iad", false)
        );
        assert_eq!(status[1].attempts, 1);
    }

    #[test]
    fn a_visitors_failing_upload_is_not_held_against_a_region() {
        let fleet = fleet(vec![upstream("iad", 1)]);
        for _ in 0..10 {
            fleet.attempt_failed(&fleet.all()[0], Failure::Upload);
        }
        assert_eq!(fleet.status()[0].failed, 0);
        assert!(!fleet.status()[0].avoided);
    }

    #[test]
    fn when_its_time_of_being_avoided_is_over_one_visitor_tries_a_region() {
        let fleet = fleet(vec![upstream("iad", 1), upstream("fra", 2)]);
        let regions = fleet.all();
        for region in regions.iter() {
            fleet.check_passed(region);
        }
        for _ in 0..3 {
            fleet.attempt_failed(&regions[0], Failure::Timeout);
        }
        assert_eq!(order(&fleet), ["fra", "iad"]);
        let later = Instant::now() + Duration::from_millis(1100);
        assert_eq!(order_at(&fleet, later), ["iad", "fra"]);
        assert_eq!(order_at(&fleet, later), ["fra", "iad"]);
        regions[0].answered(Duration::from_millis(1));
        assert_eq!(order_at(&fleet, later), ["iad", "fra"]);
    }
}
