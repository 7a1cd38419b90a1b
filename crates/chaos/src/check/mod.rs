//! Judges a history: nothing lost, nothing doubled, nothing back from the dead.
//!
//! All regions of a run share one wall clock, that of the machine. A write is stamped between its
//! begin and its acknowledgement, so of two acknowledged writes of a key the one that began after the other
//! had ended (by more than [`GRAIN`]) has the later stamp, wherever they were carried out.
//! What only holds while a region's own provider answers is asked only while it did ([`local`]).
//!
//! * [`counter`]: all acknowledged increments and no more than the attempted ones;
//! * [`register`]: the last write stays, and what was deleted stays away;
//! * [`tally`]: counters that are deleted and begin again;
//! * [`view`]: what a region showed on the way there;
//! * [`session`]: a client reads what it wrote;
//! * [`visit`]: the page's own counters;
//! * [`agreement`]: in the end every region says the same.

mod agreement;
mod counter;
mod local;
mod register;
mod session;
mod tally;
mod track;
mod view;
mod visit;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::{History, Micros};
use crate::key::{kind, Kind};
use track::Track;

/// How exactly two writes are ordered by time. Stamps have milliseconds.
pub const GRAIN: Micros = 10_000;

/// In which way a history is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrong {
    /// An acknowledged write is gone.
    Lost,
    /// A write counts more than once.
    Doubled,
    /// What was deleted is back.
    Resurrected,
    /// An older value is where a newer one was or has to be.
    Stale,
    /// A value that nobody wrote, or whose writer was told that it was not written.
    Invented,
    /// Two regions say different things in the end.
    Differs,
}

/// What is wrong with a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// In which way.
    pub wrong: Wrong,
    /// The key, or `visits`.
    pub key: String,
    /// How many operations are affected.
    pub count: u64,
    /// The evidence, for people.
    pub says: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.wrong, self.key, self.says)
    }
}

/// How much was checked: a verdict over nothing is worth nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Calls that were acknowledged, reads included.
    pub acknowledged: u64,
    /// Calls that had no effect and said so.
    pub failed: u64,
    /// Calls of unknown outcome.
    pub unknown: u64,
    /// Increments that were acknowledged.
    pub increments: u64,
    /// Counters, those that begin again included.
    pub counters: u64,
    /// Registers.
    pub registers: u64,
    /// Acknowledged deletes of something that every region had shown: it may never be seen again.
    pub deletes: u64,
    /// Changes seen in the regions' Valkeys.
    pub views: u64,
    /// Reads of what the same client had written through the same region.
    pub own_reads: u64,
    /// Visits that were acknowledged.
    pub visits: u64,
}

/// What came of the checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Everything that is wrong.
    pub violations: Vec<Violation>,
    /// How much was checked.
    pub figures: Figures,
}

impl Verdict {
    /// Operations that are wrong in this way.
    #[must_use]
    pub fn count(&self, wrong: Wrong) -> u64 {
        let of_it = self.violations.iter().filter(|found| found.wrong == wrong);
        of_it.map(|found| found.count).sum()
    }

    fn add(&mut self, wrong: Wrong, key: &str, count: u64, says: String) {
        self.violations.push(Violation {
            wrong,
            key: key.to_owned(),
            count,
            says,
        });
    }
}

/// Judges a history.
#[must_use]
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    let spans = local::Spans::of(&history.probes, &history.strikes);
    for track in Track::all(history) {
        match kind(track.key) {
            Kind::Counter => counter::check(&track, &mut verdict),
            Kind::Tally => tally::check(&track, &mut verdict),
            Kind::Register => {
                register::check(&track, &mut verdict);
                view::check(&track, &mut verdict);
                session::check(&track, &spans, &mut verdict);
            }
            Kind::Page => {}
        }
        agreement::check(&track, &mut verdict);
    }
    visit::check(history, &mut verdict);
    for op in &history.ops {
        let counted = match &op.outcome {
            crate::history::Outcome::Ok(_) => &mut verdict.figures.acknowledged,
            crate::history::Outcome::Failed(_) => &mut verdict.figures.failed,
            crate::history::Outcome::Unknown(_) => &mut verdict.figures.unknown,
        };
        *counted += 1;
    }
    verdict.figures.views = u64::try_from(history.views.len()).unwrap_or(u64::MAX);
    verdict
}
