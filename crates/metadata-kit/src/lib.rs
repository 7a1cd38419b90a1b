#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
//! What the providers of `resiliency:cloud-metadata` have in common: all but the platform.
//!
//! A provider implements [`Platform`]: where this platform's metadata comes from. The rest is
//! here: metadata is resolved in the background at start and again every so often, the last good
//! answer is kept when the platform fails, and a call is answered from memory.
//!
//! # Layout
//!
//! - [`Metadata`], [`Region`] and [`RegionCode`] are what is known of a machine.
//! - [`catalogue`] knows the names of Fly.io's regions.
//! - [`Platform`] is what a provider implements; [`Unresolved`] why it has no answer,
//!   for which [`chain`] words an error. [`fetch`] asks an HTTP API.
//! - [`Provider`] is the capability: links, config, handler.
//! - [`serve`] is what `main` hands to `provider_kit::run`.

mod bindings;
pub mod catalogue;
mod fetch;
mod handler;
mod metadata;
mod platform;
mod provider;
mod resolver;

pub use bindings::serve;
pub use fetch::{fetch, FetchError};
pub use metadata::{Metadata, Region, RegionCode, RegionCodeError, REGION_CODE_ALLOWED};
pub use platform::{chain, Platform, Unresolved};
pub use provider::Provider;
