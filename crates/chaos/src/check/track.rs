//! Everything that a history says of one key.

use std::collections::BTreeMap;

use crate::history::{Call, History, Last, Micros, Op, Outcome, View};

use super::GRAIN;

/// Time between two looks into a region's Valkey, and a little more.
const LOOK: Micros = 150_000;

/// Everything about a key.
#[derive(Debug, Default)]
pub(super) struct Track<'a> {
    pub key: &'a str,
    /// Every region with a store.
    pub regions: &'a [String],
    /// By their begin.
    pub ops: Vec<&'a Op>,
    /// By region, in order.
    pub views: BTreeMap<&'a str, Vec<&'a View>>,
    pub last: Vec<&'a Last>,
}

impl<'a> Track<'a> {
    /// One for each key.
    pub fn all(history: &'a History) -> Vec<Self> {
        let mut tracks: BTreeMap<&str, Self> = BTreeMap::new();
        let regions = history.regions.as_slice();
        let mut of = |key: &'a str, note: &mut dyn FnMut(&mut Self)| {
            let track = tracks.entry(key).or_insert_with(|| Self {
                key,
                regions,
                ..Self::default()
            });
            note(track);
        };
        for op in &history.ops {
            of(&op.key, &mut |track| track.ops.push(op));
        }
        for view in &history.views {
            of(&view.key, &mut |track| {
                track.views.entry(&view.region).or_default().push(view);
            });
        }
        for last in &history.last {
            of(&last.key, &mut |track| track.last.push(last));
        }
        let mut tracks: Vec<Self> = tracks.into_values().collect();
        for track in &mut tracks {
            track.ops.sort_by_key(|op| op.start);
            for views in track.views.values_mut() {
                views.sort_by_key(|view| view.at);
            }
        }
        tracks
    }

    /// What the regions say in the end, each thing once.
    pub fn finals(&self) -> Vec<Option<&'a str>> {
        let mut finals: Vec<_> = self.last.iter().map(|last| last.value.as_deref()).collect();
        finals.sort_unstable();
        finals.dedup();
        finals
    }

    /// Whether another region than the reader's held this value while it was read, or up to two looks before.
    pub fn was_elsewhere(&self, read: &Op, value: Option<&str>) -> bool {
        let since = read.start.saturating_sub(2 * LOOK);
        self.regions
            .iter()
            .filter(|region| **region != read.region)
            .any(|region| {
                let views = self
                    .views
                    .get(region.as_str())
                    .map_or(&[][..], Vec::as_slice);
                let before = views.partition_point(|view| view.at < since);
                let then = views.partition_point(|view| view.at <= read.end.saturating_add(LOOK));
                let first = before.checked_sub(1).and_then(|last| views.get(last));
                let held = first.and_then(|view| view.value.as_deref()) == value;
                let mut within = views.get(before..then).unwrap_or_default().iter();
                held || within.any(|view| view.value.as_deref() == value)
            })
    }

    /// The sets and deletes of a register.
    pub fn writes(&self) -> Writes<'a> {
        let mut writes = Writes::default();
        for op in &self.ops {
            match &op.call {
                Call::Set(value) => {
                    let set = Set {
                        op,
                        latest: if op.outcome.is_ok() {
                            op.end
                        } else {
                            Micros::MAX
                        },
                        settled: None,
                    };
                    writes.sets.insert(value, set);
                }
                Call::Delete if op.outcome.may_be() => writes.deletes.push(op),
                _ => {}
            }
        }
        let mut seen: BTreeMap<&str, BTreeMap<&str, Micros>> = BTreeMap::new();
        for view in self.views.values().flatten() {
            if let Some(value) = view.value.as_deref() {
                let by_region = seen.entry(value).or_default();
                let first = by_region.entry(&view.region).or_insert(view.at);
                *first = view.at.min(*first);
            }
        }
        for (value, by_region) in seen {
            if let Some(set) = writes.sets.get_mut(value) {
                let first = by_region.values().min().copied();
                set.latest = set.latest.min(first.unwrap_or(Micros::MAX));
                let everywhere = self
                    .regions
                    .iter()
                    .all(|region| by_region.contains_key(region.as_str()));
                if everywhere {
                    set.settled = by_region.values().max().copied();
                }
            }
        }
        writes
    }
}

/// A set of a register.
#[derive(Clone, Debug)]
pub(super) struct Set<'a> {
    pub op: &'a Op,
    /// It was stamped by then: it was acknowledged or seen.
    pub latest: Micros,
    /// When every region had shown it.
    pub settled: Option<Micros>,
}

impl Set<'_> {
    /// Whether it has the later stamp for certain.
    pub fn is_after(&self, other: &Self) -> bool {
        self.op.start > other.latest.saturating_add(GRAIN)
    }

    /// Whether it may have been deleted by this.
    pub fn may_be_deleted_by(&self, delete: &Op) -> bool {
        let unknown = matches!(delete.outcome, Outcome::Unknown(_));
        unknown || delete.end.saturating_add(GRAIN) >= self.op.start
    }

    /// Whether it was deleted by this for certain: every region had shown it before.
    pub fn is_deleted_by(&self, delete: &Op) -> bool {
        let settled = self.settled.is_some_and(|at| at < delete.start);
        settled && delete.outcome.is_ok()
    }
}

/// The writes of a register.
#[derive(Debug, Default)]
pub(super) struct Writes<'a> {
    /// By the value, which no two writes share.
    pub sets: BTreeMap<&'a str, Set<'a>>,
    /// Those that were not refused, by their begin.
    pub deletes: Vec<&'a Op>,
}

impl<'a> Writes<'a> {
    /// The set of a value that was seen; an error in words when there is none that may be seen by then.
    pub fn of(&self, value: &str, by: Micros) -> Result<&Set<'a>, String> {
        match self.sets.get(value) {
            None => Err(format!("`{value}`, which nobody wrote")),
            Some(set) => match &set.op.outcome {
                Outcome::Failed(reason) => Err(format!(
                    "`{value}`, whose writer {} was told: {reason}",
                    set.op.client
                )),
                _ if set.op.start > by => {
                    Err(format!("`{value}`, before {} wrote it", set.op.client))
                }
                _ => Ok(set),
            },
        }
    }
}

/// A time in words.
pub(super) fn at(micros: Micros) -> String {
    let ms = micros / 1_000;
    format!("{}.{:03} s", ms / 1_000, ms % 1_000)
}
