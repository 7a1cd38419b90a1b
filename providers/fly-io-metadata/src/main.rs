#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
//! Tells components on which Fly.io Machine, and in which region, they run.
//!
//! - `platform`: where each field of the metadata comes from, and in which order.
//! - `dns`: the questions to Fly's internal DNS.
//! - `instance`: how that DNS describes Machines in its texts.
//! - `catalogue`: the names of the regions, from the Machines API.
//! - `private_address`: this Machine's own address.
//! - `config`: the keys, their bounds and defaults.

mod catalogue;
mod config;
mod dns;
mod error;
mod instance;
mod platform;
mod private_address;

fn main() -> std::process::ExitCode {
    provider_kit::run::<metadata_kit::Provider<platform::Fly>>(
        "fly-io-metadata",
        metadata_kit::serve,
    )
}
