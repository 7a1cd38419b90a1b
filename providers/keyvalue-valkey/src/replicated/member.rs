//! The task that keeps a store in step with the other regions, or watches the instance that does.
//!
//! Instances of a region share a Valkey. Who holds the lease in it leads: drives an [`Engine`] and listens to what is
//! said to all. The others listen for confirmations of their own writes, and look once a second whether
//! the store serves. A leader that is gone is followed after three seconds at most; meanwhile
//! everybody goes on writing.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use bytes::Bytes;
use futures::StreamExt as _;
use replica::clock::Now;
use replica::store::{Op, Outcome, METADATA};
use replica::wire::{self, Message};
use replica::{Effect, Engine, Event, Token};
use tokio::sync::watch;
use tokio::time::{interval, MissedTickBehavior};
use tracing::info;

use super::chunk::Assembler;
use super::notice::Notices;
use super::road::{random, Ear, Road};
use super::settings::milliseconds;
use super::shared::{judge, wall_ms, Shared, Standing};
use super::status;
use super::step::Steps;
use crate::connection::{Process, State};

/// Time between two of the engine's ticks.
const TICK: Duration = Duration::from_millis(25);
/// Time between two renewals of the lead, and between two looks at the store.
const RENEW: Duration = Duration::from_secs(1);
/// How long the lead lasts without renewal.
const LEASE: Duration = Duration::from_secs(3);
/// How long a new leader may take to look before a store that served serves no more.
const TAKEOVER: Duration = Duration::from_millis(500);
/// A confirmation is never longer than this; what is longer need not be read by who does not lead.
const MAX_APPLIED: usize = 256;
/// Keys that one step adopts.
const ADOPT: usize = 128;
/// Where entries lie.
const META: &str = "@kv/r/meta";

type Running = Pin<Box<dyn std::future::Future<Output = (Steps, Work, Done)> + Send>>;

/// What is to be done in the store, in this order, one after the other.
#[derive(Debug)]
enum Work {
    Lease(String),
    Look,
    Step(Token, Op),
    Adopt(Adopt),
    Publish(String),
}

/// Where to look for keys to adopt, and from which cursor on.
#[derive(Clone, Copy, Debug)]
enum Adopt {
    /// Among all keys of the database.
    Values(u64),
    /// Among those that have an entry; the value may be gone.
    Entries(u64),
}

/// What came of it.
#[derive(Debug)]
enum Done {
    Outcome(Outcome),
    /// Where the search for keys to adopt goes on.
    Adopted(Result<Option<Adopt>, String>),
    Published,
}

/// The task's state.
pub(super) struct Member {
    shared: Arc<Shared>,
    road: Road,
    states: watch::Receiver<State>,
    notices: Notices,
    assembler: Assembler,
    instance: String,
    started: Instant,
    process: Option<Process>,
    engine: Option<Engine>,
    /// A store that serves goes on serving until then, although its new leader has not looked yet.
    takeover: Option<Instant>,
    queue: VecDeque<Work>,
    renew_at: Instant,
}

impl Member {
    pub(super) fn new(shared: Arc<Shared>, road: Road, states: watch::Receiver<State>) -> Self {
        let started = Instant::now();
        Self {
            shared,
            road,
            states,
            notices: Notices::default(),
            assembler: Assembler::default(),
            instance: format!("{:016x}", random()),
            started,
            process: None,
            engine: None,
            takeover: None,
            queue: VecDeque::new(),
            renew_at: started,
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self, ear: Ear) {
        let mut region = ear.region(&self.shared.settings.region.clone()).await;
        let mut all: Option<Subscriber> = None;
        let mut running: Option<Running> = None;
        let mut steps: Option<Steps> = None;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.follow_connection(&mut steps, &mut running);
        loop {
            if self.engine.is_some() != all.is_some() {
                // Who stops leading stops listening.
                all = match &self.engine {
                    Some(_) => ear.all().await,
                    None => None,
                };
            }
            if let (None, Some(idle)) = (&running, steps.take()) {
                match self.queue.pop_front() {
                    Some(work) => running = Some(Box::pin(perform(idle, work))),
                    None => steps = Some(idle),
                }
            }
            tokio::select! {
                message = next(&mut region) => self.heard(message),
                message = next(&mut all) => self.heard(message),
                (idle, work, done) = finished(&mut running) => {
                    running = None;
                    steps = Some(idle);
                    self.done(work, done);
                }
                _ = tick.tick() => self.tick(),
                changed = self.states.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.follow_connection(&mut steps, &mut running);
                }
            }
        }
    }

