//! What goes into an engine and what comes out.

use bytes::Bytes;

use crate::clock::Stamp;
use crate::region::{Author, Incarnation, Region};
use crate::store::{Op, Outcome};
use crate::wire::WireError;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The store of this `run_id` can be reached; whatever was known of it before is forgotten.
    Connected(String),
    /// The store cannot be reached any more.
    Disconnected,
    /// Some time has passed. Every 20 to 100 ms.
    Tick,
    /// A message came in.
    Message(Bytes),
    /// A step of [`Effect::Store`] is done.
    Store(Token, Outcome),
    /// [`Effect::Adopt`] is done.
    Adopted,
}

/// Names a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub(super) u64);

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send to every region, or to one.
    Send(Option<Region>, Bytes),
    /// Take a step in the store and report with [`Event::Store`].
    Store(Token, Op),
    /// Find the keys that lie in the store and belong to components, and those that have an entry, have them
    /// adopted ([`Op::Adopt`]), and report with [`Event::Adopted`].
    Adopt,
    /// Serve components, or stop.
    Serve(bool),
    /// Tell whoever watches.
    Notice(Notice),
}

/// What an operator wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A region is a member from now on.
    Joined(Region),
    /// A member was silent for longer than the retention. Nobody waits for it any more, but tombstones that
    /// it has not seen are kept until it is back.
    Evicted(Region),
    /// An operator has given up a region: nobody waits for it or listens to it any more.
    Forgotten(Region),
    /// This store takes a new incarnation.
    Minted(Incarnation, Reason),
    /// This store starts anew, after others have what only it had.
    StartsAnew(Reason),
    /// Two writes of a key without knowledge of each other.
    Conflict {
        /// The key.
        key: String,
        /// The write that stays.
        winner: Stamp,
        /// The write that is gone.
        loser: Stamp,
    },
    /// A register from a clock that is too far ahead. It is kept, and does not move the local clock.
    Ahead {
        /// The key.
        key: String,
        /// When it says it was written.
        stamp: Stamp,
    },
    /// A region's store, or one that it was filled from, is an old copy: another region remembers more of it than it
    /// does itself. Nothing of it comes in.
    OldCopy(Region),
    /// A message that was refused.
    Refused(Refused),
    /// This region and another hold the same, or not (and repair it).
    Digest {
        /// The other region.
        peer: Region,
        /// Whether they are equal.
        equal: bool,
    },
    /// Links in plain mode may have written to this store since it was replicated; what they changed becomes writes
    /// of this region.
    WrittenPlain,
    /// The store belongs to another group or region, named here; it is left alone.
    Foreign(String),
    /// A step in the store failed.
    StoreFailed(String),
}

/// Why a store takes a new incarnation or starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is empty.
    New,
    /// Its server is another process, and may have forgotten something.
    Restarted,
    /// It forgot something that others remember.
    RolledBack,
    /// It was filled from a store that had forgotten something.
    FilledFromCopy,
}

/// A message that was refused, and whose it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It could not be read.
    Wire(WireError),
    /// It speaks for an author that is not the sender's.
    Impostor {
        /// Who sent it.
        from: Region,
        /// For whom it speaks.
        author: Author,
    },
    /// Another process takes part as this region.
    Namesake,
    /// It comes from a region that an operator has given up.
    Forgotten(Region),
}
