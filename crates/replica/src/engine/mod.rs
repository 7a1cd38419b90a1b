//! The replication engine of one region.

mod apply;
mod boot;
mod collect;
mod config;
mod digest;
mod event;
mod origin;
mod peer;
mod pull;
mod recent;
mod serve;
mod status;
mod trim;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::apply::Applying;
use self::boot::Phase;
use self::digest::Comparing;
use self::origin::Origins;
use self::peer::Peer;
use self::pull::Pulling;
use self::recent::Recent;
use self::serve::Serving;
use crate::clock::{Now, Stamp};
use crate::region::{Author, Region};
use crate::store::{Cursor, Op, Outcome};
use crate::vector::VersionVector;
use crate::wire::{self, Envelope, Message};

pub use config::Config;
pub use event::{Effect, Event, Notice, Reason, Refused, Token};
pub use status::{ConflictStatus, PeerState, PeerStatus, Status};

/// Keeps one region's store in step with the others.
///
/// No clock, no network and no store inside: [`Engine::step`] takes what happened and the time, and returns what
/// is to be done. Steps in the store are to be taken in the order in which they are returned; messages
/// may be lost, repeated and reordered.
///
/// One engine per region leads at a time. A second one does no harm, every step in the store is checked
/// there, but it costs traffic.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    now: Now,
    effects: Vec<Effect>,
    tasks: BTreeMap<Token, Task>,
    next_token: u64,
    next_id: u64,
    phase: Phase,
    run: String,
    author: Option<Author>,
    lineage: Vec<Author>,
    suspicion: Option<(Author, u64)>,
    emptied: bool,
    /// Whether this store serves although others who start anew remember more.
    stays: bool,
    origins: Origins,
    vector: VersionVector,
    cursors: BTreeMap<Region, Cursor>,
    peers: BTreeMap<Region, Peer>,
    hello_at: u64,
    hello_asks: bool,
    /// When a hello names origins again.
    origins_at: u64,
    beat_at: u64,
    /// Whether entries of others came in since this region last took a number for no write.
    touched: bool,
    /// Regions that an operator has given up.
    forgotten: BTreeSet<Region>,
    collect_at: u64,
    trim_at: u64,
    /// Tombstones that this look has passed by, as they have to stay.
    dead_kept: usize,
    digest_at: u64,
    inbox: VecDeque<apply::Batch>,
    waiting: apply::Load,
    parked: BTreeMap<(Author, u64), wire::Push>,
    parked_load: apply::Load,
    applying: Option<Applying>,
    recent: Recent,
    pulling: Option<Pulling>,
    serving: Vec<Serving>,
    comparing: Comparing,
    conflicts: VecDeque<ConflictStatus>,
    conflict_count: u64,
    ahead: BTreeMap<String, Stamp>,
    sent_bytes: u64,
    dropped: u64,
}

/// What a step in the store was for.
#[derive(Debug)]
enum Task {
    Load,
    Mint,
    Approve,
    ApplyRead,
    ApplyCommit,
    Serve(u64),
    Dead,
    Collect,
    Beat,
    Wipe,
    Names,
    Scan,
    Trim,
    Members,
    Origins,
}

impl Engine {
    /// An engine that knows of no store yet ([`Event::Connected`]).
    pub fn new(config: Config) -> Self {
        Self {
            now: Now::default(),
            effects: Vec::new(),
            tasks: BTreeMap::new(),
            next_token: 0,
            // An answer to an earlier life of this region must not be taken for one to this life.
            next_id: config.entropy,
            config,
            phase: Phase::Down,
            run: String::new(),
            author: None,
            lineage: Vec::new(),
            suspicion: None,
            emptied: false,
            stays: false,
            origins: Origins::default(),
            vector: VersionVector::default(),
            cursors: BTreeMap::new(),
            peers: BTreeMap::new(),
            hello_at: 0,
            hello_asks: false,
            origins_at: 0,
            beat_at: 0,
            touched: true,
            forgotten: BTreeSet::new(),
            collect_at: 0,
            trim_at: 0,
            dead_kept: 0,
            digest_at: 0,
            inbox: VecDeque::new(),
            waiting: apply::Load::default(),
            parked: BTreeMap::new(),
            parked_load: apply::Load::default(),
            applying: None,
            recent: Recent::default(),
            pulling: None,
            serving: Vec::new(),
            comparing: Comparing::default(),
            conflicts: VecDeque::new(),
            conflict_count: 0,
            ahead: BTreeMap::new(),
            sent_bytes: 0,
            dropped: 0,
        }
    }

