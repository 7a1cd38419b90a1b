//! A region as it is run: the provider's process, under a host of its own, over a Valkey of its own.

#![allow(dead_code)] // every test binary uses its own part of this

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use bytes::Bytes;
use keyvalue_valkey::bucket::{STATUS, STATUS_KEY};
use provider_harness::{command, link, Host, NatsServer, Process};
use redis::AsyncCommands as _;
use wasmcloud_provider_sdk::InterfaceLinkDefinition;
use wrpc_transport_nats::Client;

use crate::support::region::SOON;
use crate::support::{eventually, Server};

#[allow(clippy::all, missing_debug_implementations)]
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package resiliency:keyvalue-valkey-regions@0.1.0;
            world probe {
                import wrpc:keyvalue/store@0.2.0-draft;
                import wrpc:keyvalue/atomics@0.2.0-draft;
                import wrpc:keyvalue/batch@0.2.0-draft;
            }
        ",
        path: "../../wit/deps/wrpc-keyvalue",
        world: "resiliency:keyvalue-valkey-regions/probe",
        generate_all,
    });
}
pub use bindings::wrpc::keyvalue::{atomics, batch, store};

/// Long enough for a region to join with a lot on a busy machine.
pub const LONG: Duration = Duration::from_secs(120);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(20);

/// The headers of a call by the component `hello`.
fn me() -> Option<HeaderMap> {
    Some(Host::call_headers("hello", "default"))
}

