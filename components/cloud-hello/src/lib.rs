//! cloud-hello: a page that says which region of the cloud answered, and counts visits.
//!
//! A request travels top to bottom through this list, and nothing above the last line knows
//! that it runs in WebAssembly:
//!
//! - [`http`] is the request and the response as plain data; [`route`] chooses the answer.
//! - [`user_agent`] turns a hostile header into a [`user_agent::Browser`] and an
//!   [`user_agent::Os`]; [`region`] does the same for region codes.
//! - [`view`] makes the calls: at most four for a page, whatever the number of keys. It sees the
//!   outside only through the traits of [`host`]. [`replication`] asks the store how its copies in
//!   all regions are doing.
//! - [`counter`] is the format of our keys and values, [`tally`] the sums over them.
//! - [`page`], [`table`], [`map`] and [`notice`] draw HTML with [`html`], the only type that
//!   writes markup; [`api`] is the same data as JSON.
//! - [`geo`] knows where regions are; [`asset`] holds the embedded files.
//! - `component` binds all of it to `wasi:http`, `wasi:keyvalue` and `cloud-metadata`; `values` is
//!   the call that naive-hello, which compiles all the rest as well, makes otherwise.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod api;
pub mod asset;
pub mod counter;
pub mod geo;
pub mod host;
pub mod html;
pub mod http;
pub mod map;
pub mod notice;
pub mod page;
pub mod region;
pub mod replication;
pub mod route;
pub mod table;
pub mod tally;
pub mod user_agent;
pub mod view;

#[cfg(target_family = "wasm")]
mod component;
#[cfg(target_family = "wasm")]
mod values;
