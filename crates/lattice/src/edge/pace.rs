//! How long a region usually takes, so that a slow but healthy one is not asked twice.

use std::time::Duration;

/// Smoothed answer time and its deviation, as TCP estimates its retransmission timeout (RFC 6298).
#[derive(Debug, Default)]
pub(super) struct Pace {
    estimate: Option<(Duration, Duration)>,
}

impl Pace {
    pub fn observe(&mut self, took: Duration) {
        self.estimate = Some(match self.estimate {
            None => (took, took / 2),
            Some((mean, deviation)) => (
                mean * 7 / 8 + took / 8,
                deviation * 3 / 4 + took.abs_diff(mean) / 4,
            ),
        });
    }

    /// Longer than nearly every answer takes, within bounds.
    pub fn patience(&self, least: Duration, most: Duration) -> Duration {
        let usual = self
            .estimate
            .map_or(least, |(mean, deviation)| mean + deviation * 4);
        usual.min(most).max(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_millis(900);

    #[test]
    fn patience_follows_a_steady_region_and_stays_in_bounds() {
        let mut pace = Pace::default();
        assert_eq!(pace.patience(LEAST, MOST), LEAST);
        for _ in 0..100 {
            pace.observe(Duration::from_millis(640));
        }
        let patience = pace.patience(LEAST, MOST);
        assert!(
            patience >= Duration::from_millis(620) && patience < Duration::from_millis(700),
            "{patience:?}"
        );
        for _ in 0..100 {
            pace.observe(Duration::from_millis(5));
        }
        assert_eq!(pace.patience(LEAST, MOST), LEAST);
        pace.observe(Duration::from_secs(60));
        assert_eq!(pace.patience(LEAST, MOST), MOST);
    }
}
