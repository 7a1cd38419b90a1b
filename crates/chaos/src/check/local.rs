//! When a region's own provider answered the calls made there.
//!
//! While it does not, NATS hands them to another region's, whose store may be a moment behind: then a
//! client need not read what it wrote.

use std::collections::BTreeMap;

use crate::history::{Micros, Op, Probe, Strike};

/// Two probes further apart than this say nothing of the time between. Within it, a provider may leave the queue group
/// for a moment, and nobody notices.
const APART: Micros = 300_000;

/// Times between two probes, all answered by the region itself, in which nothing struck that can make
/// another region's provider answer: a killed one may be back before the next probe.
#[derive(Debug, Default)]
pub(super) struct Spans<'a>(BTreeMap<&'a str, Vec<(Micros, Micros)>>);

impl<'a> Spans<'a> {
    pub fn of(probes: &'a [Probe], strikes: &[Strike]) -> Self {
        let mut by_region: BTreeMap<&str, Vec<&Probe>> = BTreeMap::new();
        for probe in probes {
            by_region.entry(&probe.region).or_default().push(probe);
        }
        let spans = by_region.into_iter().map(|(region, mut probes)| {
            probes.sort_by_key(|probe| probe.start);
            let struck = |from: Micros, to: Micros| {
                let within = |strike: &&Strike| from <= strike.end && strike.start <= to;
                let mut strikes = strikes.iter().filter(within);
                strikes.find(|strike| strike.fault.harms(region))
            };
            let mut spans: Vec<(Micros, Micros)> = Vec::new();
            let mut open = false;
            for probe in probes {
                if probe.by.as_deref() != Some(region) {
                    open = false;
                    continue;
                }
                let near = |end: Micros| probe.start <= end.saturating_add(APART);
                let last = spans.last_mut().filter(|(_, end)| open && near(*end));
                if let Some((_, end)) = last {
                    let Some(strike) = struck(*end, probe.end) else {
                        *end = probe.end;
                        continue;
                    };
                    *end = strike.start;
                }
                // Who answered while it struck may be dead now.
                open = struck(probe.start, probe.end).is_none();
                if open {
                    spans.push((probe.start, probe.end));
                }
            }
            (region, spans)
        });
        Self(spans.collect())
    }

    /// Whether all of the time between the begin of one call and the end of a later one, of the same
    /// client, was such a time.
    pub fn cover(&self, first: &Op, last: &Op) -> bool {
        let spans = self.0.get(first.region.as_str());
        first.region == last.region
            && spans.is_some_and(|spans| {
                let covers =
                    |(from, to): &(Micros, Micros)| *from <= first.start && last.end <= *to;
                spans.iter().any(covers)
            })
    }
}
