//! Visits of the page, which a component counts.

use crate::history::History;

use super::{Verdict, Wrong};

/// The visits counted lie between those acknowledged and the requests that the edge sent to regions; every region
/// counts the same.
pub(super) fn check(history: &History, verdict: &mut Verdict) {
    let Some(books) = &history.books else {
        return;
    };
    let pages = history.visits.iter().filter(|visit| visit.page.is_some());
    let acknowledged = u64::try_from(pages.count()).unwrap_or(u64::MAX);
    verdict.figures.visits = acknowledged;
    let mut counts: Vec<u64> = books.counted.iter().map(|(_, counted)| *counted).collect();
    counts.sort_unstable();
    counts.dedup();
    if counts.len() > 1 {
        let says = format!("{:?}", books.counted);
        verdict.add(Wrong::Differs, "visits", 1, says);
    }
    for counted in counts {
        let attempts = books.attempts;
        let says = format!("{counted} counted, {acknowledged} acknowledged, {attempts} attempts");
        if counted < acknowledged {
            verdict.add(Wrong::Lost, "visits", acknowledged - counted, says);
        } else if counted > attempts {
            verdict.add(Wrong::Doubled, "visits", counted - attempts, says);
        }
    }
}
