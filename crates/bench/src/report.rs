//! What a run found out; the shape of the JSON.
//!
//! What was not asked for is not there.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::local::Local;
use crate::process::{Machine, RegionMemory};
use crate::replication;
use crate::sample::Summary;

/// A page may cost at most this many times the bare round trips it makes.
pub const PROMISED: f64 = 3.0;

#[derive(Debug, Serialize)]
pub struct Whole {
    pub machine: Machine,
    /// The command line.
    pub command: String,
    #[serde(flatten)]
    pub pages: Option<Report>,
    /// The page with a store in every region.
    pub local: Option<Local>,
    pub replication: Option<replication::report::Report>,
}

/// The pages.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The measured region.
    pub region: String,
    /// Counters in the store.
    pub keys: usize,
    /// Seconds that each page was measured.
    pub seconds: f64,
    /// One for each round trip between regions.
    pub sections: Vec<Section>,
    /// Before the first request.
    pub memory_at_rest: Vec<RegionMemory>,
    /// After the last.
    pub memory_after: Vec<RegionMemory>,
}

/// Everything at one round trip between regions.
#[derive(Debug, Serialize)]
pub struct Section {
    pub wan_ms: u64,
    pub calls: Vec<Call>,
    pub pages: Vec<Page>,
    pub verdicts: Vec<Verdict>,
    /// Medians of what cloud-hello says its own steps took at one connection, in microseconds.
    pub steps: BTreeMap<String, f64>,
}

/// A bare call, made by one caller, one after another.
#[derive(Debug, Serialize)]
pub struct Call {
    pub over: Over,
    pub name: &'static str,
    pub summary: Summary,
}

/// The road of a bare call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// Redis protocol, as far from Valkey as the measured region is.
    Valkey,
    /// NATS request and reply, from the region's leaf node.
    Nats,
    /// wRPC from the region's leaf node, the client kept.
    Wrpc,
    /// The same with a client for each call, as wasmCloud's host does.
    WrpcPerCall,
}

/// A page under load.
#[derive(Debug, Serialize)]
pub struct Page {
    pub design: Design,
    pub path: &'static str,
    pub connections: usize,
    pub summary: Summary,
    /// Attempts that the edge made for each request.
    pub attempts: Option<f64>,
    /// Processor microseconds for each answer, by process.
    pub processor_us: BTreeMap<String, f64>,
    /// The first failure, if any.
    pub failure: Option<String>,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Design {
    /// cloud-hello, asked at its region's own port.
    CloudHello,
    /// cloud-hello, asked through the edge.
    Edge,
    /// One store call per key.
    Naive,
    /// hyper and redis, no wasmCloud.
    Native,
}

/// A page beside the bare round trips it makes.
#[derive(Debug, Serialize)]
pub struct Verdict {
    pub design: Design,
    /// wRPC calls that the page makes.
    pub calls: usize,
    pub p50_us: f64,
    /// The medians of those calls, added.
    pub bare_us: f64,
    pub ratio: f64,
    /// Whether the ratio is within [`PROMISED`]; nothing is promised of the naive design.
    pub kept: Option<bool>,
}

impl Section {
    fn call(&self, over: Over, name: &str) -> f64 {
        let found = self
            .calls
            .iter()
            .find(|call| call.over == over && call.name == name);
        found.map_or(f64::NAN, |call| call.summary.p50_us)
    }

    /// The median of a page at one connection.
    pub fn p50(&self, design: Design, path: &str) -> f64 {
        let one =
            |page: &&Page| page.design == design && page.path == path && page.connections == 1;
        self.pages
            .iter()
            .find(one)
            .map_or(f64::NAN, |page| page.summary.p50_us)
    }

    /// The four calls of cloud-hello's page.
    pub fn bare_us(&self, over: Over) -> f64 {
        let names = ["metadata.get", "list-keys", "get-many", "increment"];
        names.iter().map(|name| self.call(over, name)).sum()
    }

    /// The naive page gets each of `keys`.
    fn naive_us(&self, keys: usize) -> f64 {
        let names = ["metadata.get", "list-keys", "increment"];
        let others: f64 = names.iter().map(|name| self.call(Over::Wrpc, name)).sum();
        // At most a thousand.
        #[allow(clippy::cast_precision_loss)]
        let keys = keys as f64;
        others + keys * self.call(Over::Wrpc, "get")
    }

    /// Sets every page beside its bare round trips.
    pub fn judge(&self, keys: usize) -> Vec<Verdict> {
        let cloud = self.bare_us(Over::Wrpc);
        let subjects = [
            (Design::CloudHello, 4, cloud),
            (Design::Edge, 4, cloud),
            (Design::Naive, keys + 3, self.naive_us(keys)),
        ];
        subjects
            .map(|(design, calls, bare_us)| {
                let p50_us = self.p50(design, "/");
                let ratio = p50_us / bare_us;
                Verdict {
                    design,
                    calls,
                    p50_us,
                    bare_us,
                    ratio,
                    kept: (design != Design::Naive).then_some(ratio <= PROMISED),
                }
            })
            .into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sample::Samples;

    fn summary(millis: u64) -> Summary {
        let mut samples = Samples::default();
        samples.add(Duration::from_millis(millis));
        samples.summarise(Duration::from_secs(1), 0)
    }

    fn section(page_ms: u64) -> Section {
        let names = [
            ("metadata.get", 1),
            ("list-keys", 2),
            ("get-many", 3),
            ("increment", 4),
            ("get", 5),
        ];
        let call = |(name, millis)| Call {
            over: Over::Wrpc,
            name,
            summary: summary(millis),
        };
        let page = |(design, millis)| Page {
            design,
            path: "/",
            connections: 1,
            summary: summary(millis),
            attempts: None,
            processor_us: BTreeMap::new(),
            failure: None,
        };
        let designs = [
            (Design::CloudHello, page_ms),
            (Design::Edge, 31),
            (Design::Naive, 507),
        ];
        Section {
            wan_ms: 0,
            calls: names.map(call).into(),
            pages: designs.map(page).into(),
            verdicts: Vec::new(),
            steps: BTreeMap::new(),
        }
    }

    #[test]
    fn a_page_is_judged_by_the_sum_of_its_own_calls() {
        let verdicts = section(30).judge(100);
        let kept: Vec<_> = verdicts.iter().map(|verdict| verdict.kept).collect();
        assert_eq!(kept, [Some(true), Some(false), None]);
        assert!(
            (verdicts[0].ratio - 3.0).abs() < 1e-9,
            "{}",
            verdicts[0].ratio
        );
        assert!(
            (verdicts[2].ratio - 1.0).abs() < 1e-9,
            "{}",
            verdicts[2].ratio
        );
        assert_eq!(verdicts[2].calls, 103);
    }

    #[test]
    fn what_was_not_measured_keeps_no_promise() {
        let mut section = section(1);
        section.calls.clear();
        assert_eq!(section.judge(100)[0].kept, Some(false));
    }
}
