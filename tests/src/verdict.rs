//! Whether one request got what visitors are promised, and whether this machine is to blame if not.

use std::time::Duration;

use crate::ledger::{Entry, Outcome};

/// The edge's own deadline: sooner, a 503 has another cause than time.
pub const EDGE: Duration = Duration::from_millis(1_800);
/// A machine that stood still for longer may be why no region answered the edge within that.
const GRAVE: Duration = Duration::from_millis(500);

/// What is to be said of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The promise was kept.
    Kept,
    /// It was not, and may have been had the machine not stood still meanwhile.
    Excused,
    /// It was not.
    Broken,
}

impl Verdict {
    /// Of a request that was to bring the page within `bound`, or if `civil` a 503 that says when to
    /// come back. The machine stood still for so long of it.
    #[must_use]
    pub fn of(entry: &Entry, bound: Duration, civil: bool, still: Duration) -> Self {
        let answer = match entry.outcome {
            Outcome::Page { .. } => Self::Kept,
            Outcome::Refused {
                status: 503,
                retry_after: true,
            } => match civil {
                true => Self::Kept,
                false if entry.took >= EDGE && still > GRAVE => Self::Excused,
                false => Self::Broken,
            },
            Outcome::Refused { .. } | Outcome::Broken(_) => Self::Broken,
        };
        let time = if entry.took < bound {
            Self::Kept
        } else if entry.took < bound + still {
            Self::Excused
        } else {
            Self::Broken
        };
        answer.max(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Broken, Excused, Kept};

    const BOUND: Duration = Duration::from_secs(2);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn verdict(outcome: &Outcome, civil: bool, took: u64, still: u64) -> Verdict {
        let entry = Entry {
            at: Duration::ZERO,
            took: ms(took),
            home: "iad".to_owned(),
            outcome: outcome.clone(),
        };
        Verdict::of(&entry, BOUND, civil, ms(still))
    }

    #[test]
    fn a_late_page_is_excused_by_as_much_as_the_machine_stood_still() {
        let page = Outcome::Page {
            region: "iad".to_owned(),
            attempts: 1,
        };
        for civil in [false, true] {
            assert_eq!(verdict(&page, civil, 1_999, 0), Kept);
            assert_eq!(verdict(&page, civil, 2_000, 0), Broken);
            assert_eq!(verdict(&page, civil, 2_299, 300), Excused);
            assert_eq!(verdict(&page, civil, 2_300, 300), Broken);
        }
    }

    #[test]
    fn a_refusal_is_excused_at_the_edges_deadline_if_the_machine_stood_still_for_long() {
        let refusal = Outcome::Refused {
            status: 503,
            retry_after: true,
        };
        assert_eq!(verdict(&refusal, true, 10, 0), Kept);
        assert_eq!(verdict(&refusal, false, 1_800, 501), Excused);
        assert_eq!(verdict(&refusal, false, 1_800, 500), Broken);
        assert_eq!(verdict(&refusal, false, 1_799, 900), Broken, "too soon");
        for civil in [false, true] {
            assert_eq!(verdict(&refusal, civil, 2_600, 501), Broken, "too late");
        }
    }

    #[test]
    fn nothing_else_is_excused() {
        let refused = |status, retry_after| Outcome::Refused {
            status,
            retry_after,
        };
        let others = [
            refused(503, false),
            refused(500, true),
            Outcome::Broken("reset".to_owned()),
        ];
        for outcome in others {
            for civil in [false, true] {
                assert_eq!(verdict(&outcome, civil, 1_900, 1_000), Broken);
            }
        }
    }
}