    /// The connection came, went, or leads to another server process.
    fn follow_connection(&mut self, steps: &mut Option<Steps>, running: &mut Option<Running>) {
        let state = self.states.borrow_and_update().clone();
        // What was under way on another socket is of no interest: everything is looked at anew.
        *running = None;
        *steps = None;
        self.queue.clear();
        self.takeover = None;
        self.shared.set_led(None);
        if self.process.take().is_some() {
            self.step(Event::Disconnected);
        }
        match state {
            State::Down(refusal) => {
                self.shared.stand(Standing::Waits(refusal.reason));
            }
            State::Ready(process) => {
                *steps = Some(Steps::new(&process));
                self.process = Some(process.clone());
                self.queue.push_back(Work::Look);
                self.renew();
                if self.engine.is_some() {
                    self.step(Event::Connected(process.run.as_ref().to_owned()));
                }
            }
        }
    }

    /// Renews the lead before anything else: behind steps that a slow Valkey takes it would lapse.
    fn renew(&mut self) {
        self.renew_at = Instant::now() + RENEW;
        if !self.queue.iter().any(|work| matches!(work, Work::Lease(_))) {
            self.queue.push_front(Work::Lease(self.instance.clone()));
        }
    }

    /// Queues work of which only the last is of use.
    fn queue_anew(&mut self, work: Work) {
        let same = std::mem::discriminant(&work);
        self.queue
            .retain(|queued| std::mem::discriminant(queued) != same);
        self.queue.push_back(work);
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.takeover.is_some_and(|until| now >= until) {
            self.takeover = None;
            self.shared.stand(Standing::Waits(
                "its new leader has not looked at it yet".to_owned(),
            ));
        }
        if self.process.is_some() && now >= self.renew_at {
            self.renew();
            if let Some(engine) = &self.engine {
                let region = engine.status();
                let status = status::of_leader(&self.shared, &self.road, &self.instance, &region);
                self.notices.look_at(&region);
                self.shared.set_led(Some(region));
                self.queue_anew(Work::Publish(status));
            } else {
                self.queue_anew(Work::Look);
            }
            self.shared.set_troubles(self.notices.troubles());
        }
        self.step(Event::Tick);
    }

    fn heard(&mut self, payload: Bytes) {
        match self.assembler.accept(payload, Instant::now()) {
            Ok(None) => {}
            Ok(Some(message)) => {
                if message.len() <= MAX_APPLIED {
                    self.note_applied(&message);
                }
                self.step(Event::Message(message));
            }
            Err(error) => self.notices.refused(&error.to_string()),
        }
    }

    /// Confirmations are for whoever wrote, leader or not. What is none of them is the engine's.
    fn note_applied(&mut self, message: &[u8]) {
        let Ok(envelope) = wire::decode(message) else {
            return;
        };
        let settings = &self.shared.settings;
        let ours = envelope.group == settings.group && envelope.from != settings.region;
        if let (true, Message::Applied(applied)) = (ours, envelope.message) {
            if applied.author.region == settings.region {
                let acks = &self.shared.acks;
                acks.note(envelope.from, applied.author, applied.seq);
            }
        }
    }

    fn done(&mut self, work: Work, done: Done) {
        match (work, done) {
            (Work::Lease(_), Done::Outcome(Outcome::Lease(leads))) => self.lead(leads),
            (Work::Look, Done::Outcome(Outcome::Loaded(loaded))) => {
                let Some(process) = &self.process else {
                    return;
                };
                self.shared.note_seen(&process.run, &loaded);
                if self.engine.is_none() {
                    let standing = judge(&self.shared.settings, &process.run, &loaded);
                    self.shared.stand(standing);
                }
            }
            (Work::Look, Done::Outcome(Outcome::Failed(reason))) if self.engine.is_none() => {
                self.shared.stand(Standing::Waits(reason));
            }
            (Work::Step(token, op), Done::Outcome(outcome)) => {
                match (&op, &outcome, &self.process) {
                    (Op::Load, Outcome::Loaded(loaded), Some(process)) => {
                        self.shared.note_seen(&process.run, loaded);
                    }
                    (Op::Commit(commit), Outcome::Done, _) => {
                        self.shared.note_raised(&commit.raise);
                    }
                    _ => {}
                }
                self.step(Event::Store(token, outcome));
            }
            (Work::Adopt(_), Done::Adopted(Ok(None))) => self.step(Event::Adopted),
            (Work::Adopt(_), Done::Adopted(Ok(Some(next)))) => {
                self.queue.push_back(Work::Adopt(next));
            }
            (Work::Adopt(again), Done::Adopted(Err(reason))) => {
                self.notices.store_failed(&reason);
                if self.engine.is_some() {
                    // Adopting what is adopted changes nothing.
                    self.queue.push_back(Work::Adopt(again));
                }
            }
            _ => {}
        }
    }

