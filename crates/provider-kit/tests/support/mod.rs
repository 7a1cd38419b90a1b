//! The example provider, run and called.
#![allow(dead_code, missing_debug_implementations)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use provider_harness::{command, Host, NatsServer, Process};

mod bindings {
    wit_bindgen_wrpc::generate!({ world: "caller", path: "wit" });
}

pub const PATIENCE: Duration = Duration::from_secs(30);
pub const PROVIDER: &str = "VECHO";

/// The example's binary, which cargo builds along with the tests.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    profile.join("examples").join("echo")
}

pub async fn host(nats: &NatsServer) -> Host {
    Host::new(nats, "NHOST", PROVIDER).await.unwrap()
}

pub async fn start(host: &Host) -> Process {
    Process::start(command(binary()), host).await.unwrap()
}

/// Calls `greet` once, as component `hello`.
pub async fn greet(host: &Host, link: &str) -> anyhow::Result<Result<String, String>> {
    let caller = host.caller().await?;
    greet_by(&caller, link).await
}

pub async fn greet_by(
    caller: &wrpc_transport_nats::Client,
    link: &str,
) -> anyhow::Result<Result<String, String>> {
    greet_name(caller, link, "World").await
}

pub async fn greet_name(
    caller: &wrpc_transport_nats::Client,
    link: &str,
    name: &str,
) -> anyhow::Result<Result<String, String>> {
    let headers = Some(Host::call_headers("hello", link));
    let call = bindings::example::echo::echo::greet(caller, headers, name);
    tokio::time::timeout(PATIENCE, call)
        .await
        .context("the call hangs")?
}

/// Calls until the answer is `wanted`.
pub async fn greeted(host: &Host, wanted: Result<&str, &str>) {
    provider_harness::eventually(PATIENCE, || async {
        let answer = greet(host, "default").await?;
        let answer = answer.as_deref().map_err(String::as_str);
        anyhow::ensure!(answer == wanted, "the answer is {answer:?}");
        Ok(())
    })
    .await
    .unwrap();
}
