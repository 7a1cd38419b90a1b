//! Counters of which nothing is done but increment.

use crate::history::{Call, Micros, Op, Outcome};

use super::track::{at, Track};
use super::{Verdict, Wrong};

/// In the end a counter is all acknowledged increments and some of those of unknown outcome; on the
/// way it never falls in a region, and never is more than what was attempted by then.
pub(super) fn check(track: &Track<'_>, verdict: &mut Verdict) {
    let (mut acknowledged, mut unknown) = (0_u64, 0_u64);
    let mut attempts = Vec::new();
    for op in &track.ops {
        let Call::Increment(delta) = op.call else {
            continue;
        };
        match op.outcome {
            Outcome::Ok(_) => {
                acknowledged += delta;
                verdict.figures.increments += 1;
            }
            Outcome::Unknown(_) => unknown += delta,
            Outcome::Failed(_) => continue,
        }
        attempts.push((op.start, delta));
    }
    let attempted = Attempted::new(attempts);
    verdict.figures.counters += 1;
    for value in track.finals() {
        let Some(value) = number(track, value, verdict) else {
            continue;
        };
        let sum = format!("{value} in the end, {acknowledged} acknowledged, {unknown} unknown");
        if value < acknowledged {
            verdict.add(Wrong::Lost, track.key, acknowledged - value, sum);
        } else if value > acknowledged + unknown {
            let more = value - acknowledged - unknown;
            verdict.add(Wrong::Doubled, track.key, more, sum);
        }
    }
    for op in &track.ops {
        answered(track, op, &attempted, verdict);
    }
    for (region, views) in &track.views {
        let mut before = 0;
        for view in views {
            let Some(value) = number(track, view.value.as_deref(), verdict) else {
                continue;
            };
            if value < before {
                let says = format!(
                    "fell from {before} to {value} in {region} at {}",
                    at(view.at)
                );
                verdict.add(Wrong::Lost, track.key, before - value, says);
            }
            exceeds(track, value, view.at, &attempted, region, verdict);
            before = value;
        }
    }
}

fn answered(track: &Track<'_>, op: &Op, attempted: &Attempted, verdict: &mut Verdict) {
    if let Outcome::Ok(Some(sum)) = &op.outcome {
        if let Some(sum) = number(track, Some(sum), verdict) {
            exceeds(track, sum, op.end, attempted, &op.region, verdict);
        }
    }
}

fn exceeds(
    track: &Track<'_>,
    value: u64,
    by: Micros,
    attempted: &Attempted,
    region: &str,
    verdict: &mut Verdict,
) {
    let most = attempted.by(by);
    if value > most {
        let says = format!(
            "{value} in {region} at {}, only {most} were attempted by then",
            at(by)
        );
        verdict.add(Wrong::Doubled, track.key, value - most, says);
    }
}

/// A counter's value; what is none is wrong.
pub(super) fn number(track: &Track<'_>, value: Option<&str>, verdict: &mut Verdict) -> Option<u64> {
    let Some(value) = value else {
        return Some(0);
    };
    let number = value.parse().ok();
    if number.is_none() {
        let says = format!("`{value}` is no number");
        verdict.add(Wrong::Invented, track.key, 1, says);
    }
    number
}

/// How much was attempted by when.
pub(super) struct Attempted(Vec<(Micros, u64)>);

impl Attempted {
    /// From increments that were not refused, by when they began.
    pub fn new(mut attempts: Vec<(Micros, u64)>) -> Self {
        attempts.sort_unstable();
        let mut sum = 0;
        for (_, delta) in &mut attempts {
            sum += *delta;
            *delta = sum;
        }
        Self(attempts)
    }

    /// The sum of those that had begun.
    pub fn by(&self, when: Micros) -> u64 {
        let begun = self.0.partition_point(|(start, _)| *start <= when);
        let last = begun.checked_sub(1).and_then(|last| self.0.get(last));
        last.map_or(0, |(_, sum)| *sum)
    }
}
