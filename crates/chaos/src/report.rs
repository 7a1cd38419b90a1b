//! The whole of a run: what `report.json` holds and `report.html` shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::check::{check, Figures, Violation, Wrong};
use crate::history::{History, Micros, Outcome};
use crate::round::{judge, Happened, Judged};

/// What a run was asked to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The seed of the schedule and of the clients.
    pub seed: u64,
    /// For how long faults begin.
    pub minutes: f64,
    /// The edge regions.
    pub regions: Vec<String>,
    /// Round trip between two regions, in milliseconds.
    pub wan_ms: u64,
}

impl Asked {
    /// The command that runs the same schedule again.
    #[must_use]
    pub fn again(&self) -> String {
        let Self { seed, minutes, .. } = self;
        let mut text = format!("make chaos ARGS='--minutes {minutes} --seed {seed}");
        let usual = Self::default();
        if self.regions != usual.regions {
            let _ = write!(text, " --regions {}", self.regions.join(","));
        }
        if self.wan_ms != usual.wan_ms {
            let _ = write!(text, " --wan-ms {}", self.wan_ms);
        }
        text.push('\'');
        text
    }
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            seed: 0,
            minutes: 2.0,
            regions: ["iad", "fra", "sin"].map(str::to_owned).into(),
            wan_ms: 80,
        }
    }
}

/// How many calls of a group of clients ended well and not, second by second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// Ended well.
    pub ok: Vec<u32>,
    /// Did not.
    pub bad: Vec<u32>,
}

impl Pulse {
    fn beat(&mut self, at: Micros, ok: bool) {
        let second = usize::try_from(at / 1_000_000).unwrap_or(usize::MAX);
        let beats = if ok { &mut self.ok } else { &mut self.bad };
        if beats.len() <= second {
            beats.resize(second + 1, 0);
        }
        if let Some(beat) = beats.get_mut(second) {
            *beat += 1;
        }
    }
}

/// The end of a run: when everything was mended and nobody wrote any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// When the last client had stopped.
    pub quiet_at: Micros,
    /// How long it took until every region said that it was in step, in milliseconds.
    pub in_step_ms: Option<u64>,
    /// How long until every region had found its digest equal to every other one's, in milliseconds.
    pub digests_equal_ms: Option<u64>,
    /// Conflicts that the regions resolved.
    pub conflicts: u64,
    /// Why there is no end to judge, if so.
    pub error: Option<String>,
}

/// Everything about a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was asked for.
    pub asked: Asked,
    /// Whether nothing is wrong and everything was tried.
    pub passed: bool,
    /// Acknowledged operations that are gone.
    pub lost: u64,
    /// Operations that count twice.
    pub doubled: u64,
    /// Everything that is wrong.
    pub violations: Vec<Violation>,
    /// Why the run proves nothing; empty when it does.
    pub vacuous: Vec<String>,
    /// How much was checked.
    pub figures: Figures,
    /// The rounds of faults.
    pub rounds: Vec<Judged>,
    /// The end.
    pub ending: Ending,
    /// The store's clients, by region.
    pub store: BTreeMap<String, Pulse>,
    /// The page's visitors, by where they come from.
    pub page: BTreeMap<String, Pulse>,
    /// Runs the same schedule again.
    pub again: String,
}

impl Report {
    /// Judges a run.
    #[must_use]
    pub fn new(asked: Asked, happened: Vec<Happened>, ending: Ending, history: &History) -> Self {
        let verdict = check(history);
        let rounds: Vec<Judged> = happened
            .into_iter()
            .map(|round| judge(round, history))
            .collect();
        let mut store: BTreeMap<String, Pulse> = BTreeMap::new();
        for op in &history.ops {
            let pulse = store.entry(op.region.clone()).or_default();
            pulse.beat(op.end, matches!(op.outcome, Outcome::Ok(_)));
        }
        let mut page: BTreeMap<String, Pulse> = BTreeMap::new();
        for visit in &history.visits {
            let pulse = page.entry(visit.home.clone()).or_default();
            pulse.beat(visit.end, visit.page.is_some());
        }
        let vacuous = vacuous(&rounds, &ending, &verdict.figures, history);
        Self {
            passed: verdict.violations.is_empty() && vacuous.is_empty(),
            lost: verdict.count(Wrong::Lost),
            doubled: verdict.count(Wrong::Doubled),
            violations: verdict.violations,
            vacuous,
            figures: verdict.figures,
            rounds,
            ending,
            store,
            page,
            again: asked.again(),
            asked,
        }
    }

    /// How long the run was.
    #[must_use]
    pub fn length(&self) -> Micros {
        let last = self
            .rounds
            .last()
            .map_or(0, |round| round.happened.window.healed);
        self.ending.quiet_at.max(last)
    }
}

/// Why a run proves nothing: a fault that was none, load that was none, checks that looked at nothing.
fn vacuous(
    rounds: &[Judged],
    ending: &Ending,
    figures: &Figures,
    history: &History,
) -> Vec<String> {
    let mut reasons = Vec::new();
    if rounds.is_empty() {
        reasons.push("no fault was tried".to_owned());
    }
    for round in rounds {
        let number = round.happened.number;
        let said = round
            .vacuous
            .iter()
            .map(|why| format!("round {number}: {why}"));
        reasons.extend(said);
        if let Some(error) = &round.happened.error {
            reasons.push(format!("round {number}: {error}"));
        }
        if round.converged_ms.is_none() {
            reasons.push(format!(
                "round {number}: the regions never showed the same again"
            ));
        }
    }
    if let Some(error) = &ending.error {
        reasons.push(error.clone());
    }
    if history.last.is_empty() || history.books.is_none() {
        reasons.push("the last state was not read".to_owned());
    }
    for (what, count) in [
        ("increment was acknowledged", figures.increments),
        ("register was used", figures.registers),
        ("delete had to hold", figures.deletes),
        ("change was seen in a Valkey", figures.views),
        ("client read what it wrote", figures.own_reads),
        ("visit was acknowledged", figures.visits),
    ] {
        if count == 0 {
            reasons.push(format!("no {what}"));
        }
    }
    reasons
}
