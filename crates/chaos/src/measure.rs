//! What faults cost, read off a history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::{Call, History, Micros, Op, Visit};
use crate::key::is_own;

/// The faults of a round, as they happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When the first fault struck.
    pub begin: Micros,
    /// When mending was ordered.
    pub end: Micros,
    /// When everything served again.
    pub healed: Micros,
}

/// What one group of clients noticed of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Calls or pages that were answered well.
    pub ok: u64,
    /// Of them, those while the fault lasted.
    pub ok_during: u64,
    /// Calls that were refused, or pages that were not got.
    pub failed: u64,
    /// Calls of unknown outcome.
    pub unknown: u64,
    /// The longest time without a good answer, in milliseconds.
    pub gap_ms: u64,
}

/// What a call of a group of clients came to.
enum Came {
    Ok,
    Failed,
    Unknown,
}

fn cost(window: &Window, calls: impl Iterator<Item = (Micros, Came)>) -> Cost {
    let mut cost = Cost::default();
    // A group that has had no answer before is taken to have had one at the begin.
    let mut last = window.begin;
    let mut gap = 0;
    let mut calls: Vec<_> = calls.collect();
    calls.sort_by_key(|(end, _)| *end);
    for (end, came) in calls {
        let within = window.begin <= end && end <= window.healed;
        match came {
            Came::Ok => {
                if end >= window.begin && last <= window.healed {
                    gap = gap.max(end.saturating_sub(last.max(window.begin)));
                }
                last = end;
                cost.ok += u64::from(within);
                cost.ok_during += u64::from(within && end <= window.end);
            }
            Came::Failed => cost.failed += u64::from(within),
            Came::Unknown => cost.unknown += u64::from(within),
        }
    }
    cost.gap_ms = gap.max(window.healed.saturating_sub(last)) / 1_000;
    cost
}

/// What the store's clients noticed, by the region they are in.
#[must_use]
pub fn of_the_store(history: &History, window: &Window) -> BTreeMap<String, Cost> {
    let mut by_region: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in &history.ops {
        by_region.entry(&op.region).or_default().push(op);
    }
    let costs = by_region.into_iter().map(|(region, ops)| {
        let came = |op: &Op| match op.outcome {
            crate::history::Outcome::Ok(_) => Came::Ok,
            crate::history::Outcome::Failed(_) => Came::Failed,
            crate::history::Outcome::Unknown(_) => Came::Unknown,
        };
        let calls = ops.into_iter().map(|op| (op.end, came(op)));
        (region.to_owned(), cost(window, calls))
    });
    costs.collect()
}

/// What the page's visitors noticed, by where they come from.
#[must_use]
pub fn of_the_page(history: &History, window: &Window) -> BTreeMap<String, Cost> {
    let mut by_home: BTreeMap<&str, Vec<&Visit>> = BTreeMap::new();
    for visit in &history.visits {
        by_home.entry(&visit.home).or_default().push(visit);
    }
    let costs = by_home.into_iter().map(|(home, visits)| {
        let came = |visit: &Visit| match visit.page {
            Some(_) => Came::Ok,
            None => Came::Failed,
        };
        let calls = visits.into_iter().map(|visit| (visit.end, came(visit)));
        (home.to_owned(), cost(window, calls))
    });
    costs.collect()
}

/// The slowest page that was asked for while the fault lasted or was mended, in milliseconds.
#[must_use]
pub fn slowest_page_ms(history: &History, window: &Window) -> u64 {
    let within = |visit: &&Visit| visit.end >= window.begin && visit.start <= window.healed;
    let took = |visit: &Visit| visit.end.saturating_sub(visit.start) / 1_000;
    let visits = history.visits.iter().filter(within);
    visits.map(took).max().unwrap_or_default()
}

/// How long after mending was ordered every region showed all that had been acknowledged before, in
/// milliseconds; `None` when one never did.
///
/// Read off the registers that one client each writes: their last acknowledged write, or a later one, has to have been
/// seen in every region's own Valkey.
#[must_use]
pub fn converged_ms(history: &History, window: &Window) -> Option<u64> {
    let due = due(history, window.end);
    let mut latest = window.end;
    for region in &history.regions {
        let mut waits: BTreeMap<&str, &Due<'_>> =
            due.iter().map(|due| (due.op.key.as_str(), due)).collect();
        let views = history.views.iter().filter(|view| view.region == *region);
        for view in views {
            let Some(due) = waits.get(view.key.as_str()) else {
                continue;
            };
            let Some(value) = view.value.as_deref() else {
                continue;
            };
            if due.values.contains(&value) {
                latest = latest.max(view.at);
                waits.remove(view.key.as_str());
            }
        }
        if !waits.is_empty() {
            return None;
        }
    }
    Some(latest.saturating_sub(window.end) / 1_000)
}

/// Writes that were acknowledged while the fault lasted, a second before its end at least, and that did not cross
/// the region's border by then: neither they nor a later write of their key.
#[must_use]
pub fn held_back(history: &History, region: &str, window: &Window) -> u64 {
    let mut begun: BTreeMap<&str, (&Op, Micros)> = BTreeMap::new();
    for op in history.ops.iter().filter(|op| is_own(&op.key)) {
        if let Call::Set(value) = &op.call {
            begun.insert(value, (op, op.start));
        }
    }
    // The newest write of each key that was seen on the other side of the border.
    let mut crossed: BTreeMap<&str, Micros> = BTreeMap::new();
    for view in history.views.iter().filter(|view| view.at <= window.end) {
        let written = view.value.as_deref().and_then(|value| begun.get(value));
        let Some((op, start)) = written else {
            continue;
        };
        if (op.region == region) != (view.region == region) {
            let newest = crossed.entry(&view.key).or_default();
            *newest = (*newest).max(*start);
        }
    }
    let held = begun.values().filter(|(op, start)| {
        let early = op.end.saturating_add(1_000_000) < window.end;
        let within = *start >= window.begin && early;
        let seen = crossed.get(op.key.as_str()).is_some_and(|at| at >= start);
        within && op.outcome.is_ok() && !seen
    });
    u64::try_from(held.count()).unwrap_or(u64::MAX)
}

/// A register's last acknowledged write before a moment.
struct Due<'a> {
    op: &'a Op,
    /// Its value and those of later writes.
    values: Vec<&'a str>,
}

fn due(history: &History, before: Micros) -> Vec<Due<'_>> {
    let mut by_key: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in history.ops.iter().filter(|op| is_own(&op.key)) {
        by_key.entry(&op.key).or_default().push(op);
    }
    let dues = by_key.into_values().filter_map(|mut ops| {
        ops.sort_by_key(|op| op.start);
        let deleted_later = |op: &&Op| op.call == Call::Delete && op.end > before;
        if ops.iter().any(deleted_later) {
            return None;
        }
        let due = |op: &&Op| op.end <= before && op.outcome.is_ok() && op.call != Call::Get;
        let at = ops.iter().rposition(due)?;
        let op = *ops.get(at)?;
        // What was deleted last need not be seen anywhere, nor what a delete without an answer may have taken.
        let rest = ops.get(at.saturating_add(1)..).unwrap_or_default();
        if !matches!(op.call, Call::Set(_)) || rest.iter().any(|op| op.call == Call::Delete) {
            return None;
        }
        let values = ops.iter().skip(at).filter_map(|op| match &op.call {
            Call::Set(value) => Some(value.as_str()),
            _ => None,
        });
        Some(Due {
            op,
            values: values.collect(),
        })
    });
    dues.collect()
}
