#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
//! Everything two wasmCloud 1.x capability providers have in common.
//!
//! A provider is a process that a wasmCloud host starts. It has links from components, each with
//! config, and serves the interfaces of its WIT over wRPC on NATS. With this kit it consists of
//! a `main` of one call, a type that implements [`Capability`], and the handlers that
//! `wit-bindgen-wrpc` generated a trait for:
//!
//! ```no_run
//! mod bindings {
//!     wit_bindgen_wrpc::generate!({ world: "provider", path: "wit" });
//! }
//! use bindings::exports::example::echo::echo;
//! use provider_kit::{
//!     Capability, Config, ConfigError, Context, Environment, FromConfig, LinkId, Links,
//! };
//!
//! struct Greeting(String);
//!
//! impl FromConfig for Greeting {
//!     fn from_config(config: &mut Config<'_>) -> Result<Self, ConfigError> {
//!         config.required("greeting").map(Self)
//!     }
//! }
//!
//! #[derive(Clone)]
//! struct Provider {
//!     links: Links<Greeting>,
//! }
//!
//! impl Capability for Provider {
//!     type LinkConfig = Greeting;
//!     type Link = Greeting;
//!
//!     fn start(environment: Environment<Greeting>) -> anyhow::Result<Self> {
//!         Ok(Self { links: environment.links })
//!     }
//!
//!     fn link(&self, _: &LinkId, greeting: Greeting) -> Greeting {
//!         greeting
//!     }
//! }
//!
//! impl echo::Handler<Option<Context>> for Provider {
//!     async fn greet(
//!         &self,
//!         context: Option<Context>,
//!         name: String,
//!     ) -> anyhow::Result<Result<String, String>> {
//!         // A failure of the domain is `Ok(Err(..))`: an outer `Err` traps the component.
//!         Ok(match self.links.of_call(context.as_ref()) {
//!             Ok(link) => Ok(format!("{}, {name}", link.0)),
//!             Err(err) => Err(err.to_string()),
//!         })
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     provider_kit::run::<Provider>("example", bindings::serve)
//! }
//! ```
//!
//! `docs/writing-a-provider.md` explains it step by step; `examples/echo` is one in files.
//!
//! # Layout
//!
//! - [`run`] starts and ends a provider: host data, logging, signals, the exit of an orphan.
//! - [`Capability`] is what a provider implements, [`Environment`] what it gets.
//! - [`Serving`] pauses and resumes the serve loop, bounded by [`ServeOptions`].
//! - [`Links`] finds the state of the link that a call came by.
//! - [`FromConfig`] and [`Config`] read configuration, with [`Secret`]s and `{label:NAME}`.
//! - [`Labels`] are those of the host.
//! - [`Health`] is what the provider says of itself.
//! - [`opentelemetry`] has the meters: their metrics are exported when the host's settings ask for it.
//! - [`within`] puts a deadline on a remote call.

mod adapter;
mod boot;
mod capability;
mod client;
mod config;
mod deadline;
mod guard;
mod health;
mod host_data;
mod label;
mod label_source;
mod lattice;
mod link;
mod logging;
mod lost_link;
mod membership;
mod metrics;
mod nats;
mod params;
mod reply;
mod secret;
mod serve;
mod serving;

pub use boot::{run, run_with};
pub use capability::{Capability, Environment};
pub use client::ServeClient;
pub use config::{Config, ConfigError, FromConfig, RawConfig};
pub use deadline::{within, DeadlineExceeded};
pub use health::Health;
pub use host_data::HostDataError;
pub use label::{LabelSet, Labels};
pub use link::{LinkError, LinkId, Links};
pub use nats::Nats;
pub use opentelemetry;
pub use params::Params;
pub use reply::Reply;
pub use secret::Secret;
pub use serve::{ServeExports, ServeOptions};
pub use serving::{Serving, ServingState};
pub use wasmcloud_provider_sdk::Context;
