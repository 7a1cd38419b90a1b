//! What a register is in the end.

use crate::history::Micros;

use super::track::{at, Set, Track};
use super::{Verdict, Wrong};

/// A register holds a value that was written and that no later write replaced; one that was deleted after every
/// region had shown it is not there, and one that nothing can have deleted is.
pub(super) fn check(track: &Track<'_>, verdict: &mut Verdict) {
    let writes = track.writes();
    verdict.figures.registers += 1;
    let held =
        |delete: &&&crate::history::Op| writes.sets.values().any(|set| set.is_deleted_by(delete));
    let held = writes.deletes.iter().filter(held).count();
    verdict.figures.deletes += u64::try_from(held).unwrap_or(u64::MAX);
    let acknowledged: Vec<&Set<'_>> = writes
        .sets
        .values()
        .filter(|set| set.op.outcome.is_ok())
        .collect();
    for value in track.finals() {
        let Some(value) = value else {
            let kept = acknowledged.iter().find(|set| {
                let mut deletes = writes.deletes.iter();
                !deletes.any(|delete| set.may_be_deleted_by(delete))
            });
            if let Some(kept) = kept {
                let says = format!(
                    "nothing in the end, although {:?} was acknowledged at {} and no delete came after it",
                    kept.op.call,
                    at(kept.op.end)
                );
                verdict.add(Wrong::Lost, track.key, 1, says);
            }
            continue;
        };
        let set = match writes.of(value, Micros::MAX) {
            Ok(set) => set,
            Err(says) => {
                verdict.add(Wrong::Invented, track.key, 1, says);
                continue;
            }
        };
        if let Some(later) = acknowledged.iter().find(|later| later.is_after(set)) {
            let says = format!(
                "`{value}` of {} in the end, although {:?} was acknowledged at {}, begun at {}",
                at(set.op.start),
                later.op.call,
                at(later.op.end),
                at(later.op.start),
            );
            verdict.add(Wrong::Stale, track.key, 1, says);
        }
        let deleted = writes
            .deletes
            .iter()
            .find(|delete| set.is_deleted_by(delete));
        if let Some(delete) = deleted {
            let says = format!(
                "`{value}` in the end, which every region had shown before it was deleted at {}",
                at(delete.end)
            );
            verdict.add(Wrong::Resurrected, track.key, 1, says);
        }
    }
}
