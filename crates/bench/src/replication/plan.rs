//! What is measured of replication, and for how long.

use std::time::Duration;

/// Sizes and durations of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Round trips between regions, in milliseconds, for lag and healing.
    pub wan_ms: Vec<u64>,
    /// How long one store does one thing before it is another store's turn.
    pub slice: Duration,
    /// Turns that each store has.
    pub turns: usize,
    /// Callers at a time.
    pub callers: Vec<usize>,
    /// Writes whose way to another region is timed, at each round trip.
    pub lags: usize,
    /// Keys changed while a region is cut off.
    pub healed: Vec<usize>,
    /// How long the region is cut off at least: long enough for everybody to notice.
    pub cut: Duration,
    /// Keys whose memory is counted: so many that Valkey's tables are filled as they are on average.
    pub weighed: usize,
    /// Numbers of regions whose cost is measured.
    pub groups: Vec<usize>,
    /// Writes per second, and for how long, to measure that cost.
    pub pace: u32,
    pub paced: Duration,
}

impl Plan {
    pub fn new(quick: bool, full: bool, seconds: Option<f64>, wan_ms: Vec<u64>) -> Self {
        let seconds = seconds.unwrap_or(if quick { 0.8 } else { 4.0 });
        let turns = 8;
        let mut healed = vec![1_000, 100_000];
        healed.extend(full.then_some(1_000_000));
        Self {
            wan_ms,
            // A point is half as long as a page's, as there are many.
            slice: Duration::from_secs_f64(seconds / 16.0),
            turns,
            callers: if quick { vec![1] } else { vec![1, 16] },
            lags: if quick { 100 } else { 200 },
            healed,
            cut: Duration::from_secs(8),
            weighed: if quick { 20_000 } else { 80_000 },
            groups: if quick { vec![3] } else { vec![3, 5, 9] },
            pace: 200,
            paced: Duration::from_secs_f64(if quick { 2.0 } else { 5.0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_keys_are_healed_on_demand_alone() {
        let healed = |quick, full| Plan::new(quick, full, None, vec![0]).healed;
        assert_eq!(healed(true, false), [1_000, 100_000]);
        assert_eq!(healed(true, true), [1_000, 100_000, 1_000_000]);
        assert_eq!(healed(false, false), [1_000, 100_000]);
    }
}
