//! The steps of a replicated store, and what they answer.

use bytes::Bytes;

use crate::clock::Hlc;
use crate::entry::Entry;
use crate::origin::Origin;
use crate::region::{Author, Incarnation, Region};
use crate::vector::VersionVector;

/// One atomic step. `src/store/script.lua` says what each does.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Reads what the store knows about itself.
    Load,
    /// Takes or renews the lead among a region's instances.
    Lease {
        /// The instance that asks.
        instance: String,
        /// How long the lead lasts without renewal.
        milliseconds: u64,
    },
    /// Writes of a component: all or none, unless an entry is damaged. An increment comes alone.
    Write {
        /// Wall time.
        now_ms: u64,
        /// What to write, in order.
        writes: Vec<Write>,
    },
    /// Puts merged entries in place, if the old ones are unchanged, and raises the vector.
    Commit(Commit),
    /// Reads entries.
    Read {
        /// Their keys.
        keys: Vec<String>,
    },
    /// Reads entries in the order of their changes here, from the change log; all, in no order, if it begins later.
    Page {
        /// The position after which to start.
        after: u64,
        /// At most this many.
        rows: usize,
        /// And not many more bytes than this.
        bytes: usize,
        /// Without entries that this covers.
        covered: VersionVector,
    },
    /// Reads which keys have an entry, in no order.
    Names {
        /// Where to go on ([`Names::next`]; 0 to begin); `None` reads no names.
        cursor: Option<u64>,
        /// About this many.
        rows: usize,
    },
    /// Drops from the change log what all have read.
    Trim {
        /// The position up to which all have read.
        upto: u64,
        /// Changes that are kept for who has not, beyond one and a half of each key.
        spare: usize,
    },
    /// Starts a new incarnation.
    Mint {
        /// The replication group.
        group: String,
        /// The store's region.
        region: Region,
        /// The new incarnation.
        incarnation: Incarnation,
        /// Wall time.
        now_ms: u64,
        /// Whether components may write already.
        phase: Phase,
    },
    /// Lets components write, or stops them.
    Approve {
        /// Whether components may write already.
        phase: Phase,
    },
    /// Makes values that lay there before the group did entries of the group, and, where plain links may have
    /// written since ([`Loaded::plain`]), what differs from its entry a write of now.
    Adopt {
        /// Wall time.
        now_ms: u64,
        /// Keys of values and of entries.
        keys: Vec<String>,
    },
    /// Reads tombstones.
    Dead {
        /// Wall time.
        now_ms: u64,
        /// Those that died here before this wall time.
        before_ms: u64,
        /// Without the first of them, which were looked at before.
        skip: usize,
        /// At most this many.
        rows: usize,
    },
    /// Forgets tombstones.
    Collect {
        /// The clock mark never falls behind a collected stamp.
        mark: Hlc,
        /// What to forget, with the version that was judged.
        entries: Vec<(String, Version)>,
    },
    /// Forgets everything, a part at a time.
    Wipe {
        /// At most this many entries.
        rows: usize,
    },
    /// Takes a number for no write.
    Beat,
    /// Keeps what the store is filled from, each in place of what was kept of the same store.
    Origins {
        /// Those that are new.
        origins: Vec<Origin>,
        /// Stores that are kept no more.
        gone: Vec<Author>,
    },
    /// Keeps what is known about members.
    Members {
        /// Per region.
        members: Vec<(Region, String)>,
    },
}

/// A write of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Stores a value.
    Set(String, Bytes),
    /// Removes a key.
    Delete(String),
    /// Adds to a counter.
    Increment(String, u64),
}

/// Merged entries, all or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// The clock mark is raised to this.
    pub mark: Hlc,
    /// Wall time.
    pub now_ms: u64,
    /// What changes.
    pub entries: Vec<Change>,
    /// A cursor into a peer's change log that has been worked off up to here.
    pub cursor: Option<(Region, Cursor)>,
    /// What is covered once the entries are in place.
    pub raise: VersionVector,
}

/// How far a peer's change log has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The peer's incarnation; in another one its positions mean something else.
    pub incarnation: Incarnation,
    /// The position read last.
    pub position: u64,
}

