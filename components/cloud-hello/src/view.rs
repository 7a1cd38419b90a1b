//! What one request finds out: where it is served and how many visits there are.
//!
//! A page view makes four calls and the API three, whatever the number of keys: metadata, the
//! key listing, one read of all counters and, for a page view, one increment. The increment
//! comes last. Until then nothing has changed, so a request that fails and is retried in another
//! region has not counted twice, and once it succeeded nothing can keep the answer back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::counter::{parse_value, CounterKey};
use crate::host::{Clock, Host, Listing, MetadataError, Serving, StoreError, Values};
use crate::tally::Tally;
use crate::user_agent::Visitor;

/// How many counters one request reads at most. A region needs 63 at the very most.
pub const MAX_COUNTERS: usize = 4_096;

/// Where a counter ends: the stores below count in signed 64-bit numbers.
const COUNTER_END: u64 = i64::MAX.unsigned_abs();

/// Whether the visit was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Yes, and this is the visitor's own counter now.
    Yes(u64),
    /// No: the visitor's own counter holds something other than a number.
    Unreadable,
    /// No: the visitor's own counter cannot grow.
    Full,
    /// No, and it was not meant to be.
    NotAsked,
}

/// How long the calls took, in their order, and all of it together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    pub steps: Vec<(&'static str, Duration)>,
    pub total: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub serving: Serving,
    pub visitor: Visitor,
    pub tally: Tally,
    pub counted: Counted,
    pub timing: Timing,
}

/// Which call had no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("no metadata")]
    Metadata(#[from] MetadataError),
    #[error("no store")]
    Store(#[from] StoreError),
}

/// Counts a visit and looks. Four calls.
pub fn visit(host: &mut impl Host, visitor: Visitor) -> Result<View, Failure> {
    observe(host, visitor, true)
}

/// Looks without counting. Three calls, or two when there is no counter.
pub fn look(host: &mut impl Host, visitor: Visitor) -> Result<View, Failure> {
    observe(host, visitor, false)
}

fn observe(host: &mut impl Host, visitor: Visitor, count: bool) -> Result<View, Failure> {
    let mut watch = Stopwatch::start(host);
    let serving = host.metadata()?;
    watch.lap(host, "metadata");

    let own = CounterKey {
        region: serving.region.clone(),
        browser: visitor.browser,
        os: visitor.os,
    };
    let listing = host.list_keys()?;
    watch.lap(host, "list");

    let selection = Selection::new(listing, count.then_some(&own));
    let mut readings = Readings::default();
    if !selection.keys.is_empty() {
        readings = selection.read(host.get_many(&selection.names())?);
        watch.lap(host, "read");
    }

    let counted = if count {
        let counted = readings.count(host, &own)?;
        watch.lap(host, "count");
        counted
    } else {
        Counted::NotAsked
    };

    let mut tally = readings.tally();
    tally.partial = readings.partial;
    tally.mention_region(&serving.region);
    if count {
        // Visitors find themselves in every table, counted or not.
        tally.mention_visitor(visitor);
    }
    Ok(View {
        serving,
        visitor,
        tally,
        counted,
        timing: watch.stop(host),
    })
}

/// The counters to read: ours among the keys of the store, each once.
struct Selection {
    keys: BTreeMap<String, CounterKey>,
    partial: bool,
}

impl Selection {
    fn new(listing: Listing, own: Option<&CounterKey>) -> Self {
        let mut partial = listing.more;
        let mut keys = BTreeMap::new();
        // The visitor's own counter has its place even when the listing does not name it.
        if let Some(own) = own {
            keys.insert(own.to_string(), own.clone());
        }
        // A listing may repeat a key (SCAN does), which must not double its visits.
        for name in listing.keys {
            let Some(key) = CounterKey::parse(&name) else {
                continue;
            };
            if keys.contains_key(&name) {
                continue;
            }
            if keys.len() == MAX_COUNTERS {
                partial = true;
                break;
            }
            keys.insert(name, key);
        }
        Self { keys, partial }
    }

    fn names(&self) -> Vec<String> {
        self.keys.keys().cloned().collect()
    }

    fn read(&self, answer: Values) -> Readings {
        let mut readings = Readings {
            values: BTreeMap::new(),
            // `None` stands for a key that is gone; an entry that is missing is one not read.
            partial: self.partial || answer.len() < self.keys.len(),
        };
        for (name, value) in answer.into_iter().flatten() {
            if let Some(key) = self.keys.get(&name) {
                readings
                    .values
                    .entry(key.clone())
                    .or_insert_with(|| parse_value(&value));
            }
        }
        readings
    }
}

/// The values read, `None` for one that is not a number.
#[derive(Default)]
struct Readings {
    values: BTreeMap<CounterKey, Option<u64>>,
    partial: bool,
}

impl Readings {
    fn count(&mut self, host: &mut impl Host, own: &CounterKey) -> Result<Counted, StoreError> {
        let before = match self.values.get(own) {
            Some(None) => return Ok(Counted::Unreadable),
            Some(Some(before)) if *before >= COUNTER_END => return Ok(Counted::Full),
            Some(Some(before)) => *before,
            None => 0,
        };
        let after = host.increment(&own.to_string())?;
        self.values.insert(own.clone(), Some(after.max(before)));
        Ok(Counted::Yes(after))
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (key, value) in &self.values {
            match value {
                Some(visits) => tally.add(key, *visits),
                None => tally.unreadable = tally.unreadable.saturating_add(1),
            }
        }
        tally
    }
}

/// Times the calls of a request.
pub(crate) struct Stopwatch {
    start: Duration,
    last: Duration,
    steps: Vec<(&'static str, Duration)>,
}

impl Stopwatch {
    pub(crate) fn start(clock: &mut impl Clock) -> Self {
        let start = clock.now();
        Self {
            start,
            last: start,
            steps: Vec::new(),
        }
    }

    pub(crate) fn lap(&mut self, clock: &mut impl Clock, step: &'static str) {
        let now = clock.now();
        self.steps.push((step, now.saturating_sub(self.last)));
        self.last = now;
    }

    pub(crate) fn stop(self, clock: &mut impl Clock) -> Timing {
        Timing {
            total: clock.now().saturating_sub(self.start),
            steps: self.steps,
        }
    }
}
