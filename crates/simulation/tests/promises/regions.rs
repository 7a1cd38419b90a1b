//! Regions with a store each, whose steps the very script takes, and every order in which they can hear of
//! each other.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use replica::clock::Hlc;
use replica::entry::Entry;
use replica::merge::{conflict, merge, Conflict, Seen};
use replica::region::Author;
use replica::store::{
    Change, Commit, Expected, Op, Outcome, Page, Phase, Row, Session, Step, Write, Written, SCRIPT,
};
use replica::vector::VersionVector;
use replica::wire::Push;
use simulation::valkey::{Data, Interpreter};

/// The wall clock of whoever hears of something.
const NOW: u64 = 10_000;
/// So far ahead a stamp may be and still move a clock.
const CLOCK_BOUND: u64 = 60_000;

/// How one region hears of another's writes.
#[derive(Clone, Copy, Debug)]
enum Road {
    /// It reads the other's change log to the end.
    Log,
    /// It is told of the other's own writes, one after the other.
    News,
}

/// Some regions. Numbers name them, in the order in which they were given.
#[derive(Clone, Debug)]
pub struct Regions {
    interpreter: Rc<Interpreter>,
    stores: Vec<Store>,
    /// Of all regions, in the order in which they were noticed.
    pub conflicts: Vec<Conflict>,
    /// How often the script ran.
    pub calls: usize,
}

#[derive(Clone, Debug)]
struct Store {
    author: Author,
    data: Data,
    session: Session,
    /// What it told the others, one message per step.
    news: Vec<Push>,
}

impl Regions {
    /// Empty stores that serve, written by these authors (`REGION/INCARNATION`).
    pub fn new(authors: &[&str]) -> Self {
        let store = |name: &&str| Store {
            author: name.parse().unwrap(),
            data: Data::default(),
            session: Session::new(format!("run-{name}")),
            news: Vec::new(),
        };
        let mut regions = Self {
            interpreter: Rc::new(Interpreter::new(SCRIPT).unwrap()),
            stores: authors.iter().map(store).collect(),
            conflicts: Vec::new(),
            calls: 0,
        };
        for at in 0..authors.len() {
            regions.begin(at);
        }
        regions
    }

    pub fn author(&self, at: usize) -> &Author {
        &self.stores[at].author
    }

    /// All that lies in a region's store.
    pub fn data(&mut self, at: usize) -> &mut Data {
        &mut self.stores[at].data
    }

    /// Takes a step.
    pub fn take(&mut self, at: usize, op: Op) -> Outcome {
        let mut session = std::mem::take(&mut self.stores[at].session);
        let outcome = self.take_as(&mut session, at, op);
        self.stores[at].session = session;
        outcome
    }

    /// Takes a step as somebody who believes other things of the store.
    pub fn take_as(&mut self, session: &mut Session, at: usize, op: Op) -> Outcome {
        let mut step = Step::new(op);
        loop {
            let call = step.call(session);
            let data = &mut self.stores[at].data;
            let value = self.interpreter.run(data, &call).unwrap();
            self.calls += 1;
            if let Some(outcome) = step.accept(session, value) {
                return outcome;
            }
        }
    }

    /// Goes on in another server process, in another life.
    pub fn mint(&mut self, at: usize, run: &str, incarnation: u64) {
        self.stores[at].session = Session::new(run.to_owned());
        self.stores[at].author.incarnation = incarnation.try_into().unwrap();
        self.begin(at);
    }

    /// Begins the life that the region's author names.
    fn begin(&mut self, at: usize) {
        self.load(at);
        let author = self.author(at).clone();
        let mint = Op::Mint {
            group: "g".to_owned(),
            region: author.region,
            incarnation: author.incarnation,
            now_ms: 1,
            phase: Phase::Ready,
        };
        assert_eq!(self.take(at, mint), Outcome::Done);
    }

    /// Whether the stores have as much as `maxmemory` allows from now on.
    pub fn fill(&self, full: bool) {
        self.interpreter.fill(full);
    }

    /// The error that refuses writes.
    pub fn refused(&mut self, at: usize, now_ms: u64, writes: Vec<Write>) -> String {
        let mut step = Step::new(Op::Write { now_ms, writes });
        let store = &mut self.stores[at];
        let call = step.call(&store.session);
        let refused = self.interpreter.run(&mut store.data, &call);
        refused.unwrap_err().to_string()
    }

    pub fn load(&mut self, at: usize) -> VersionVector {
        match self.take(at, Op::Load) {
            Outcome::Loaded(loaded) => loaded.vector,
            other => panic!("a load answered {other:?}"),
        }
    }

    /// Writes, whatever comes of it.
    pub fn attempt(&mut self, at: usize, now_ms: u64, writes: Vec<Write>) -> Outcome {
        self.take(at, Op::Write { now_ms, writes })
    }

