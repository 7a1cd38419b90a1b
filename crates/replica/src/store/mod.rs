//! The store of one region, as steps that each are atomic.
//!
//! [`Op`] says what can be asked, [`Outcome`] what comes back. [`Step`] turns one into the arguments of
//! [`SCRIPT`] and its reply into the other; who drives it only carries them to a server that runs
//! the script: Valkey in the provider, a Lua interpreter over a map in the simulation.

mod op;
mod reply;
mod request;
mod session;

pub use op::{
    Change, Commit, Cursor, Expected, Identity, Loaded, Names, Op, Outcome, Page, Phase, Row,
    Version, Write, Written,
};
pub use session::{Session, Step, Value};

/// Keys that begin with this are the replication's own.
pub const METADATA: &str = "@kv/r/";

/// The script that every step runs.
pub const SCRIPT: &str = include_str!("script.lua");
