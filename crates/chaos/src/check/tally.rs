//! Counters that one client deletes now and then.

use crate::history::{Call, Micros, Outcome};

use super::counter::number;
use super::track::Track;
use super::{Verdict, Wrong};

/// Increments that no delete has taken for certain.
#[derive(Default)]
struct Pending {
    /// Acknowledged, and nothing can have deleted them.
    kept: u64,
    /// All that may be there.
    most: u64,
}

/// A delete takes what its region had seen. It had seen everything when every region showed the sum of all that
/// was attempted, and the client waited for that: then nothing of it may be there any more. Else it may be.
pub(super) fn check(track: &Track<'_>, verdict: &mut Verdict) {
    let (mut pending, mut haunted, mut all) = (Pending::default(), false, 0_u64);
    for op in &track.ops {
        match (&op.call, &op.outcome) {
            (_, Outcome::Failed(_)) => {}
            (Call::Increment(delta), outcome) => {
                all += delta;
                pending.most += delta;
                if outcome.is_ok() {
                    verdict.figures.increments += 1;
                }
                // A delete that is still on its way may take it.
                if outcome.is_ok() && !haunted {
                    pending.kept += delta;
                }
            }
            (Call::Delete, Outcome::Ok(_)) => {
                let seen = shown_everywhere(track, op.start) == Some(pending.most);
                if seen && pending.most > 0 {
                    verdict.figures.deletes += 1;
                    pending.most = 0;
                }
                pending.kept = 0;
            }
            (Call::Delete, Outcome::Unknown(_)) => {
                pending.kept = 0;
                haunted = true;
            }
            _ => {}
        }
    }
    verdict.figures.counters += 1;
    for value in track.finals() {
        let Some(value) = number(track, value, verdict) else {
            continue;
        };
        let says = format!(
            "{value} in the end, {} to {} of its increments were not deleted, {all} ever attempted",
            pending.kept, pending.most
        );
        if value < pending.kept {
            verdict.add(Wrong::Lost, track.key, pending.kept - value, says);
        } else if value > all {
            verdict.add(Wrong::Doubled, track.key, value - all, says);
        } else if value > pending.most {
            let more = value - pending.most;
            verdict.add(Wrong::Resurrected, track.key, more, says);
        }
    }
}

/// The number that every region showed last before a moment, if it was the same everywhere.
fn shown_everywhere(track: &Track<'_>, before: Micros) -> Option<u64> {
    let mut shown = None;
    for region in track.regions {
        let views = track.views.get(region.as_str())?;
        let last = views.iter().rev().find(|view| view.at < before)?;
        let number: u64 = match &last.value {
            Some(value) => value.parse().ok()?,
            None => 0,
        };
        if *shown.get_or_insert(number) != number {
            return None;
        }
    }
    shown
}
