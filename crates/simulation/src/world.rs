//! Regions, the network between them, time, and the clients.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, Context as _, Result};
use bytes::Bytes;
use fastrand::Rng;
use replica::clock::Now;
use replica::region::Region;
use replica::store::{Change, Expected, Op, Outcome};
use replica::vector::VersionVector;
use replica::{Config, Effect, Event, Notice, Reason, Token};

use crate::bug::Bug;
use crate::history::History;
use crate::site::{take, Site};
use crate::valkey::Interpreter;

/// Wall time at which every world begins.
pub(crate) const BEGIN_MS: u64 = 1_800_000_000_000;
/// Between two ticks of an engine.
const TICK_MS: u64 = 50;
/// Tombstones are kept for this long, so that a run sees them go.
pub const TOMBSTONE_MS: u64 = 6_000;
/// From then on the components of a quiet region write nothing, as long as things go wrong.
pub const QUIET_MS: u64 = 10_000;
/// Between two readings of a peer's change log without need.
pub(crate) const PULL_MS: u64 = 10_000;
/// Between two looks at what all have read.
pub(crate) const TRIM_MS: u64 = 2_000;
/// A region silent for this long is evicted.
pub const RETENTION_MS: u64 = 30_000;

/// What happens at some time.
#[derive(Debug)]
pub enum Happening {
    /// A provider's clock ticks.
    Tick(usize, u64),
    /// A message arrives.
    Deliver(usize, Bytes),
    /// The store carries out the first step that waits.
    Execute(usize, u64),
    /// The provider hears of it.
    Outcome(usize, u64, Token, Outcome),
    /// A component writes something.
    Client(usize),
    /// A provider instance looks at the vector.
    Refresh(usize),
    /// A copy of a disk is put aside.
    Backup(usize),
    /// A provider dies.
    Die(usize, u64),
    /// A store restarts while it makes a list of all its keys.
    RestartListing(usize, u64),
    /// Something goes wrong.
    Fault,
    /// Something is mended.
    Mend(Mend),
}

/// What is mended again.
#[derive(Debug)]
pub enum Mend {
    /// The way from one region to another.
    Way(usize, usize),
    /// A provider.
    Provider(usize),
    /// A clock.
    Clock(usize),
}

/// How a network behaves, in tenths of a percent.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Lost.
    pub loss: u32,
    /// Delivered twice.
    pub twice: u32,
    /// Very late: after up to 25 s.
    pub late: u32,
}

/// A world in the making.
#[derive(Debug)]
pub struct World {
    /// The source of every decision.
    pub rng: Rng,
    /// Milliseconds since the beginning.
    pub now: u64,
    /// The regions; later ones may not have begun.
    pub sites: Vec<Site>,
    /// Ways that are cut.
    pub cut: BTreeSet<(usize, usize)>,
    /// How messages travel.
    pub weather: Weather,
    /// All writes.
    pub history: History,
    /// Which faults happened, and how often.
    pub faults: BTreeMap<&'static str, u32>,
    /// What happened, in words, in order.
    pub story: Vec<String>,
    /// Notices of the engines, by kind.
    pub notices: BTreeMap<&'static str, u32>,
    /// Regions that another one has heard of.
    pub known: BTreeSet<Region>,
    /// Which regions found that another one's digest is equal to theirs.
    pub compared: BTreeSet<(usize, Region)>,
    /// Whether components write.
    pub writing: bool,
    /// Whether things go wrong.
    pub failing: bool,
    /// Regions whose stores refuse what others wrote, as when they are out of memory.
    pub full: BTreeSet<usize>,
    /// What is broken on purpose.
    pub bug: Option<Bug>,
    pub(crate) interpreter: Interpreter,
    queue: BTreeMap<(u64, u64), Happening>,
    numbered: u64,
    /// Values that were written.
    pub(crate) values: u64,
    /// What components were told of counters, per region; they never fall below.
    pub(crate) floors: BTreeMap<(usize, String), u64>,
}

