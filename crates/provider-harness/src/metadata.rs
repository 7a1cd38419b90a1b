//! Calls a provider of `resiliency:cloud-metadata`.

#[allow(missing_debug_implementations)]
mod bindings {
    wit_bindgen_wrpc::generate!({
        world: "consumer",
        path: "../../wit/cloud-metadata",
        additional_derives: [PartialEq, Eq],
    });
}

pub use bindings::resiliency::cloud_metadata::types::{Error, Metadata};

use std::time::Duration;

use anyhow::{bail, Context as _};
use bindings::resiliency::cloud_metadata::service;

use crate::{eventually, Host};

/// Calls `get` as `component` over its link `link`.
///
/// # Errors
///
/// When the call fails; what the provider says is the inner result.
pub async fn get(
    host: &Host,
    component: &str,
    link: &str,
) -> anyhow::Result<Result<Metadata, Error>> {
    let caller = host.caller().await?;
    let call = service::get(&caller, Some(Host::call_headers(component, link)));
    tokio::time::timeout(Duration::from_secs(20), call)
        .await
        .context("no answer")?
}

/// Calls `get` until it answers something that `wanted` accepts.
///
/// # Errors
///
/// The last answer, when there is none like that within twenty seconds.
pub async fn get_until(
    host: &Host,
    wanted: impl Fn(&Result<Metadata, Error>) -> bool,
) -> anyhow::Result<Result<Metadata, Error>> {
    eventually(Duration::from_secs(20), || async {
        let answer = get(host, "hello", "default").await?;
        if !wanted(&answer) {
            bail!("the answer is {answer:?}");
        }
        Ok(answer)
    })
    .await
}
