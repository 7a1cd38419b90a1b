//! The regions an edge serves, and what follows from what happens to them.

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;
use tracing::{info, warn};

use super::config::{HealthCheck, Upstream};
use super::failure::Failure;
use super::region::{Consequence, Region};
use super::route;
use super::status::RegionStatus;

/// The regions in configured order.
#[derive(Debug)]
pub(super) struct Fleet {
    regions: Vec<Arc<Region>>,
    policy: HealthCheck,
}

impl Fleet {
    pub fn new(upstreams: Vec<Upstream>, policy: HealthCheck) -> Self {
        let region = |Upstream { region, addr }| Arc::new(Region::new(region, addr));
        Self {
            regions: upstreams.into_iter().map(region).collect(),
            policy,
        }
    }

    pub fn all(&self) -> &[Arc<Region>] {
        &self.regions
    }

    /// Every region, best first for this visitor: healthy ones by distance, then those to avoid for now, then the
    /// others, since what is known of health is up to a second old.
    pub fn candidates(&self, headers: &HeaderMap, now: Instant) -> Vec<Arc<Region>> {
        let known = |code: &str| self.regions.iter().any(|region| region.code == code);
        let home = route::home_region(headers, known);
        let mut regions = route::nearest_first(self.regions.clone(), home, |region| &region.code);
        regions.sort_by_cached_key(|region| region.rank(now));
        if let Some(first) = regions.first() {
            first.try_again(now, self.policy.avoid_for);
        }
        regions
    }

    pub fn status(&self) -> Vec<RegionStatus> {
        self.regions.iter().map(|region| region.status()).collect()
    }

    pub fn check_passed(&self, region: &Region) {
        if region.check_passed() {
            info!(region = region.code, "region is healthy");
        }
    }

    /// `at_once`: one bad check is proof enough.
    pub fn check_failed(&self, region: &Region, error: &str, at_once: bool) {
        let enough = if at_once { 1 } else { self.policy.fall };
        if region.check_failed(error, enough) {
            warn!(region = region.code, error, "region is down");
        }
    }

    /// A refused connection takes a region down until the next good check; other failures, when enough of them follow
    /// each other, put it last for a while.
    pub fn attempt_failed(&self, region: &Region, failure: Failure) {
        if !failure.is_regions_fault() {
            return;
        }
        match region.attempt_failed(failure, &self.policy) {
            Some(Consequence::Down) => {
                warn!(region = region.code, error = %failure, "region is down");
            }
            Some(Consequence::Avoided) => {
                info!(region = region.code, error = %failure, "region is avoided for a while");
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::edge::EdgeConfig;
    use crate::edge::RegionState;

    /// Longer than a busy machine holds a test up.
    const AVOID_FOR: Duration = Duration::from_secs(60);

    fn upstream(region: &str, port: u16) -> Upstream {
        Upstream {
            region: region.to_owned(),
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    fn fleet(upstreams: Vec<Upstream>) -> Fleet {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut policy = EdgeConfig::new(listen, Vec::new()).health;
        policy.avoid_for = AVOID_FOR;
        Fleet::new(upstreams, policy)
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
        let later = Instant::now() + AVOID_FOR + Duration::from_secs(1);
        assert_eq!(order_at(&fleet, later), ["iad", "fra"]);
        assert_eq!(order_at(&fleet, later), ["fra", "iad"]);
        regions[0].answered(Duration::from_millis(1));
        assert_eq!(order_at(&fleet, later), ["iad", "fra"]);
    }
}