impl World {
    /// A world of `sites` regions that all begin at once.
    pub fn new(rng: Rng, sites: usize, bug: Option<Bug>) -> Result<Self> {
        const NAMES: [&str; 9] = [
            "ams", "fra", "gru", "iad", "jnb", "lax", "nrt", "sin", "syd",
        ];
        let script = bug.map_or_else(
            || replica::store::SCRIPT.to_owned(),
            |bug| bug.script(replica::store::SCRIPT),
        );
        let mut rng = rng;
        let mut quiet = rng.fork();
        let weather = Weather {
            loss: rng.u32(0..60),
            twice: rng.u32(0..60),
            late: rng.u32(0..6),
        };
        let mut world = Self {
            rng,
            now: 0,
            sites: NAMES
                .iter()
                .take(sites)
                .map(|name| Ok(Site::new(name.parse()?, quiet.u8(0..3) == 0)))
                .collect::<Result<_>>()?,
            cut: BTreeSet::new(),
            weather,
            history: History::default(),
            faults: BTreeMap::new(),
            story: Vec::new(),
            notices: BTreeMap::new(),
            known: BTreeSet::new(),
            compared: BTreeSet::new(),
            writing: true,
            failing: true,
            full: BTreeSet::new(),
            bug,
            interpreter: Interpreter::new(&script)?,
            queue: BTreeMap::new(),
            numbered: 0,
            values: 0,
            floors: BTreeMap::new(),
        };
        for site in 0..sites {
            world.at(site as u64, Happening::Refresh(site));
            world.at(100, Happening::Client(site));
            if world.sites[site].quiet {
                world.at(QUIET_MS + 1_000, Happening::Backup(site));
            }
        }
        world.at(3_000, Happening::Fault);
        Ok(world)
    }

    /// Lets something happen in `after` milliseconds.
    pub fn at(&mut self, after: u64, happening: Happening) {
        self.numbered += 1;
        self.queue
            .insert((self.now + after, self.numbered), happening);
    }

    /// Lets time pass up to `until`.
    pub fn run(&mut self, until: u64) -> Result<()> {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.happen(happening)
                .with_context(|| format!("at {at} ms"))?;
        }
        self.now = until;
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<()> {
        match happening {
            Happening::Tick(site, life) => {
                if self.sites[site].life == life {
                    self.at(TICK_MS, Happening::Tick(site, life));
                    self.step(site, Event::Tick)?;
                }
            }
            Happening::Deliver(site, bytes) => self.step(site, Event::Message(bytes))?,
            Happening::Execute(site, life) => self.execute(site, life)?,
            Happening::Outcome(site, life, token, outcome) => {
                if self.sites[site].life == life {
                    self.step(site, Event::Store(token, outcome))?;
                }
            }
            Happening::Client(site) => self.client(site)?,
            Happening::Refresh(site) => self.refresh(site)?,
            Happening::Backup(site) => {
                crate::fault::backup(self, site);
            }
            Happening::Die(site, life) => {
                if self.sites[site].life == life {
                    crate::fault::kill(self, site, 100..5_000)?;
                }
            }
            Happening::RestartListing(site, life) => {
                if self.sites[site].life == life && self.failing {
                    crate::fault::restart_listing(self, site);
                }
            }
            Happening::Fault => {
                crate::check::logs(self)?;
                crate::fault::happen(self)?;
            }
            Happening::Mend(mend) => crate::fault::mend(self, &mend)?,
        }
        Ok(())
    }

    /// Adds to the story.
    pub fn tell(&mut self, site: usize, what: &str) {
        let line = format!("{:6} {} {what}", self.now, self.sites[site].region);
        self.story.push(line);
    }

    /// Notes that something went wrong.
    pub fn count_fault(&mut self, site: usize, name: &'static str) {
        self.tell(site, name);
        *self.faults.entry(name).or_default() += 1;
    }

