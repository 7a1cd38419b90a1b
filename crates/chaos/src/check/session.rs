//! Reads of a register, as its clients got them.

use crate::history::{Call, Op, Outcome};
use crate::key::is_own;

use super::local::Spans;
use super::track::{at, Track};
use super::{Verdict, Wrong};

/// A read gives what somebody had begun to write; of a register that a client has for itself it gives what the client
/// wrote last, while the region's own provider answers. What another region still held at that time may have been read
/// there.
pub(super) fn check(track: &Track<'_>, spans: &Spans<'_>, verdict: &mut Verdict) {
    let writes = track.writes();
    let mut written: Option<&Op> = None;
    let mut maybe: Vec<&str> = Vec::new();
    let mut maybe_deleted = false;
    for op in &track.ops {
        match (&op.call, &op.outcome) {
            (Call::Get, Outcome::Ok(value)) => {
                let value = value.as_deref();
                if let Some(Err(says)) = value.map(|value| writes.of(value, op.end)) {
                    verdict.add(Wrong::Invented, track.key, 1, says);
                    continue;
                }
                let Some(written) = written.filter(|written| spans.cover(written, op)) else {
                    continue;
                };
                verdict.figures.own_reads += 1;
                let expected = match &written.call {
                    Call::Set(value) => Some(value.as_str()),
                    _ => None,
                };
                let excused = match value {
                    Some(value) => maybe.contains(&value),
                    None => maybe_deleted,
                };
                // A provider may leave its queue group for a moment between two probes.
                let excused = excused || track.was_elsewhere(op, value);
                if value != expected && !excused {
                    let says = format!(
                        "{} read {value:?} in {} at {}, after {:?} was acknowledged at {}",
                        op.client,
                        op.region,
                        at(op.end),
                        written.call,
                        at(written.end)
                    );
                    verdict.add(Wrong::Stale, track.key, 1, says);
                }
            }
            (Call::Set(_) | Call::Delete, Outcome::Ok(_)) if is_own(track.key) => {
                written = Some(op);
            }
            // It may take effect now or at any time later.
            (Call::Set(value), Outcome::Unknown(_)) => maybe.push(value),
            (Call::Delete, Outcome::Unknown(_)) => maybe_deleted = true,
            _ => {}
        }
    }
}
