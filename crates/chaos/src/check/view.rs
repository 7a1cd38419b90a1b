//! What a region showed of a register on the way.

use std::collections::BTreeSet;

use crate::history::View;

use super::track::{at, Set, Track, Writes};
use super::{Verdict, Wrong};

/// A region's value of a register only moves on: nothing comes back once something else was there, nothing
/// older than what was there appears, and nothing disappears that nobody deleted.
pub(super) fn check(track: &Track<'_>, verdict: &mut Verdict) {
    let writes = track.writes();
    for (region, views) in &track.views {
        let mut past = Past::default();
        for view in views {
            if let Some((wrong, says)) = past.next(&writes, view) {
                let says = format!("{region} at {}: {says}", at(view.at));
                verdict.add(wrong, track.key, 1, says);
            }
        }
    }
}

/// What a region has shown so far.
#[derive(Default)]
struct Past<'a> {
    now: Option<&'a str>,
    gone: BTreeSet<&'a str>,
    /// The set that began last.
    newest: Option<Set<'a>>,
}

impl<'a> Past<'a> {
    fn next(&mut self, writes: &Writes<'a>, view: &'a View) -> Option<(Wrong, String)> {
        let before = self.now;
        let value = view.value.as_deref();
        if before == value {
            return None;
        }
        self.gone.extend(before);
        self.now = value;
        let Some(value) = value else {
            return Self::disappears(writes, before, view);
        };
        let set = match writes.of(value, view.at) {
            Ok(set) => set,
            Err(says) => return Some((Wrong::Invented, says)),
        };
        let newest = self.newest.clone();
        if newest
            .as_ref()
            .is_none_or(|newest| newest.op.start < set.op.start)
        {
            self.newest = Some(set.clone());
        }
        if self.gone.contains(value) {
            let (wrong, instead) = match before {
                None => (Wrong::Resurrected, "it had been deleted"),
                Some(_) => (Wrong::Stale, "another value had replaced it"),
            };
            return Some((wrong, format!("`{value}` is back, {instead}")));
        }
        let newest = newest.filter(|newest| newest.is_after(set))?;
        let says = format!(
            "`{value}` of {} after {:?} of {}",
            at(set.op.start),
            newest.op.call,
            at(newest.op.start)
        );
        Some((Wrong::Stale, says))
    }

    fn disappears(
        writes: &Writes<'a>,
        before: Option<&str>,
        view: &View,
    ) -> Option<(Wrong, String)> {
        let before = before?;
        // What nobody wrote was noticed when it appeared.
        let set = writes.sets.get(before)?;
        let mut deletes = writes.deletes.iter();
        let explained =
            deletes.any(|delete| delete.start <= view.at && set.may_be_deleted_by(delete));
        let says = || format!("`{before}` is gone, and nobody deleted it");
        (!explained).then(|| (Wrong::Lost, says()))
    }
}
