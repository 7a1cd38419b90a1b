//! Sums over the counters.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::counter::CounterKey;
use crate::region::RegionCode;
use crate::user_agent::{Browser, Os, Visitor};

/// A number of visits that stops at `u64::MAX` and remembers that it did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub visits: u64,
    /// The true number is larger than `visits`.
    pub saturated: bool,
}

impl Count {
    pub fn add(&mut self, visits: u64) {
        match self.visits.checked_add(visits) {
            Some(sum) => self.visits = sum,
            None => {
                self.visits = u64::MAX;
                self.saturated = true;
            }
        }
    }
}

/// All visits, and the same visits by region, by browser and by operating system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub total: Count,
    pub regions: BTreeMap<RegionCode, Count>,
    pub browsers: BTreeMap<Browser, Count>,
    pub systems: BTreeMap<Os, Count>,
    /// Counters that hold something other than a number. They are in no sum.
    pub unreadable: u64,
    /// There are counters that were not read, so that every sum is a lower bound.
    pub partial: bool,
}

impl Tally {
    pub fn add(&mut self, key: &CounterKey, visits: u64) {
        self.total.add(visits);
        self.regions
            .entry(key.region.clone())
            .or_default()
            .add(visits);
        self.browsers.entry(key.browser).or_default().add(visits);
        self.systems.entry(key.os).or_default().add(visits);
    }

    /// Lists a region that may have no counter yet.
    pub fn mention_region(&mut self, region: &RegionCode) {
        self.regions.entry(region.clone()).or_default();
    }

    /// Lists a browser and an operating system that may have no counter yet.
    pub fn mention_visitor(&mut self, visitor: Visitor) {
        self.browsers.entry(visitor.browser).or_default();
        self.systems.entry(visitor.os).or_default();
    }

    /// Whether the true numbers may be larger than the ones here.
    pub fn at_least(&self) -> bool {
        self.partial || self.total.saturated
    }
}

/// The entries of a sum, most visits first, equal ones in the order of their names.
pub fn ranked<K: Ord>(sums: &BTreeMap<K, Count>) -> Vec<(&K, Count)> {
    let mut ranked: Vec<_> = sums.iter().map(|(key, count)| (key, *count)).collect();
    ranked.sort_by_key(|(_, count)| Reverse(count.visits));
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(region: &str, browser: Browser, os: Os) -> CounterKey {
        CounterKey {
            region: RegionCode::normalise(region),
            browser,
            os,
        }
    }

    #[test]
    fn a_sum_past_the_largest_number_stops_there_and_says_so() {
        let mut tally = Tally::default();
        tally.add(&key("iad", Browser::Curl, Os::Other), u64::MAX);
        assert!(!tally.at_least());
        tally.add(&key("fra", Browser::Edge, Os::Windows), 0);
        assert!(!tally.at_least());
        tally.add(&key("fra", Browser::Edge, Os::Windows), 1);
        assert_eq!(tally.total.visits, u64::MAX);
        assert!(tally.at_least());
        let fra = RegionCode::normalise("fra");
        assert_eq!(
            tally.regions[&fra],
            Count {
                visits: 1,
                saturated: false
            }
        );
    }

    #[test]
    fn the_busiest_comes_first_and_ties_go_by_name() {
        let mut tally = Tally::default();
        for (region, visits) in [("sin", 3), ("iad", 3), ("fra", 9), ("ams", 0)] {
            tally.add(&key(region, Browser::Curl, Os::Other), visits);
        }
        let order: Vec<_> = ranked(&tally.regions)
            .into_iter()
            .map(|(region, _)| region.as_str())
            .collect();
        assert_eq!(order, ["fra", "iad", "sin", "ams"]);
    }

    proptest! {
        #[test]
        fn sums_equal_those_of_a_larger_integer(
            visits in proptest::collection::vec(
                (
                    "[a-c]",
                    proptest::sample::select(Browser::ALL),
                    proptest::sample::select(Os::ALL),
                    prop_oneof![Just(u64::MAX), any::<u64>(), 0_u64..1_000],
                ),
                0..40,
            )
        ) {
            let mut tally = Tally::default();
            for (region, browser, os, number) in &visits {
                tally.add(&key(region, *browser, *os), *number);
            }
            let agrees = |count: Count, model: u128| {
                u128::from(count.visits) == model.min(u128::from(u64::MAX))
                    && count.saturated == (model > u128::from(u64::MAX))
            };
            let model = |wanted: &dyn Fn(&str, Browser, Os) -> bool| -> u128 {
                visits
                    .iter()
                    .filter(|(region, browser, os, _)| wanted(region, *browser, *os))
                    .map(|(_, _, _, number)| u128::from(*number))
                    .sum()
            };
            prop_assert!(agrees(tally.total, model(&|_, _, _| true)));
            for (region, count) in &tally.regions {
                prop_assert!(agrees(*count, model(&|name, _, _| name == region.as_str())));
            }
            for (browser, count) in &tally.browsers {
                prop_assert!(agrees(*count, model(&|_, kind, _| kind == *browser)));
            }
            for (os, count) in &tally.systems {
                prop_assert!(agrees(*count, model(&|_, _, kind| kind == *os)));
            }
        }
    }
}
