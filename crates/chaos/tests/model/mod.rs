//! Three regions in memory that keep every promise, and the history of their clients.
//!
//! Registers are decided by the time of the write, counters by the sum of each region's share; what a region writes
//! reaches the others some time later. Calls fail, and lose their answers. Each region is watched.

use std::collections::BTreeMap;

use chaos::history::{Books, Call, History, Last, Micros, Op, Outcome, Probe, View, Visit, Way};
use chaos::key::{kind, Key, Kind};
use fastrand::Rng;

pub const REGIONS: [&str; 3] = ["fra", "iad", "sin"];
const STEP: Micros = 40_000;

/// A register as a region has it: when it was written, and what.
type Register = (Micros, Option<String>);

/// What a region holds.
#[derive(Clone, Debug, Default)]
struct Region {
    registers: BTreeMap<String, Register>,
    /// By key: what each region counted, and how much of it was deleted.
    counts: BTreeMap<String, BTreeMap<usize, (u64, u64)>>,
    shown: BTreeMap<String, Option<String>>,
}

impl Region {
    fn value(&self, key: &str) -> Option<String> {
        match kind(key) {
            Kind::Register | Kind::Page => self.registers.get(key)?.1.clone(),
            Kind::Counter | Kind::Tally => {
                let shares = self.counts.get(key)?.values();
                let sum: u64 = shares.map(|(count, gone)| count - gone).sum();
                (sum > 0).then(|| sum.to_string())
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        for (key, register) in &other.registers {
            let own = self.registers.entry(key.clone()).or_default();
            if register.0 > own.0 {
                *own = register.clone();
            }
        }
        for (key, shares) in &other.counts {
            let own = self.counts.entry(key.clone()).or_default();
            for (author, (count, gone)) in shares {
                let share = own.entry(*author).or_default();
                *share = (share.0.max(*count), share.1.max(*gone));
            }
        }
    }
}

/// The regions and the history so far.
pub struct Model {
    rng: Rng,
    now: Micros,
    regions: Vec<Region>,
    /// Calls whose answer was lost, and that take effect later: when, where, and what.
    later: Vec<(Micros, usize, String, Call)>,
    pub history: History,
    values: u64,
}

impl Model {
    /// A run of so many steps.
    pub fn run(seed: u64, steps: usize) -> History {
        let history = History {
            regions: REGIONS.map(str::to_owned).into(),
            ..History::default()
        };
        let mut model = Self {
            rng: Rng::with_seed(seed),
            now: 0,
            regions: vec![Region::default(); REGIONS.len()],
            later: Vec::new(),
            history,
            values: 0,
        };
        for _ in 0..steps {
            model.step();
        }
        model.finish();
        model.history
    }

    fn step(&mut self) {
        self.now += STEP;
        let due: Vec<_> = self
            .later
            .extract_if(.., |later| later.0 <= self.now)
            .collect();
        for (_, at, key, call) in due {
            self.apply(at, &key, &call);
        }
        let at = self.rng.usize(0..REGIONS.len());
        let (key, call) = self.choose(at);
        self.call(at, &key, call);
        if self.rng.u8(0..3) == 0 {
            let (from, to) = (
                self.rng.usize(0..REGIONS.len()),
                self.rng.usize(0..REGIONS.len()),
            );
            let other = self.regions[from].clone();
            self.regions[to].merge(&other);
        }
        if self.rng.u8(0..20) == 0 {
            self.bury();
        }
        self.watch();
        if self.rng.u8(0..4) == 0 {
            self.visit();
        }
        for region in REGIONS {
            self.history.probes.push(Probe {
                region: region.to_owned(),
                start: self.now - STEP / 8,
                end: self.now,
                by: Some(region.to_owned()),
            });
        }
    }

    fn choose(&mut self, at: usize) -> (String, Call) {
        self.values += 1;
        let client = REGIONS[at];
        let own = Key::Own(client, self.rng.u32(0..2)).to_string();
        let shared = Key::Shared(self.rng.u32(0..2)).to_string();
        let value = format!("v{}", self.values);
        match self.rng.u8(0..10) {
            0..3 => (
                Key::Counter(self.rng.u32(0..2)).to_string(),
                Call::Increment(self.rng.u64(1..4)),
            ),
            3..5 => (own, Call::Set(value)),
            5 => (own, Call::Get),
            6 | 7 => (shared, Call::Set(value)),
            8 => (shared, Call::Delete),
            _ => (shared, Call::Get),
        }
    }

    /// One client writes, everybody hears of it, and the client deletes.
    fn bury(&mut self) {
        let at = self.rng.usize(0..REGIONS.len());
        let tally = self.rng.bool();
        let key = if tally {
            Key::Tally(REGIONS[at], 0).to_string()
        } else {
            Key::Reborn(REGIONS[at], 0).to_string()
        };
        self.values += 1;
        let call = if tally {
            Call::Increment(2)
        } else {
            Call::Set(format!("v{}", self.values))
        };
        self.done(at, &key, call);
        self.spread();
        self.watch();
        self.done(at, &key, Call::Delete);
    }

    fn spread(&mut self) {
        for _ in 0..2 {
            for from in 0..REGIONS.len() {
                for to in 0..REGIONS.len() {
                    let other = self.regions[from].clone();
                    self.regions[to].merge(&other);
                }
            }
        }
    }

    fn call(&mut self, at: usize, key: &str, call: Call) {
        self.now += STEP / 2;
        match self.rng.u8(0..20) {
            0 => {
                let outcome = Outcome::Failed("nothing was written".to_owned());
                self.note(at, key, call, outcome);
            }
            1 | 2 if call != Call::Get => {
                // It is done now, later, or never.
                match self.rng.u8(0..3) {
                    0 => drop(self.apply(at, key, &call)),
                    1 => {
                        let when = self.now + self.rng.u64(1..20) * STEP;
                        self.later.push((when, at, key.to_owned(), call.clone()));
                    }
                    _ => {}
                }
                self.note(at, key, call, Outcome::Unknown("no answer".to_owned()));
            }
            _ => self.answer(at, key, call),
        }
    }

    fn done(&mut self, at: usize, key: &str, call: Call) {
        self.now += STEP / 2;
        self.answer(at, key, call);
    }

    fn answer(&mut self, at: usize, key: &str, call: Call) {
        let answer = self.apply(at, key, &call);
        self.note(at, key, call, Outcome::Ok(answer));
    }

    fn note(&mut self, at: usize, key: &str, call: Call, outcome: Outcome) {
        let when = self.now;
        self.now += STEP / 2;
        self.history.ops.push(Op {
            client: format!("{}-0", REGIONS[at]),
            region: REGIONS[at].to_owned(),
            key: key.to_owned(),
            call,
            start: when - STEP / 4,
            end: when + STEP / 4,
            outcome,
        });
    }

    fn apply(&mut self, at: usize, key: &str, call: &Call) -> Option<String> {
        // No two writes are stamped alike.
        self.now += 1;
        let now = self.now;
        let region = &mut self.regions[at];
        match call {
            Call::Get => return region.value(key),
            Call::Set(value) => {
                region
                    .registers
                    .insert(key.to_owned(), (now, Some(value.clone())));
                return None;
            }
            Call::Delete => {
                if let Some(register) = region.registers.get_mut(key) {
                    if register.1.is_some() {
                        *register = (now, None);
                    }
                }
                for (count, gone) in region
                    .counts
                    .entry(key.to_owned())
                    .or_default()
                    .values_mut()
                {
                    *gone = *count;
                }
                return None;
            }
            Call::Increment(delta) => {
                let shares = region.counts.entry(key.to_owned()).or_default();
                shares.entry(at).or_default().0 += delta;
            }
        }
        region.value(key)
    }

    fn watch(&mut self) {
        self.now += STEP;
        for (region, name) in self.regions.iter_mut().zip(REGIONS) {
            let mut keys: Vec<String> = region.registers.keys().cloned().collect();
            keys.extend(region.counts.keys().cloned());
            for key in keys {
                let value = region.value(&key);
                if region.shown.get(&key) == Some(&value) {
                    continue;
                }
                region.shown.insert(key.clone(), value.clone());
                self.history.views.push(View {
                    region: name.to_owned(),
                    key,
                    value,
                    at: self.now,
                });
            }
        }
    }

    fn visit(&mut self) {
        let page = (self.rng.u8(0..10) > 0).then(|| "iad".to_owned());
        self.history.visits.push(Visit {
            home: "iad".to_owned(),
            start: self.now,
            end: self.now,
            failure: page.is_none().then(|| "503".to_owned()),
            page,
        });
    }

    fn finish(&mut self) {
        for (_, at, key, call) in std::mem::take(&mut self.later) {
            self.apply(at, &key, &call);
        }
        self.spread();
        self.watch();
        let mut keys: Vec<String> = self.regions[0].registers.keys().cloned().collect();
        keys.extend(self.regions[0].counts.keys().cloned());
        for key in keys {
            for (region, name) in self.regions.iter().zip(REGIONS) {
                for way in [Way::Valkey, Way::Call] {
                    self.history.last.push(Last {
                        region: name.to_owned(),
                        way,
                        key: key.clone(),
                        value: region.value(&key),
                    });
                }
            }
        }
        let pages = self
            .history
            .visits
            .iter()
            .filter(|visit| visit.page.is_some())
            .count();
        let (pages, all) = (pages as u64, self.history.visits.len() as u64);
        self.history.books = Some(Books {
            counted: REGIONS
                .map(|region| (region.to_owned(), pages + (all - pages) / 2))
                .into(),
            attempts: all + 3,
        });
    }
}
