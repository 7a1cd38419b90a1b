//! A real wasmCloud system of several regions on one machine, and faults on demand.
//!
//! [`lattice::Lattice`] starts and owns everything; the `lattice` program and the end-to-end
//! tests are its users.
//!
//! * what runs: [`hub`] (NATS with JetStream, wadm), [`place`] (a region: leaf node, Valkey,
//!   [`wasm_host`]), [`edge`] (where visitors come in), [`wan`] (delay and cuts between regions);
//! * how it is kept running: [`launch`] and [`supervise`] (processes), [`warden`] (hosts that went
//!   deaf), [`process_tree`] (providers);
//! * what is deployed: [`manifest`], [`application`], [`artifact`];
//! * how one talks to it: [`control`], [`status`], [`replication`], [`cli`], [`program`];
//! * where it lives: [`workspace`], [`toolbox`], [`port`], [`region`], [`stores`], [`config`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod application;
pub mod artifact;
pub mod cli;
pub mod config;
pub mod control;
pub mod edge;
pub mod error;
mod fault;
pub mod hub;
pub mod lattice;
pub mod launch;
pub mod manifest;
pub mod place;
pub mod port;
pub mod probe;
pub mod process_tree;
pub mod program;
pub mod region;
pub mod replication;
pub mod status;
pub mod stores;
pub mod supervise;
pub mod toolbox;
mod view;
pub mod wan;
pub mod warden;
pub mod wasm_host;
pub mod workspace;

pub use error::Error;
pub use lattice::{Lattice, Options};
pub use stores::Stores;
