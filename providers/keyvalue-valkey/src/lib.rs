//! A wasmCloud capability provider that serves `wrpc:keyvalue` from Valkey.
//!
//! A call goes through these, from the outside in:
//!
//! | module | concern |
//! |---|---|
//! | [`Provider`] | the life of links; when to be in the queue group |
//! | `handler` ([`serve`]) | WIT to [`Store`] and back; the only place that makes WIT errors |
//! | [`config`], [`Mode`] | what a link may say |
//! | [`Store`] | named buckets ([`bucket`]) and bounded input ([`limit`]) over a [`Backend`] |
//! | [`Valkey`], [`Memory`] | the backends: the real one and the reference |
//! | [`replicated`] | the backend of replicated mode, and what keeps regions in step |
//! | [`Keeper`] | the backend of a link, whatever its mode |
//! | `metrics` | what replication reports over OpenTelemetry |
//! | [`pool`], [`connection`], [`endpoint`] | shared connections that come back by themselves |
//! | [`error`] | every failure, by cause |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod bucket;
pub mod config;
pub mod connection;
pub mod endpoint;
pub mod error;
pub mod limit;
pub mod pool;
pub mod replicated;

mod backend;
mod counter;
mod handler;
mod keeper;
mod memory;
mod metrics;
mod mode;
mod provider;
mod refusal;
mod script;
mod store;
mod valkey;

pub use backend::{Backend, Page};
pub use error::{Error, Result};
pub use handler::serve;
pub use keeper::Keeper;
pub use memory::Memory;
pub use mode::Mode;
pub use provider::Provider;
pub use store::Store;
pub use valkey::Valkey;