    fn lead(&mut self, leads: bool) {
        match (&self.engine, &self.process) {
            (None, Some(process)) if leads => {
                info!(instance = self.instance, "leads the region");
                let run = process.run.as_ref().to_owned();
                self.engine = Some(Engine::new(self.shared.settings.engine(random())));
                if matches!(self.shared.standing(), Standing::Serves(_)) {
                    self.takeover = Some(Instant::now() + TAKEOVER);
                }
                self.step(Event::Connected(run));
            }
            (Some(_), _) if !leads => {
                info!(
                    instance = self.instance,
                    "another instance leads the region"
                );
                self.engine = None;
                self.shared.set_led(None);
                self.takeover = None;
                self.queue.retain(|work| matches!(work, Work::Lease(_)));
                self.queue.push_back(Work::Look);
            }
            _ => {}
        }
    }

    /// Tells the engine what happened and does what it wants.
    fn step(&mut self, event: Event) {
        let now = Now {
            wall_ms: wall_ms(),
            mono_ms: milliseconds(self.started.elapsed()),
        };
        let Some(engine) = &mut self.engine else {
            return;
        };
        for effect in engine.step(event, now) {
            match effect {
                Effect::Send(to, message) => self.road.send(to, message),
                Effect::Store(token, op) => self.queue.push_back(Work::Step(token, op)),
                Effect::Adopt => self.queue.push_back(Work::Adopt(Adopt::Values(0))),
                Effect::Serve(serves) => self.serve(serves),
                Effect::Notice(notice) => self.notices.note(notice),
            }
        }
    }

    fn serve(&mut self, serves: bool) {
        let standing = match (&self.process, serves) {
            (Some(process), true) => {
                self.notices.serves();
                Standing::Serves(process.run.clone())
            }
            // It only has to look first.
            _ if self.takeover.is_some() => return,
            _ => Standing::Waits("it is not in step with the other regions yet".to_owned()),
        };
        self.takeover = None;
        self.shared.stand(standing);
    }
}

async fn perform(mut steps: Steps, work: Work) -> (Steps, Work, Done) {
    let done = match &work {
        Work::Lease(instance) => {
            let lease = Op::Lease {
                instance: instance.clone(),
                milliseconds: milliseconds(LEASE),
            };
            Done::Outcome(steps.take(lease).await)
        }
        Work::Look => Done::Outcome(steps.take(Op::Load).await),
        Work::Step(_, op) => Done::Outcome(steps.take(op.clone()).await),
        Work::Adopt(from) => Done::Adopted(adopt(&mut steps, *from).await),
        Work::Publish(status) => {
            let kept = status::keep(&mut steps, status).await;
            if let Err(error) = kept {
                tracing::debug!(error, "the status is not kept");
            }
            Done::Published
        }
    };
    (steps, work, done)
}

/// Adopts the next few keys that belong to components, and says where to go on.
async fn adopt(steps: &mut Steps, from: Adopt) -> Result<Option<Adopt>, String> {
    let (next, found) = match from {
        Adopt::Values(cursor) => {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("COUNT").arg(ADOPT);
            let (next, keys): (u64, Vec<Vec<u8>>) = steps.run(&scan).await?;
            let next = if next == 0 {
                Adopt::Entries(0)
            } else {
                Adopt::Values(next)
            };
            (Some(next), keys)
        }
        Adopt::Entries(cursor) => {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(META).arg(cursor).arg("COUNT").arg(ADOPT);
            // Names and texts in turn.
            let (next, entries): (u64, Vec<Vec<u8>>) = steps.run(&scan).await?;
            let keys = entries.into_iter().step_by(2).collect();
            ((next != 0).then_some(Adopt::Entries(next)), keys)
        }
    };
    let keys: Vec<String> = found
        .into_iter()
        .filter_map(|key| String::from_utf8(key).ok())
        .filter(|key| !key.starts_with(METADATA))
        .collect();
    if !keys.is_empty() {
        let now_ms = wall_ms();
        match steps.take(Op::Adopt { now_ms, keys }).await {
            Outcome::Count(_) => {}
            // The store is another one by now; the engine finds out by itself.
            Outcome::Stale => return Ok(None),
            Outcome::Failed(reason) => return Err(reason),
            _ => return Err("adopting was answered with something else".to_owned()),
        }
    }
    Ok(next)
}

async fn next(subscriber: &mut Option<Subscriber>) -> Bytes {
    if let Some(subscriber) = subscriber {
        if let Some(message) = subscriber.next().await {
            return message.payload;
        }
    }
    std::future::pending().await
}

async fn finished(running: &mut Option<Running>) -> (Steps, Work, Done) {
    match running {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}