    /// Writes in one step, and keeps the news for the others.
    pub fn write(&mut self, at: usize, now_ms: u64, writes: Vec<Write>) -> Vec<Written> {
        let seen = self.load(at);
        let keys: Vec<String> = writes.iter().map(key).collect();
        let written = match self.attempt(at, now_ms, writes) {
            Outcome::Written(written) => written,
            other => panic!("a write answered {other:?}"),
        };
        let numbers = || written.iter().filter_map(|written| written.seq);
        if let (Some(first), Some(last)) = (numbers().min(), numbers().max()) {
            let latest: BTreeMap<String, Entry> = keys
                .into_iter()
                .zip(&written)
                .filter_map(|(key, written)| Some((key, written.entry.clone()?)))
                .collect();
            let author = self.author(at).clone();
            self.stores[at].news.push(Push {
                author,
                first,
                last,
                seen,
                ack: false,
                entries: latest.into_iter().collect(),
            });
        }
        written
    }

    pub fn set(&mut self, at: usize, now_ms: u64, key: &str, value: &str) {
        self.write(at, now_ms, vec![set(key, value)]);
    }

    pub fn delete(&mut self, at: usize, now_ms: u64, key: &str) {
        self.write(at, now_ms, vec![delete(key)]);
    }

    /// The sum that the caller is told.
    pub fn increment(&mut self, at: usize, now_ms: u64, key: &str, delta: u64) -> u64 {
        let written = self.write(at, now_ms, vec![increment(key, delta)]);
        written[0].sum.unwrap()
    }

    /// A part of a region's change log.
    pub fn page(&mut self, at: usize, after: u64, rows: usize) -> Page {
        self.page_of(at, after, rows, 1 << 20, VersionVector::default())
    }

    /// A part of at most so many bytes, but for one entry, of what a vector does not cover.
    pub fn page_of(
        &mut self,
        at: usize,
        after: u64,
        rows: usize,
        bytes: usize,
        covered: VersionVector,
    ) -> Page {
        let op = Op::Page {
            after,
            rows,
            bytes,
            covered,
        };
        match self.take(at, op) {
            Outcome::Page(page) => page,
            other => panic!("a page answered {other:?}"),
        }
    }

    /// One region reads all of another's change log.
    pub fn pull(&mut self, at: usize, from: usize) {
        let page = self.page(from, 0, 1_000);
        let seen = page.vector.clone();
        self.take_in(at, page.rows, &seen, &page.vector);
    }

    /// Merges what came from a region that covered `seen`; afterwards `raise` is covered here, too.
    pub fn take_in(
        &mut self,
        at: usize,
        rows: Vec<Row>,
        seen: &VersionVector,
        raise: &VersionVector,
    ) {
        let entries = rows.into_iter().map(|row| (row.key, row.entry));
        self.apply(at, entries.collect(), seen, raise);
    }

    /// As the engine does it, without a component that writes between two of its steps.
    fn apply(
        &mut self,
        at: usize,
        incoming: Vec<(String, Entry)>,
        seen: &VersionVector,
        raise: &VersionVector,
    ) {
        let vector = self.load(at);
        let mut commit = Commit {
            now_ms: NOW,
            raise: raise.clone(),
            ..Commit::default()
        };
        let keys = incoming.iter().map(|(key, _)| key.clone()).collect();
        let rows = match self.take(at, Op::Read { keys }) {
            Outcome::Rows(rows) => rows,
            other => panic!("a read answered {other:?}"),
        };
        for (row, (_, entry)) in rows.into_iter().zip(&incoming) {
            let mine = Seen {
                entry: &row.entry,
                vector: &vector,
            };
            let theirs = Seen {
                entry,
                vector: seen,
            };
            self.conflicts.extend(conflict(mine, theirs));
            let merged = merge(mine, theirs);
            let at = |entry: &Entry| entry.register.as_ref().map(|register| register.stamp.at);
            let told = at(entry).filter(|at| at.wall_ms <= NOW + CLOCK_BOUND);
            let dropped = at(&row.entry).filter(|_| merged.register.is_none());
            let mark: Option<Hlc> = told.max(dropped);
            commit.mark = commit.mark.max(mark.unwrap_or_default());
            if merged != row.entry {
                commit.entries.push(Change {
                    key: row.key,
                    expected: Expected::Read(row.version),
                    entry: merged,
                });
            }
        }
        assert_eq!(self.take(at, Op::Commit(commit)), Outcome::Done);
    }

    /// One region is told of all that another one wrote.
    fn tell(&mut self, at: usize, from: usize) {
        for push in self.stores[from].news.clone() {
            let have = self.load(at).get(&push.author);
            if push.last > have {
                assert_eq!(push.first, have + 1, "a write before this one is missing");
                let raise = [(push.author, push.last)].into_iter().collect();
                self.apply(at, push.entries, &push.seen, &raise);
            }
        }
    }

