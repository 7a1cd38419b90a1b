//! The visits a lattice has counted.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What `/api/regions` says, as far as tests look at it.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// Who answered.
    pub serving: Serving,
    /// All visits.
    pub visits: u64,
    /// Counters that are not numbers.
    pub unreadable: u64,
    /// Whether there may be more than was counted.
    pub at_least: bool,
    /// Visits by region.
    pub regions: Vec<RegionVisits>,
    /// Visits by operating system.
    pub operating_systems: Vec<OsVisits>,
    /// Visits by browser.
    pub browsers: Vec<BrowserVisits>,
}

/// Who answered.
#[derive(Clone, Debug, Deserialize)]
pub struct Serving {
    /// Region code.
    pub region: String,
    /// City, where it is known.
    pub city: Option<String>,
    /// Instance.
    pub instance: String,
    /// Platform.
    pub platform: String,
}

/// Visits of one region.
#[derive(Clone, Debug, Deserialize)]
pub struct RegionVisits {
    /// Its code.
    pub region: String,
    /// Its visits.
    pub visits: u64,
}

/// Visits from one operating system.
#[derive(Clone, Debug, Deserialize)]
pub struct OsVisits {
    /// Its name in keys.
    pub os: String,
    /// Its visits.
    pub visits: u64,
}

/// Visits with one browser.
#[derive(Clone, Debug, Deserialize)]
pub struct BrowserVisits {
    /// Its name in keys.
    pub browser: String,
    /// Its visits.
    pub visits: u64,
}

impl Answer {
    /// Visits by region that has any; a page lists its own region in any case.
    #[must_use]
    pub fn by_region(&self) -> BTreeMap<String, u64> {
        self.regions
            .iter()
            .filter(|region| region.visits > 0)
            .map(|region| (region.region.clone(), region.visits))
            .collect()
    }

    /// Visits of one region.
    #[must_use]
    pub fn of(&self, region: &str) -> u64 {
        self.by_region().get(region).copied().unwrap_or_default()
    }

    /// Every total adds up to the same number.
    ///
    /// # Panics
    ///
    /// One does not.
    pub fn adds_up(&self) {
        let regions: u64 = self.regions.iter().map(|region| region.visits).sum();
        let systems: u64 = self.operating_systems.iter().map(|os| os.visits).sum();
        let browsers: u64 = self.browsers.iter().map(|browser| browser.visits).sum();
        assert_eq!([regions, systems, browsers], [self.visits; 3], "{self:?}");
    }
}
