//! A real lattice under load while a seeded schedule of real faults strikes it, and checkers over what its clients
//! saw; `make chaos` runs it and `docs/chaos.md` explains what it prints.
//!
//! * [`plan`] is the command line; [`schedule`] deals the [`fault`]s of a seed;
//! * [`ground`] is the lattice, deployed with the manifest that [`manifest`] composes; [`strike`] makes faults happen
//!   and proves that they did;
//! * who uses it: [`client`]s over the [`store`]'s own protocol, [`visitor`]s over HTTP; [`observer`] looks into the
//!   regions' Valkeys; all of them note what they see in a [`history`], through a [`recorder`];
//! * [`run`] plays it all, [`ending`] waits until every region is the same;
//! * [`check`] judges the history by the [`key`]s, [`measure`] reads off what faults cost, [`round`] puts both to
//!   each fault;
//! * [`report`] is the result, [`html`] and [`timeline`] show it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod check;
pub mod client;
pub mod ending;
pub mod fault;
pub mod ground;
pub mod history;
pub mod html;
pub mod key;
pub mod manifest;
pub mod measure;
pub mod observer;
pub mod plan;
pub mod recorder;
pub mod report;
pub mod round;
pub mod run;
pub mod schedule;
pub mod store;
pub mod strike;
pub mod timeline;
pub mod visitor;

mod output;

pub use output::{keep, print};
