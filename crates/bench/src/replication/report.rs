//! What was found out about replication, and what of it is promised.

use serde::Serialize;

use super::cost::{Cost, Spent, ON_PAPER};
use super::heal::{self, Heal};
use super::lag::{self, Lag};
use super::memory::{self, Weight};
use super::operation::{Operation, Point, Way};
use crate::sample::micros;

/// A write in its region, beside the same in plain mode.
const WRITES: f64 = 1.5;
/// A read.
const READS: f64 = 1.1;

#[derive(Debug, Serialize)]
pub struct Report {
    pub points: Vec<Point>,
    pub lags: Vec<Lag>,
    pub heals: Vec<Heal>,
    pub weights: Vec<Weight>,
    pub costs: Vec<Cost>,
    /// What a write costs a region's processes in plain mode.
    pub plain: Spent,
    /// What a group of [`ON_PAPER`] regions would cost, if it goes on as it begins.
    pub on_paper: Option<OnPaper>,
    pub verdicts: Vec<Verdict>,
}

/// Drawn from the costs of smaller groups by a straight line.
#[derive(Debug, Serialize)]
pub struct OnPaper {
    pub regions: usize,
    /// Per write.
    pub hub_messages: f64,
    pub wan_bytes: f64,
    pub hub_us: f64,
    /// Per second. Grows with the cube: everybody says hello to everybody, and tells of everybody.
    pub at_rest_bytes: f64,
}

/// A promise, and what became of it.
#[derive(Debug, Serialize)]
pub struct Verdict {
    pub promise: String,
    /// What is promised at the most, in the promise's unit.
    pub promised: f64,
    pub measured: f64,
    pub unit: &'static str,
    pub held: bool,
}

impl Verdict {
    fn new(promise: String, promised: f64, measured: f64, unit: &'static str) -> Self {
        Self {
            promise,
            promised,
            measured,
            unit,
            // What was not measured is not held.
            held: measured <= promised,
        }
    }
}

impl Report {
    pub fn new(
        points: Vec<Point>,
        lags: Vec<Lag>,
        heals: Vec<Heal>,
        weights: Vec<Weight>,
        costs: Vec<Cost>,
        plain: Spent,
    ) -> Self {
        let mut verdicts = calls(&points);
        for lag in lags.iter().filter(|lag| !lag.busy) {
            // Milliseconds of a WAN.
            #[allow(clippy::cast_precision_loss)]
            let one_way = lag.wan_ms as f64 / 2.0;
            verdicts.push(Verdict::new(
                format!("lag p50 at {} ms round trip", lag.wan_ms),
                one_way + micros(lag::ALLOWED) / 1e3,
                lag.summary.p50_us / 1e3,
                "ms",
            ));
        }
        for heal in heals.iter().filter(|heal| heal.keys == heal::PROMISED) {
            verdicts.push(Verdict::new(
                format!("{} keys after a heal at {} ms", heal.keys, heal.wan_ms),
                heal::ALLOWED.as_secs_f64(),
                heal.all_s,
                "s",
            ));
        }
        for weight in &weights {
            verdicts.push(Verdict::new(
                format!(
                    "metadata of a {} (a name of {:.0} bytes)",
                    weight.kind.noun(),
                    weight.name_bytes
                ),
                memory::ALLOWED,
                weight.metadata_bytes(),
                "bytes",
            ));
        }
        Self {
            on_paper: on_paper(&costs),
            points,
            lags,
            heals,
            weights,
            costs,
            plain,
            verdicts,
        }
    }
}

/// Replicated beside plain, at one caller.
fn calls(points: &[Point]) -> Vec<Verdict> {
    let verdict = |operation: Operation| {
        let promised = if operation.writes() { WRITES } else { READS };
        let ratio = ratio(points, operation, Way::Replicated, 1);
        let name = super::table::operation(operation);
        Verdict::new(
            format!("{name} p50, replicated / plain"),
            promised,
            ratio,
            "×",
        )
    };
    Operation::ALL.map(verdict).into()
}

/// The median of an operation in replicated mode, in one way or the other, in medians of it in plain mode.
pub fn ratio(points: &[Point], operation: Operation, replicated: Way, callers: usize) -> f64 {
    let p50 = |way: Way| {
        let found = points.iter().find(|point| {
            point.operation == operation && point.way == way && point.callers == callers
        });
        found.map_or(f64::NAN, |point| point.summary.p50_us)
    };
    p50(replicated) / p50(Way::Plain)
}

fn on_paper(costs: &[Cost]) -> Option<OnPaper> {
    let regions = size(ON_PAPER);
    let goes_on = |of: &dyn Fn(&Cost) -> f64| {
        let points = costs.iter().map(|cost| (size(cost.regions), of(cost)));
        line(points).map(|line| line.at(regions))
    };
    let pairs = |regions: f64| regions * (regions - 1.0);
    let hub_messages = goes_on(&|cost| cost.per_write.hub_messages)?;
    Some(OnPaper {
        regions: ON_PAPER,
        hub_messages,
        // More messages, and each says of every region what its writer had seen.
        wan_bytes: hub_messages
            * goes_on(&|cost| cost.per_write.wan_bytes / cost.per_write.hub_messages)?,
        hub_us: goes_on(&|cost| cost.per_write.hub_us)?,
        // What one says to another is a straight line in the number of regions.
        at_rest_bytes: pairs(regions)
            * goes_on(&|cost| cost.at_rest.wan_bytes / pairs(size(cost.regions)))?,
    })
}

/// Numbers of regions.
#[allow(clippy::cast_precision_loss)]
fn size(regions: usize) -> f64 {
    regions as f64
}

/// A straight line.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: f64,
    slope: f64,
}

impl Line {
    fn at(self, x: f64) -> f64 {
        self.slope.mul_add(x, self.start)
    }
}

/// The line of least squares; none through less than two points.
fn line(points: impl Iterator<Item = (f64, f64)>) -> Option<Line> {
    let points: Vec<(f64, f64)> = points.collect();
    let count = size(points.len());
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let together: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    (spread > 0.0).then(|| {
        let slope = together / spread;
        Line {
            start: y - slope * x,
            slope,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sample::Samples;

    fn point(operation: Operation, way: Way, micros: u64) -> Point {
        let mut samples = Samples::default();
        samples.add(Duration::from_micros(micros));
        Point {
            operation,
            way,
            callers: 1,
            summary: samples.summarise(Duration::from_secs(1), 0),
        }
    }

    #[test]
    fn a_line_goes_on_as_its_points_begin() {
        let line = line([(3.0, 7.0), (5.0, 11.0), (9.0, 19.0)].into_iter()).unwrap();
        assert!((line.at(35.0) - 71.0).abs() < 1e-9, "{line:?}");
        assert!(self::line([(3.0, 7.0)].into_iter()).is_none());
    }

    #[test]
    fn reads_and_writes_are_held_to_their_own_promises() {
        let points = [
            point(Operation::Get, Way::Plain, 1000),
            point(Operation::Get, Way::Replicated, 1200),
            point(Operation::Set, Way::Plain, 1000),
            point(Operation::Set, Way::Replicated, 1200),
        ];
        let held: Vec<bool> = calls(&points).iter().map(|verdict| verdict.held).collect();
        // In the order of the operations; of three nothing was measured.
        assert_eq!(held, [false, false, false, true, false]);
    }
}