    /// Starts a region's provider.
    pub fn start(&mut self, site: usize) -> Result<()> {
        let mut config = Config::new(
            "sim".to_owned(),
            self.sites[site].region.clone(),
            self.rng.u64(..),
        );
        // An answer to a pull is put in place in more than one step, and a pull takes more than one answer.
        config.rows = 4;
        config.page = 8;
        config.bytes = 4_096;
        config.queue = 64;
        config.origins = 12;
        // Not the same everywhere: what one region has forgotten another may still hold.
        config.tombstone_ms = self.rng.u64(TOMBSTONE_MS / 2..=TOMBSTONE_MS);
        config.retention_ms = RETENTION_MS;
        // Numbers that are taken for no write come often here, too, and vectors have to be equal for a comparison.
        config.digest_ms = 2_000;
        config.pull_ms = PULL_MS;
        config.trim_ms = TRIM_MS;
        config.log = 8;
        let place = &mut self.sites[site];
        place.start(config);
        let (life, run) = (place.life, place.run_id());
        self.at(TICK_MS, Happening::Tick(site, life));
        self.step(site, Event::Connected(run))
    }

    /// The time that a region's provider sees.
    pub fn clock(&self, site: usize) -> Now {
        let wall = (BEGIN_MS + self.now).saturating_add_signed(self.sites[site].clock_ms);
        Now {
            wall_ms: wall,
            mono_ms: self.now,
        }
    }

    /// Hands a region's engine an event and does what it asks for.
    pub fn step(&mut self, site: usize, event: Event) -> Result<()> {
        let now = self.clock(site);
        if self.sites[site].paused_until > self.now {
            // What comes in waits in the process's sockets; ticks do not pile up.
            let after = self.sites[site].paused_until - self.now;
            match event {
                Event::Message(bytes) => self.at(after, Happening::Deliver(site, bytes)),
                Event::Store(token, outcome) => {
                    let life = self.sites[site].life;
                    self.at(after, Happening::Outcome(site, life, token, outcome));
                }
                _ => {}
            }
            return Ok(());
        }
        if self.sites[site].engine.is_none() {
            return Ok(());
        }
        let event = match (self.bug, event) {
            (Some(bug), Event::Message(bytes)) => {
                Event::Message(bug.hears(bytes, &self.vector(site)?))
            }
            (_, event) => event,
        };
        let Some(engine) = &mut self.sites[site].engine else {
            return Ok(());
        };
        let mut effects = engine.step(event, now);
        if let Some(bug) = self.bug {
            bug.effects(&mut effects);
        }
        for effect in effects {
            self.effect(site, effect)?;
        }
        Ok(())
    }

    fn effect(&mut self, site: usize, effect: Effect) -> Result<()> {
        match effect {
            Effect::Send(to, bytes) => self.send(site, to.as_ref(), &bytes),
            Effect::Store(token, op) => {
                // A step in fifty is slow: the disk, or a long script before it.
                let slow = self.rng.u8(0..50) == 0;
                let wait = self.rng.u64(if slow { 50..300 } else { 0..2 });
                let place = &mut self.sites[site];
                place.steps.push_back((token, op));
                place.busy_until = place.busy_until.max(self.now) + wait;
                let (after, life) = (place.busy_until - self.now, place.life);
                self.at(after, Happening::Execute(site, life));
            }
            Effect::Adopt => self.adopt(site)?,
            Effect::Serve(serving) => {
                // Other instances of the provider do not hear of it at once; the script has to refuse them.
                self.sites[site].serving = serving;
            }
            Effect::Notice(notice) => self.note(site, &notice)?,
        }
        Ok(())
    }

    fn note(&mut self, site: usize, notice: &Notice) -> Result<()> {
        let often = matches!(
            notice,
            Notice::Conflict { .. } | Notice::Ahead { .. } | Notice::Digest { .. }
        );
        if !often {
            self.tell(site, &format!("{notice:?}"));
        }
        let name = match notice {
            Notice::Joined(region) => {
                self.known.insert(region.clone());
                "joined"
            }
            Notice::Evicted(_) => "evicted",
            Notice::Minted(..) => "minted",
            Notice::StartsAnew(Reason::FilledFromCopy) => "was filled from a copy",
            Notice::StartsAnew(_) => "starts anew",
            Notice::WrittenPlain => "written plain",
            Notice::Forgotten(_) => "forgotten",
            Notice::Conflict { .. } => "conflict",
            Notice::Ahead { .. } => "ahead",
            Notice::OldCopy(_) => "old copy",
            Notice::Refused(_) => "refused",
            Notice::Digest { peer, equal: true } => {
                self.compared.insert((site, peer.clone()));
                "digests equal"
            }
            Notice::Digest { peer, .. } => bail!(
                "{} and {peer} cover the same and differ:{}",
                self.sites[site].region,
                crate::check::difference(self, site, peer)?
            ),
            Notice::Foreign(owner) => bail!("a store belongs to {owner}"),
            Notice::StoreFailed(why) if why.contains("OOM") => "step failed",
            Notice::StoreFailed(why) => bail!("a step failed: {why}"),
        };
        *self.notices.entry(name).or_default() += 1;
        Ok(())
    }

