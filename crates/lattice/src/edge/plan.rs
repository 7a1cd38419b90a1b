//! The order in which regions are asked for one request.

/// Regions best first, round after round.
#[derive(Debug)]
pub(super) struct Plan<T> {
    order: Vec<T>,
    next: usize,
    end: usize,
}

impl<T: Clone> Plan<T> {
    pub fn new(order: Vec<T>, rounds: usize) -> Self {
        let end = order.len().saturating_mul(rounds);
        Self {
            order,
            next: 0,
            end,
        }
    }

    /// The next region that is not `busy` with an earlier attempt for the same request. After the first round one that
    /// is busy alone is asked again: its answer may be lost, and no other region has one.
    pub fn next(&mut self, busy: impl Fn(&T) -> bool) -> Option<T> {
        let alone = self.order.iter().filter(|region| busy(region)).count() == 1;
        while self.next < self.end {
            let candidate = self.order.get(self.next % self.order.len())?;
            let again = alone && self.next >= self.order.len();
            self.next += 1;
            if again || !busy(candidate) {
                return Some(candidate.clone());
            }
        }
        None
    }

    /// Whether what comes next starts another round; `None` at the end.
    pub fn starts_round(&self) -> Option<bool> {
        (self.next < self.end).then(|| self.next > 0 && self.next.is_multiple_of(self.order.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_is_asked_in_order_before_any_is_asked_again() {
        let mut plan = Plan::new(vec!["iad", "fra"], 2);
        assert_eq!(plan.starts_round(), Some(false));
        assert_eq!(plan.next(|_| false), Some("iad"));
        assert_eq!(plan.next(|_| false), Some("fra"));
        assert_eq!(plan.starts_round(), Some(true));
        assert_eq!(plan.next(|_| false), Some("iad"));
        assert_eq!(plan.next(|_| false), Some("fra"));
        assert_eq!(plan.starts_round(), None);
        assert_eq!(plan.next(|_| false), None);
    }

    #[test]
    fn regions_that_are_slow_together_are_not_asked_again() {
        let mut plan = Plan::new(vec!["iad", "fra"], 2);
        assert_eq!(plan.next(|_| false), Some("iad"));
        assert_eq!(plan.next(|region| *region == "iad"), Some("fra"));
        assert_eq!(plan.next(|_| true), None);
    }

    #[test]
    fn a_region_that_is_slow_alone_is_asked_again() {
        let mut plan = Plan::new(vec!["iad"], 2);
        assert_eq!(plan.next(|_| false), Some("iad"));
        assert_eq!(plan.next(|_| true), Some("iad"));
        assert_eq!(plan.next(|_| true), None);
    }

    #[test]
    fn a_plan_without_regions_is_over_at_once() {
        let mut plan = Plan::<&str>::new(Vec::new(), 2);
        assert_eq!(plan.starts_round(), None);
        assert_eq!(plan.next(|_| false), None);
    }
}
