//! Takes the history down while it happens.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::history::{History, Micros, Op, Probe, Strike, View, Visit};

/// What has been noted so far, and the clock by which it is.
#[derive(Debug)]
pub struct Recorder {
    began: Instant,
    history: Mutex<History>,
}

/// How much has been noted, for people who watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Calls acknowledged.
    pub ok: usize,
    /// Calls without effect.
    pub failed: usize,
    /// Calls of unknown outcome.
    pub unknown: usize,
    /// Pages got.
    pub pages: usize,
    /// Pages not got.
    pub refused: usize,
}

impl Recorder {
    /// Begins a history over the regions with a store.
    #[must_use]
    pub fn new(regions: Vec<String>) -> Self {
        let history = History {
            regions,
            ..History::default()
        };
        Self {
            began: Instant::now(),
            history: Mutex::new(history),
        }
    }

    /// The time since the beginning.
    #[must_use]
    pub fn now(&self) -> Micros {
        Micros::try_from(self.began.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// Notes a call.
    pub fn op(&self, op: Op) {
        self.lock().ops.push(op);
    }

    /// Notes what lay in a Valkey.
    pub fn view(&self, view: View) {
        self.lock().views.push(view);
    }

    /// Notes who answered.
    pub fn probe(&self, probe: Probe) {
        self.lock().probes.push(probe);
    }

    /// Notes a fault.
    pub fn strike(&self, strike: Strike) {
        self.lock().strikes.push(strike);
    }

    /// Notes a visit.
    pub fn visit(&self, visit: Visit) {
        self.lock().visits.push(visit);
    }

    /// How much has been noted.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let history = self.lock();
        let mut progress = Progress::default();
        for op in &history.ops {
            match &op.outcome {
                crate::history::Outcome::Ok(_) => progress.ok += 1,
                crate::history::Outcome::Failed(_) => progress.failed += 1,
                crate::history::Outcome::Unknown(_) => progress.unknown += 1,
            }
        }
        progress.pages = history
            .visits
            .iter()
            .filter(|visit| visit.page.is_some())
            .count();
        progress.refused = history.visits.len() - progress.pages;
        progress
    }

    /// Everything noted; nothing is noted any more.
    #[must_use]
    pub fn take(&self) -> History {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        // Nothing panics under this lock; what a panic elsewhere left is still whole.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
