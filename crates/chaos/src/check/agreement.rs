//! In the end every region says the same, in its Valkey and through its provider.

use super::track::Track;
use super::{Verdict, Wrong};

/// Every region says the same of the key.
pub(super) fn check(track: &Track<'_>, verdict: &mut Verdict) {
    if track.finals().len() < 2 {
        return;
    }
    let says: Vec<String> = track
        .last
        .iter()
        .map(|last| format!("{} ({:?}) {:?}", last.region, last.way, last.value))
        .collect();
    verdict.add(Wrong::Differs, track.key, 1, says.join(", "));
}