    /// Sends a message on its way, or loses it.
    pub fn send(&mut self, from: usize, to: Option<&Region>, bytes: &Bytes) {
        for site in 0..self.sites.len() {
            if site == from || to.is_some_and(|to| *to != self.sites[site].region) {
                continue;
            }
            if self.cut.contains(&(from, site)) || self.rng.u32(0..1_000) < self.weather.loss {
                continue;
            }
            let copies = 1 + u32::from(self.rng.u32(0..1_000) < self.weather.twice);
            for _ in 0..copies {
                let late = self.rng.u32(0..1_000) < self.weather.late;
                let after = if late {
                    self.rng.u64(1_000..25_000)
                } else {
                    self.rng.u64(1..60)
                };
                self.at(after, Happening::Deliver(site, bytes.clone()));
            }
        }
    }

    fn execute(&mut self, site: usize, life: u64) -> Result<()> {
        if self.sites[site].life != life {
            return Ok(());
        }
        let Some((token, op)) = self.sites[site].steps.pop_front() else {
            return Ok(());
        };
        self.race(site, &op)?;
        let place = &mut self.sites[site];
        let full = self.full.contains(&site);
        let lists = matches!(&op, Op::Page { .. });
        let unread = |change: &Change| matches!(change.expected, Expected::Put(_));
        let unread = matches!(&op, Op::Commit(commit) if commit.entries.iter().any(unread));
        self.interpreter.fill(full);
        let outcome = take(&self.interpreter, &mut place.data, &mut place.session, op);
        self.interpreter.fill(false);
        let outcome = match outcome {
            Err(error) if full && error.to_string().contains("OOM") => {
                Outcome::Failed(error.to_string())
            }
            outcome => outcome?,
        };
        let name = match &outcome {
            Outcome::Done if unread => Some("put in place unread"),
            Outcome::Conflict(_) if unread => Some("remembered another entry"),
            _ => None,
        };
        if let Some(name) = name {
            *self.notices.entry(name).or_default() += 1;
        }
        let after = self.rng.u64(0..2);
        self.at(after, Happening::Outcome(site, life, token, outcome));
        // By chance alone a store hardly ever restarts before such a list is whole.
        if lists && self.failing && self.sites[site].is_listing() && self.rng.u8(0..16) == 0 {
            let after = self.rng.u64(0..100);
            self.at(after, Happening::RestartListing(site, life));
        }
        Ok(())
    }

    /// Carries out, or not, the step that a dying provider had sent.
    pub fn last_step(&mut self, site: usize) -> Result<()> {
        if self.rng.bool() {
            let place = &mut self.sites[site];
            if let Some((_, op)) = place.steps.pop_front() {
                take(&self.interpreter, &mut place.data, &mut place.session, op)?;
            }
        }
        Ok(())
    }

    /// What the other stores cover.
    pub fn elsewhere(&self, site: usize) -> Result<VersionVector> {
        let mut vector = VersionVector::default();
        for (other, place) in self.sites.iter().enumerate() {
            if other != site {
                vector.merge(&place.vector()?);
            }
        }
        Ok(vector)
    }

    /// What a store covers.
    pub fn vector(&self, site: usize) -> Result<VersionVector> {
        self.sites[site].vector()
    }

    /// What was seen of counters in a region is no bound any more: its disk was set back.
    pub fn forget_floors(&mut self, site: usize) {
        self.floors.retain(|(at, _), _| *at != site);
    }
}
