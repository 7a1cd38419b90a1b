//! A round of faults as it happened.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::history::{History, Micros};
use crate::measure::{self, Cost, Window};

/// The least that the clients of a region that keeps all it needs have to get done in each second of a fault.
const LEAST_PER_SECOND: u64 = 2;

/// One fault of a round, with the proof that it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Struck {
    /// What was to go wrong.
    pub fault: Fault,
    /// When it was ordered.
    pub at: Micros,
    /// What shows that it happened: other process ids, stopped processes, bytes or connections that the WAN lost.
    pub evidence: Option<String>,
}

/// A round of faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// Counted from 1.
    pub number: usize,
    /// The faults.
    pub struck: Vec<Struck>,
    /// When.
    pub window: Window,
    /// What could not be done, if anything.
    pub error: Option<String>,
}

/// A round with what it cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// What happened.
    #[serde(flatten)]
    pub happened: Happened,
    /// What the store's clients noticed, by the region they are in.
    pub store: BTreeMap<String, Cost>,
    /// What visitors noticed, by where they come from.
    pub page: BTreeMap<String, Cost>,
    /// The slowest page, in milliseconds.
    pub slowest_page_ms: u64,
    /// How long after mending was ordered every region showed all that had been acknowledged before, in milliseconds.
    pub converged_ms: Option<u64>,
    /// Writes that the fault kept from crossing the struck regions' borders.
    pub held_back: u64,
    /// Why this round proves nothing; empty when it does.
    pub vacuous: Vec<String>,
}

/// Judges a round: what it cost, and whether it was one.
#[must_use]
pub fn judge(happened: Happened, history: &History) -> Judged {
    let window = &happened.window;
    let store = measure::of_the_store(history, window);
    let page = measure::of_the_page(history, window);
    let struck = |region: &str| {
        let mut faults = happened.struck.iter().map(|struck| &struck.fault);
        faults.any(|fault| fault.harms(region))
    };
    let mut vacuous = Vec::new();
    for struck in &happened.struck {
        if struck.evidence.is_none() {
            vacuous.push(format!("{}: nothing shows that it happened", struck.fault));
        }
    }
    let seconds = window.end.saturating_sub(window.begin) / 1_000_000;
    let least = LEAST_PER_SECOND.saturating_mul(seconds.max(1));
    for (region, cost) in store.iter().filter(|(region, _)| !struck(region)) {
        if cost.ok_during < least {
            let ok = cost.ok_during;
            vacuous.push(format!(
                "only {ok} calls succeeded in {region}, which was not struck; at least {least} are needed"
            ));
        }
    }
    for (home, cost) in &page {
        if cost.ok == 0 {
            vacuous.push(format!("no visitor from {home} got the page"));
        }
    }
    let cut = happened
        .struck
        .iter()
        .filter(|struck| struck.fault.kind.direction().is_some());
    let mut held_back = 0;
    for struck in cut {
        let held = measure::held_back(history, &struck.fault.region, window);
        if held == 0 {
            vacuous.push(format!("{}: it kept nothing from crossing", struck.fault));
        }
        held_back += held;
    }
    Judged {
        slowest_page_ms: measure::slowest_page_ms(history, window),
        converged_ms: measure::converged_ms(history, window),
        store,
        page,
        held_back,
        vacuous,
        happened,
    }
}