    /// Takes in what happened at `now` and returns what is to be done, in order.
    pub fn step(&mut self, event: Event, now: Now) -> Vec<Effect> {
        self.now = now;
        match event {
            Event::Connected(run) => self.connected(run),
            Event::Disconnected => self.disconnected(),
            Event::Adopted => self.adopted(),
            Event::Tick => self.tick(),
            Event::Message(bytes) => match wire::decode(&bytes) {
                Ok(envelope) => self.message(envelope, bytes.len()),
                Err(error) => self.notice(Notice::Refused(Refused::Wire(error))),
            },
            Event::Store(token, outcome) => {
                // Not a step of a connection that is gone, or of a batch that was given up: whatever that did, it is looked at anew.
                if let Some(task) = self.tasks.remove(&token) {
                    self.stored(task, outcome);
                }
            }
        }
        std::mem::take(&mut self.effects)
    }

    fn tick(&mut self) {
        self.tick_boot();
        if self.phase != Phase::Down && self.now.mono_ms >= self.hello_at {
            self.hello_at = self.now.mono_ms.saturating_add(self.config.hello_ms);
            self.load();
        }
        if !self.phase.has_store() {
            return;
        }
        self.tick_peers();
        self.tick_pull();
        self.tick_beat();
        self.tick_collect();
        self.tick_trim();
        self.tick_digest();
        self.pump();
    }

    fn message(&mut self, envelope: Envelope, bytes: usize) {
        let Envelope {
            group,
            from,
            message,
        } = envelope;
        if group != self.config.group {
            return;
        }
        if from == self.config.region {
            self.message_of_namesake(&message);
            return;
        }
        if !self.phase.has_store() {
            return;
        }
        if self.forgotten.contains(&from) {
            self.notice(Notice::Refused(Refused::Forgotten(from)));
            return;
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.received_bytes = peer
                .received_bytes
                .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        match message {
            Message::Hello(hello) => self.hello(from, hello),
            Message::Push(push) => self.push(from, push),
            Message::Pull(pull) => self.asked(from, pull),
            Message::Page(page) => self.page(from, page),
            Message::Applied(_) => {}
            Message::DigestAsk(ask) => self.digest_asked(from, ask.id),
            Message::Digest(digest) => self.digest_answered(from, digest),
        }
        self.pump();
    }

    fn message_of_namesake(&mut self, message: &Message) {
        // A broadcast comes back to its sender, and other instances of a region push what they wrote.
        if let (Message::Hello(hello), Some(author)) = (message, &self.author) {
            if hello.author != *author && !self.lineage.contains(&hello.author) {
                self.notice(Notice::Refused(Refused::Namesake));
            }
        }
    }

    fn stored(&mut self, task: Task, outcome: Outcome) {
        match outcome {
            Outcome::Stale => return self.reload(),
            Outcome::Failed(why) => {
                self.notice(Notice::StoreFailed(why));
                return self.failed(&task);
            }
            _ => {}
        }
        match (task, outcome) {
            (Task::Load, Outcome::Loaded(loaded)) => self.loaded(*loaded),
            (Task::Mint, Outcome::Done) => self.minted(),
            (Task::Approve, Outcome::Done) => self.approved(),
            (Task::ApplyRead, Outcome::Rows(rows)) => self.apply_read(rows),
            (Task::ApplyCommit, Outcome::Done) => self.apply_committed(),
            (Task::ApplyCommit, Outcome::Conflict(at)) => self.apply_conflict(at),
            (Task::Serve(id), Outcome::Page(page)) => self.serve_page(id, page),
            (Task::Names, Outcome::Names(names)) => self.scan_names(names),
            (Task::Scan, Outcome::Rows(rows)) => self.scan_rows(&rows),
            (Task::Dead, Outcome::Rows(rows)) => self.dead(rows),
            (Task::Beat, Outcome::Count(seq)) => self.beaten(seq),
            (Task::Wipe, Outcome::Count(left)) => self.wiped(left),
            _ => {}
        }
        self.pump();
    }

    /// A step failed without the connection being gone (or before that is known): what it was for is
    /// taken up again by a later tick.
    fn failed(&mut self, task: &Task) {
        match task {
            Task::ApplyRead | Task::ApplyCommit => self.apply_failed(),
            Task::Serve(id) => self.serving.retain(|serving| serving.id != *id),
            Task::Names | Task::Scan => self.comparing = Comparing::default(),
            Task::Mint | Task::Approve | Task::Wipe => self.reload(),
            Task::Origins => self.origins_failed(),
            Task::Load | Task::Dead | Task::Collect | Task::Beat | Task::Trim | Task::Members => {}
        }
    }

    fn store(&mut self, task: Task, op: Op) {
        let token = Token(self.next_token);
        self.next_token = self.next_token.wrapping_add(1);
        self.tasks.insert(token, task);
        self.effects.push(Effect::Store(token, op));
    }

    fn send(&mut self, to: Option<Region>, message: Message) {
        let bytes = wire::encode(&Envelope {
            group: self.config.group.clone(),
            from: self.config.region.clone(),
            message,
        });
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.sent_bytes = self.sent_bytes.saturating_add(length);
        self.effects.push(Effect::Send(to, bytes));
    }

    fn notice(&mut self, notice: Notice) {
        self.effects.push(Effect::Notice(notice));
    }

    fn id(&mut self) -> u64 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}
