#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
//! Tells components where they run: in a Kubernetes cluster (kind among them), or on one machine
//! whose hosts are told apart by labels.
//!
//! - `platform`: where each field of the metadata comes from, and in which order.
//! - `kubernetes`: the questions to the Kubernetes API, and how its answers are read.
//! - `service_account`: what a pod knows of itself and of the API.
//! - `config`: the keys, their bounds and defaults.

mod config;
mod error;
mod kubernetes;
mod platform;
mod service_account;

fn main() -> std::process::ExitCode {
    provider_kit::run::<metadata_kit::Provider<platform::Kind>>(
        "kind-metadata",
        metadata_kit::serve,
    )
}
