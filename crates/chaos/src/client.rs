//! Clients of the store. Each makes one call after the other, and notes each.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::{sleep, Instant};

use crate::history::{Call, Op, Outcome, Probe};
use crate::key::Key;
use crate::observer::Shown;
use crate::recorder::Recorder;
use crate::store::Store;

/// Counters of all clients.
const COUNTERS: u32 = 4;
/// Registers of all clients.
const SHARED: u32 = 6;
/// Registers that a client has for itself.
const OWN: u32 = 3;
/// How long a client waits until every region shows what it wrote. While one is away, it does not.
const SETTLING: Duration = Duration::from_secs(3);
/// Time between two probes; see `check::local`.
const PROBE: Duration = Duration::from_millis(100);

/// A client in a region.
#[derive(Debug)]
pub struct Client {
    /// Its name, part of its keys and values.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// Its connection.
    pub store: Store,
    /// What it does when.
    pub rng: Rng,
    /// Where it notes what it does.
    pub recorder: Arc<Recorder>,
    /// What the regions show.
    pub shown: Arc<Shown>,
    /// How many values it has written.
    pub values: u64,
}

impl Client {
    async fn call(&self, key: &str, call: Call) -> Outcome {
        self.shown.watch(key);
        let start = self.recorder.now();
        let outcome = self.store.call(key, &call).await;
        self.recorder.op(Op {
            client: self.name.clone(),
            region: self.region.clone(),
            key: key.to_owned(),
            call,
            start,
            end: self.recorder.now(),
            outcome: outcome.clone(),
        });
        outcome
    }

    /// A value that no other write has.
    fn value(&mut self) -> String {
        self.values += 1;
        format!("{}.{}", self.name, self.values)
    }

    /// Counts, sets, deletes and reads until told to stop.
    pub async fn work(mut self, over: watch::Receiver<bool>) {
        while !*over.borrow() {
            let (key, call) = self.choose();
            self.call(&key, call).await;
            sleep(Duration::from_millis(self.rng.u64(15..45))).await;
        }
    }

    fn choose(&mut self) -> (String, Call) {
        let rng = &mut self.rng;
        let (counter, shared, own) = (rng.u32(0..COUNTERS), rng.u32(0..SHARED), rng.u32(0..OWN));
        let name = self.name.clone();
        let (counter, shared) = (Key::Counter(counter), Key::Shared(shared));
        let own = Key::Own(&name, own);
        match rng.u32(0..100) {
            0..40 => (counter.to_string(), Call::Increment(rng.u64(1..4))),
            40..60 => (own.to_string(), Call::Set(self.value())),
            60..75 => (own.to_string(), Call::Get),
            75..85 => (shared.to_string(), Call::Set(self.value())),
            85..90 => (shared.to_string(), Call::Delete),
            _ => (shared.to_string(), Call::Get),
        }
    }

    /// Writes, waits until every region shows it, and deletes it, again and again: what is deleted then may never be
    /// seen again.
    pub async fn bury(mut self, over: watch::Receiver<bool>) {
        let (mut register, mut tally) = (0, 0);
        let mut counted = 0;
        while !*over.borrow() {
            if self.rng.bool() {
                self.rebear(&mut register).await;
            } else {
                self.recount(&mut tally, &mut counted).await;
            }
            sleep(Duration::from_millis(self.rng.u64(50..150))).await;
        }
    }

    async fn rebear(&mut self, number: &mut u32) {
        let key = Key::Reborn(&self.name, *number).to_string();
        let value = self.value();
        if !self.call(&key, Call::Set(value.clone())).await.may_be() {
            return;
        }
        self.settled(&key, Some(&value)).await;
        match self.call(&key, Call::Delete).await {
            Outcome::Ok(_) => {
                self.settled(&key, None).await;
            }
            Outcome::Failed(_) => {}
            Outcome::Unknown(_) => *number += 1,
        }
    }

    async fn recount(&mut self, number: &mut u32, counted: &mut u64) {
        let key = Key::Tally(&self.name, *number).to_string();
        for _ in 0..self.rng.u32(1..5) {
            let delta = self.rng.u64(1..10);
            if self.call(&key, Call::Increment(delta)).await.may_be() {
                *counted += delta;
            }
        }
        if *counted == 0 {
            return;
        }
        let seen = self.settled(&key, Some(&counted.to_string())).await;
        match self.call(&key, Call::Delete).await {
            Outcome::Ok(_) if seen => {
                *counted = 0;
                // A region that still shows the old sum could be taken for one with the new one.
                if !self.settled(&key, None).await {
                    *number += 1;
                }
            }
            Outcome::Failed(_) => {}
            // Nobody can say how much of it went.
            Outcome::Ok(_) | Outcome::Unknown(_) => {
                *number += 1;
                *counted = 0;
            }
        }
    }

    /// Waits until every region shows a value, for a while.
    async fn settled(&self, key: &str, value: Option<&str>) -> bool {
        let until = Instant::now() + SETTLING;
        while Instant::now() < until {
            if self.shown.is_everywhere(key, value) {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

/// Asks at a region's NATS server who answers, all the while.
pub async fn probe(region: String, store: Store, recorder: Arc<Recorder>) {
    loop {
        let start = recorder.now();
        let status = store.status().await;
        let by = status.and_then(|status| Some(status.get("region")?.as_str()?.to_owned()));
        recorder.probe(Probe {
            region: region.clone(),
            start,
            end: recorder.now(),
            by,
        });
        sleep(PROBE).await;
    }
}
