//! Durations, and the figures made of them. Every duration is kept, so percentiles are exact.

use std::time::Duration;

use serde::Serialize;

/// Durations of the same thing, one after another.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    pub fn add(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        self.0.iter().sum()
    }

    /// The figures; `elapsed` is the time all of it took.
    pub fn summarise(mut self, elapsed: Duration, failed: usize) -> Summary {
        self.0.sort_unstable();
        let count = self.0.len();
        let us = |share| micros(percentile(&self.0, share));
        Summary {
            count,
            failed,
            per_second: ratio(count, elapsed),
            p50_us: us(0.5),
            p90_us: us(0.9),
            p99_us: us(0.99),
            max_us: us(1.0),
        }
    }
}

/// What is said of one point.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Answers measured.
    pub count: usize,
    /// Requests without a good answer; they are in no other figure.
    pub failed: usize,
    /// Good answers per second.
    pub per_second: f64,
    /// Half of the answers came within this many microseconds.
    pub p50_us: f64,
    /// Nine of ten.
    pub p90_us: f64,
    /// Ninety-nine of a hundred.
    pub p99_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// The nearest-rank percentile of sorted durations: the smallest that `share` of them do not exceed.
fn percentile(sorted: &[Duration], share: f64) -> Duration {
    // At most the length, so neither end is cut off.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// How many a second; 0 when there was no time.
#[allow(clippy::cast_precision_loss)]
pub fn ratio(count: usize, elapsed: Duration) -> f64 {
    if elapsed.is_zero() {
        0.0
    } else {
        count as f64 / elapsed.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(millis: impl IntoIterator<Item = u64>) -> Summary {
        let mut samples = Samples::default();
        millis
            .into_iter()
            .map(Duration::from_millis)
            .for_each(|sample| samples.add(sample));
        samples.summarise(Duration::from_secs(2), 1)
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let figures = summary((1..=200).rev());
        assert_eq!((figures.count, figures.failed), (200, 1));
        assert!((figures.per_second - 100.0).abs() < 1e-9);
        let expected = [100e3, 180e3, 198e3, 200e3];
        let seen = [
            figures.p50_us,
            figures.p90_us,
            figures.p99_us,
            figures.max_us,
        ];
        for (seen, expected) in seen.into_iter().zip(expected) {
            assert!((seen - expected).abs() < 1e-6, "{seen} {expected}");
        }
    }

    #[test]
    fn one_sample_is_every_percentile_and_none_is_zero() {
        let one = summary([7]);
        assert!((one.p50_us - 7e3).abs() < 1e-6 && (one.max_us - 7e3).abs() < 1e-6);
        assert!(summary([]).p99_us.abs() < 1e-9);
    }
}