    /// All hear of all.
    pub fn share(&mut self) {
        for (at, from) in pairs(self.stores.len()) {
            self.pull(at, from);
        }
    }

    /// Lets all hear of all in every order, by either road, and looks at what comes of each: all hold the same,
    /// it is what `check` says, and hearing all of it again changes nothing.
    pub fn in_every_order(&self, check: impl Fn(&mut Self)) {
        for order in permutations(&pairs(self.stores.len())) {
            for road in [Road::Log, Road::News] {
                let mut regions = self.clone();
                for (at, from) in &order {
                    match road {
                        Road::Log => regions.pull(*at, *from),
                        Road::News => regions.tell(*at, *from),
                    }
                }
                let held = regions.agreed(&format!("{road:?} {order:?}"));
                if let Road::Log = road {
                    let mut again = regions.clone();
                    again.share();
                    assert_eq!(again.agreed("hearing it again"), held);
                    assert_eq!(again.conflicts, regions.conflicts);
                }
                check(&mut regions);
            }
        }
    }

    /// What all hold; fails when one holds something else, covers something else, or shows something else. Of
    /// tombstones some may be forgotten here, and not there yet.
    #[track_caller]
    fn agreed(&mut self, order: &str) -> BTreeMap<String, Entry> {
        let (first, covered) = (self.alive(0), self.load(0));
        let shown = self.stores[0].data.visible();
        for at in 1..self.stores.len() {
            assert_eq!(self.alive(at), first, "region {at} after {order}");
            assert_eq!(self.load(at), covered, "region {at} after {order}");
            let visible = self.stores[at].data.visible();
            assert_eq!(visible, shown, "region {at} after {order}");
        }
        first
    }

    fn alive(&mut self, at: usize) -> BTreeMap<String, Entry> {
        let mut entries = self.entries(at);
        entries.retain(|_, entry| !entry.is_dead());
        entries
    }

    /// All entries of a store.
    pub fn entries(&mut self, at: usize) -> BTreeMap<String, Entry> {
        let rows = self.page(at, 0, 1_000).rows;
        rows.into_iter().map(|row| (row.key, row.entry)).collect()
    }

    /// Forgets every tombstone of a store.
    pub fn collect(&mut self, at: usize) -> u64 {
        let dead = Op::Dead {
            now_ms: NOW,
            before_ms: NOW,
            skip: 0,
            rows: 1_000,
        };
        let rows = match self.take(at, dead) {
            Outcome::Rows(rows) => rows,
            other => panic!("the tombstones are {other:?}"),
        };
        let stamps = rows.iter().filter_map(|row| row.entry.register.as_ref());
        let mark = stamps.map(|register| register.stamp.at).max();
        let entries = rows.into_iter().map(|row| (row.key, row.version)).collect();
        let mark = mark.unwrap_or_default();
        match self.take(at, Op::Collect { mark, entries }) {
            Outcome::Count(count) => count,
            other => panic!("collecting answered {other:?}"),
        }
    }

    /// What a region shows.
    pub fn shown(&self, at: usize, key: &str) -> Option<String> {
        let value = self.stores[at].data.get(key);
        value.map(|value| String::from_utf8_lossy(value).into_owned())
    }

    #[track_caller]
    pub fn shows(&self, at: usize, key: &str, expected: Option<&str>) {
        let shown = self.shown(at, key);
        assert_eq!(shown.as_deref(), expected, "{key} in region {at}");
    }

    #[track_caller]
    pub fn all_show(&self, key: &str, expected: Option<&str>) {
        for at in 0..self.stores.len() {
            self.shows(at, key, expected);
        }
    }
}

pub fn set(key: &str, value: &str) -> Write {
    Write::Set(key.to_owned(), Bytes::copy_from_slice(value.as_bytes()))
}

pub fn delete(key: &str) -> Write {
    Write::Delete(key.to_owned())
}

pub fn increment(key: &str, delta: u64) -> Write {
    Write::Increment(key.to_owned(), delta)
}

fn key(write: &Write) -> String {
    match write {
        Write::Set(key, _) | Write::Delete(key) | Write::Increment(key, _) => key.clone(),
    }
}

/// Everybody with everybody else.
fn pairs(regions: usize) -> Vec<(usize, usize)> {
    let all = (0..regions).flat_map(|at| (0..regions).map(move |from| (at, from)));
    all.filter(|(at, from)| at != from).collect()
}

fn permutations<T: Clone>(of: &[T]) -> Vec<Vec<T>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for at in 0..of.len() {
        let mut rest = of.to_vec();
        let first = rest.remove(at);
        for mut order in permutations(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}