/// A merged entry on its way into the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its key.
    pub key: String,
    /// What it was merged with; anything else in the store is a conflict.
    pub expected: Expected,
    /// What replaces it. An empty entry forgets the key.
    pub entry: Entry,
}

/// What a change replaces.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// What was read.
    Read(Version),
    /// What an earlier change put there.
    Put(Entry),
}

/// An entry's metadata as the store holds it; equal exactly when nothing was written meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version(pub(crate) Bytes);

/// Whether components may use a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not yet: what lay in it is being adopted.
    Adopting,
    /// Not yet: it is being filled.
    Joining,
    /// Yes.
    Ready,
    /// No: it is being emptied, and what it says it covers is no longer there.
    Wiping,
}

/// What a step answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// [`Op::Load`].
    Loaded(Box<Loaded>),
    /// [`Op::Lease`]: whether the instance leads.
    Lease(bool),
    /// [`Op::Write`].
    Written(Vec<Written>),
    /// [`Op::Write`]: an increment of something else than a number; nothing was written.
    NotANumber,
    /// [`Op::Write`]: the counter would exceed `u64::MAX`; nothing was written.
    Overflow,
    /// [`Op::Write`] and [`Op::Beat`]: the store is being filled; nothing was written.
    Joining,
    /// [`Op::Commit`]: the entry at this place changed meanwhile; nothing was written.
    Conflict(usize),
    /// [`Op::Read`] and [`Op::Dead`].
    Rows(Vec<Row>),
    /// [`Op::Page`].
    Page(Page),
    /// [`Op::Names`].
    Names(Names),
    /// How many values were adopted, entries were collected, or are left to wipe; of
    /// [`Op::Beat`], the number.
    Count(u64),
    /// Done; there is nothing to say.
    Done,
    /// The store is not the one that the caller knew; nothing was written. Load it again.
    Stale,
    /// The store could not be reached, or answered what no version of the script answers. What was to be
    /// written may or may not have been.
    Failed(String),
}

/// What a store knows about itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// `None` for a store that never was part of a group.
    pub identity: Option<Identity>,
    /// What it covers, its own writes included.
    pub vector: VersionVector,
    /// Cursors into peers' change logs.
    pub cursors: Vec<(Region, Cursor)>,
    /// What was kept about members.
    pub members: Vec<(Region, String)>,
    /// What it was filled from.
    pub origins: Vec<Origin>,
    /// Whether the store emptied itself and was not filled since: others have what it had.
    pub emptied: bool,
    /// Whether links in plain mode may have written to it since it was replicated.
    pub plain: bool,
    /// Regions that an operator has given up.
    pub forgotten: Vec<Region>,
}

/// Whose store it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The group that it belongs to.
    pub group: String,
    /// The region and incarnation that write here.
    pub author: Author,
    /// The authors that wrote here since the store was last empty, this one included.
    pub lineage: Vec<Author>,
    /// The server process that was approved last.
    pub run: String,
    /// Whether components may use it.
    pub phase: Phase,
}

/// The answer to one [`Write`].
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Its number; `None` when there was nothing to do.
    pub seq: Option<u64>,
    /// The sum after an increment.
    pub sum: Option<u64>,
    /// The entry as it is now; `None` when there was nothing to do.
    pub entry: Option<Entry>,
}

/// An entry as it lies in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its key.
    pub key: String,
    /// Empty when the store has none.
    pub entry: Entry,
    /// To replace exactly this.
    pub version: Version,
}

/// A part of the change log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The position of the last change in the store.
    pub head: u64,
    /// The position up to which this page goes, in the log or in a list of all keys; the head on the last.
    pub upto: u64,
    /// Whether it is the last.
    pub ends: bool,
    /// What the store covered when the page was read.
    pub vector: VersionVector,
    /// The entries.
    pub rows: Vec<Row>,
}

/// Keys that have an entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    /// The position of the last change in the store.
    pub head: u64,
    /// What the store covers.
    pub vector: VersionVector,
    /// How many keys have an entry.
    pub count: u64,
    /// Where to go on; `None` after the last.
    pub next: Option<u64>,
    /// Each with the bytes of its visible value. One may come twice if there are writes between the parts.
    pub names: Vec<(String, usize)>,
}