/// Writes until it is acknowledged. A machine that is busy may keep a Valkey from its provider's PING, and the provider
/// is in no queue group then, for a moment, or does not know what became of a call. Another attempt is a later write of
/// the same.
async fn acknowledged<F>(mut call: impl FnMut() -> F)
where
    F: Future<Output = anyhow::Result<Result<(), store::Error>>>,
{
    let give_up = Instant::now() + SOON;
    loop {
        let answer = tokio::time::timeout(SOON, call()).await.expect("an answer");
        match answer {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                let said = format!("{error:?}");
                let passing = ["unknown", "not connected", "not caught up"];
                let passes = passing.iter().any(|text| said.contains(text));
                assert!(passes && Instant::now() < give_up, "{said}");
            }
            Err(error) => assert!(Instant::now() < give_up, "{error:?}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// How a call went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Went {
    Well(u64),
    /// The provider says so, and why.
    Wrong(String),
    /// Nobody was there to ask, so nothing was done.
    Nobody,
    /// Nobody answered.
    Unanswered,
}

async fn went<T>(
    call: impl Future<Output = anyhow::Result<Result<T, store::Error>>>,
    well: impl FnOnce(T) -> u64,
) -> Went {
    match tokio::time::timeout(Duration::from_secs(3), call).await {
        Ok(Ok(Ok(answer))) => Went::Well(well(answer)),
        Ok(Ok(Err(store::Error::Other(reason)))) => Went::Wrong(reason),
        Ok(Ok(Err(error))) => Went::Wrong(format!("{error:?}")),
        // Without responders the call fails; after a provider that died, it hangs.
        Ok(Err(_)) => Went::Nobody,
        Err(_) => Went::Unanswered,
    }
}

impl Went {
    /// Whether it is certain that nothing was written.
    pub fn did_nothing(&self) -> bool {
        match self {
            Self::Nobody => true,
            Self::Wrong(reason) => !reason.contains("unknown"),
            Self::Well(_) | Self::Unanswered => false,
        }
    }
}

pub struct Site {
    pub host: Host,
    pub valkey: Server,
    pub client: Client,
    pub providers: Vec<Process>,
}

/// The link of the component `hello` to a replicated store.
pub fn replicated(valkey: &Server, region: &str, more: &[(&str, &str)]) -> InterfaceLinkDefinition {
    let url = format!("redis://127.0.0.1:{}", valkey.port);
    let mut link = link("hello", "default", [("url", url.as_str())]);
    // A busy machine is no reason for an unknown outcome. A caller waits for three seconds.
    let patient = ("timeout_ms", "2500");
    let config = [("mode", "replicated"), ("region", region), patient];
    for (key, value) in config.iter().chain(more) {
        link.target_config
            .insert((*key).to_owned(), (*value).to_owned());
    }
    link
}

impl Site {
    /// A region with one instance of the provider, which serves.
    pub async fn start(nats: &NatsServer, region: &str, more: &[(&str, &str)]) -> Self {
        let site = Self::start_over(Server::start(), nats, region, more).await;
        site.serves().await;
        site
    }

    /// A region over a Valkey that is there already.
    pub async fn start_over(
        valkey: Server,
        nats: &NatsServer,
        region: &str,
        more: &[(&str, &str)],
    ) -> Self {
        // An id of its own, so that a test's call for a region stays there.
        let provider = format!("V{region}");
        let mut site = Self::prepare(valkey, nats, region, &provider, more).await;
        site.add_provider().await;
        site
    }

    /// A region without an instance of the provider yet, which is to be called `provider`.
    pub async fn prepare(
        valkey: Server,
        nats: &NatsServer,
        region: &str,
        provider: &str,
        more: &[(&str, &str)],
    ) -> Self {
        let host = Host::new(nats, &format!("N{region}"), provider)
            .await
            .unwrap();
        let host = host.with_link(replicated(&valkey, region, more));
        Self {
            client: host.caller().await.unwrap(),
            host,
            valkey,
            providers: Vec::new(),
        }
    }

    /// Starts one more instance of the provider.
    pub async fn add_provider(&mut self) {
        self.add_provider_with(&[]).await;
    }

    /// Starts one more instance, with more in its environment than a host gives it.
    pub async fn add_provider_with(&mut self, environment: &[(&str, &str)]) {
        let mut command = command(env!("CARGO_BIN_EXE_keyvalue-valkey"));
        command.env("RUST_LOG", "debug");
        command.envs(environment.iter().copied());
        let provider = Process::start(command, &self.host).await.unwrap();
        self.providers.push(provider);
    }

    /// The text of the instances' logs.
    pub fn log(&self) -> String {
        self.providers.iter().map(Process::log).collect()
    }

    pub async fn increment(&self, key: &str) -> Went {
        let call = atomics::increment(&self.client, me(), "default", key, 1);
        went(call, |sum| sum).await
    }

    /// Sets a key, once; well is one.
    pub async fn set_once(&self, key: &str, value: &str) -> Went {
        let value = Bytes::copy_from_slice(value.as_bytes());
        let call = store::set(&self.client, me(), "default", key, &value);
        went(call, |()| 1).await
    }

    /// Counts once, and returns the sum. What certainly did nothing is tried again ([`acknowledged`] says why).
    pub async fn counted(&self, key: &str) -> u64 {
        let give_up = Instant::now() + SOON;
        loop {
            match self.increment(key).await {
                Went::Well(sum) => return sum,
                went if went.did_nothing() => assert!(Instant::now() < give_up, "{went:?}"),
                went => panic!("{went:?}"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Counts so many times.
    pub async fn count(&self, key: &str, times: usize) {
        for _ in 0..times {
            self.counted(key).await;
        }
    }

    /// Sets a key, which has to go well.
    pub async fn set(&self, key: &str, value: &str) {
        let value = Bytes::copy_from_slice(value.as_bytes());
        acknowledged(|| store::set(&self.client, me(), "default", key, &value)).await;
    }

    /// Deletes a key, which has to go well.
    pub async fn delete(&self, key: &str) {
        acknowledged(|| store::delete(&self.client, me(), "default", key)).await;
    }

    /// Sets many keys at once, which has to go well.
    pub async fn set_many(&self, entries: &[(String, Bytes)]) {
        let entries: Vec<(&str, &Bytes)> = entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
            .collect();
        acknowledged(|| batch::set_many(&self.client, me(), "default", &entries)).await;
    }

    /// Everything that components can see, read past the provider.
    pub async fn visible(&self) -> BTreeMap<String, String> {
        let mut admin = self.valkey.admin().await;
        let keys: Vec<String> = admin.keys("*").await.unwrap();
        let keys: Vec<String> = keys
            .into_iter()
            .filter(|key| !key.starts_with("@kv/r/"))
            .collect();
        if keys.is_empty() {
            return BTreeMap::new();
        }
        let values: Vec<Option<String>> = admin.mget(&keys).await.unwrap();
        let pairs = keys.into_iter().zip(values);
        pairs
            .filter_map(|(key, value)| Some((key, value?)))
            .collect()
    }

    /// Up to which number this region's store has every author's writes, read past the provider.
    async fn covered(&self) -> BTreeMap<String, u64> {
        let mut admin = self.valkey.admin().await;
        // Together, as the provider may meet another author, or empty the store, between two reads.
        type Numbers = BTreeMap<String, u64>;
        type Own = [Option<String>; 2];
        let (names, mut numbers, own): (BTreeMap<String, String>, Numbers, Own) = redis::pipe()
            .atomic()
            .hgetall("@kv/r/authors")
            .hgetall("@kv/r/vector")
            .mget(&["@kv/r/life", "@kv/r/seq"])
            .query_async(&mut admin)
            .await
            .unwrap();
        // Its own writes in this life of the store.
        if let [Some(life), Some(last)] = own {
            let author = life.rsplit(',').next().unwrap().to_owned();
            numbers.insert(author, last.parse().unwrap());
        }
        numbers
            .into_iter()
            .filter(|(_, number)| *number > 0)
            .map(|(author, number)| (names[&author].clone(), number))
            .collect()
    }

    pub async fn get(&self, bucket: &str, key: &str) -> Option<String> {
        let call = store::get(&self.client, me(), bucket, key);
        let answer = tokio::time::timeout(Duration::from_secs(3), call).await;
        let value = answer.ok()?.ok()?.ok()??;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    pub async fn serves(&self) -> Duration {
        eventually("the region serves", SOON, || async {
            self.get(STATUS, STATUS_KEY).await.is_some()
        })
        .await
    }

    /// Waits until a key has a value here.
    pub async fn shows(&self, key: &str, value: &str) -> Duration {
        eventually(&format!("{key} is {value}"), SOON, || async {
            self.get("default", key).await.as_deref() == Some(value)
        })
        .await
    }

    /// What the provider says of replication.
    pub async fn status(&self) -> serde_json::Value {
        let status = self.get(STATUS, STATUS_KEY).await.unwrap_or_default();
        serde_json::from_str(&status).unwrap_or_default()
    }

    /// Waits until the status says what is looked for, and returns it.
    pub async fn says<V>(&self, what: &str, find: impl Fn(&serde_json::Value) -> Option<V>) -> V {
        let give_up = Instant::now() + LONG;
        loop {
            let status = self.status().await;
            if let Some(found) = find(&status) {
                return found;
            }
            assert!(Instant::now() < give_up, "never {what}: {status}");
            tokio::time::sleep(AGAIN).await;
        }
    }

    pub async fn health(&self) -> String {
        // Before it has joined the lattice it says nothing.
        let health = self.host.health().await.ok();
        health.and_then(|said| said.message).unwrap_or_default()
    }
}

/// Keys and values, as [`Site::visible`] has them.
pub fn owned<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Waits until the stores of all sites have the same writes, and so all that was acknowledged before;
/// they then have to show the same, which is returned. Nobody may write meanwhile.
pub async fn in_step(sites: &[&Site]) -> BTreeMap<String, String> {
    // Sums alone may be equal by chance, when each misses as many of the other's counts.
    eventually("all regions have the same writes", SOON, || async {
        let covered = futures::future::join_all(sites.iter().map(|site| site.covered())).await;
        covered.windows(2).all(|pair| pair[0] == pair[1])
    })
    .await;
    let mut visible = futures::future::join_all(sites.iter().map(|site| site.visible())).await;
    assert!(visible.windows(2).all(|pair| pair[0] == pair[1]));
    visible.swap_remove(0)
}

/// Waits until every one of them has compared digests with another one from now on. The sites' `digest_s`
/// has to be short.
pub async fn digests_agree(sites: &[&Site]) {
    let said = |site: &Site| site.log().matches("both regions hold the same").count();
    let before: Vec<usize> = sites.iter().map(|site| said(site)).collect();
    eventually("digests are compared, and equal", SOON, || async {
        sites
            .iter()
            .zip(&before)
            .all(|(site, before)| said(site) > *before)
    })
    .await;
    for site in sites {
        let log = site.log();
        assert!(!log.contains("do not hold the same and send"), "{log}");
    }
}
