//! Active-active replication of a key-value store between regions, sans-I/O.
//!
//! Every region reads and writes its own store alone; all of them converge, and no acknowledged write is lost or
//! counted twice, whatever the network, the disks and the clocks do. The crate holds the rules and
//! nothing else: no clock, no network, no store. A provider drives it over Valkey and NATS, a simulation over
//! a Lua interpreter and a queue of messages.
//!
//! - [`region`], [`clock`], [`vector`]: who writes, when, and who has it
//! - [`entry`], [`merge`]: what is kept about a key, and the one merge rule
//! - [`origin`]: what a store was filled from
//! - [`store`]: the atomic steps of a region's store, and the script that takes them
//! - [`wire`]: what regions say to each other
//! - [`Engine`]: what a region does about all that: `step(event, now) -> effects`
//!
//! `docs/replication.md` says what each operation of `wasi:keyvalue` promises.

pub mod blob;
pub mod clock;
mod engine;
pub mod entry;
pub mod merge;
pub mod number;
pub mod origin;
pub mod region;
pub mod store;
pub mod vector;
pub mod wire;

pub use engine::{
    Config, ConflictStatus, Effect, Engine, Event, Notice, PeerState, PeerStatus, Reason, Refused,
    Status, Token,
};
