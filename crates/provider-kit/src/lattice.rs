//! What the lattice's control interface says of links.

use std::collections::HashMap;
use std::time::Duration;

use wasmcloud_control_interface::{Client, ClientBuilder, CtlResponse};

use crate::{deadline, LinkId, RawConfig};

/// How long one question may take.
pub(crate) const REQUEST: Duration = Duration::from_secs(2);
/// How wasmCloud tells the names of secrets from those of config.
const SECRET: &str = "SECRET";

/// A client of the control interface of a lattice.
pub(crate) fn client(nats: async_nats::Client, lattice: &str) -> Client {
    ClientBuilder::new(nats)
        .lattice(lattice)
        .timeout(REQUEST)
        .build()
}

/// Where a link's config for its target is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    names: Vec<String>,
}

impl Sources {
    /// Whether some of it is secret, so that only a host can hand it over.
    pub(crate) fn are_secret(&self) -> bool {
        self.names.iter().any(|name| name.starts_with(SECRET))
    }

    /// Reads what is not secret, as a host does: of a key that is given twice, the last value.
    ///
    /// The error holds no value.
    pub(crate) async fn read(&self, client: &Client) -> Result<RawConfig, String> {
        let mut values = HashMap::new();
        for name in self.names.iter().filter(|name| !name.starts_with(SECRET)) {
            let answer = ask("config", client.get_config(name)).await;
            let config = answer
                .and_then(|answer| answer.into_data().ok_or("there is none".to_owned()))
                .map_err(|reason| format!("its config `{name}` cannot be read: {reason}"))?;
            values.extend(config);
        }
        Ok(RawConfig::new(&values, []))
    }
}

/// The links to a provider, as the nearest host knows them.
pub(crate) async fn links_to(
    provider: &str,
    client: &Client,
) -> Result<HashMap<LinkId, Sources>, String> {
    let links = ask("links", client.get_links()).await?;
    let mut found = HashMap::new();
    for link in links.data().into_iter().flatten() {
        if link.target() == provider && link.source_id() != provider {
            let names = link.target_config().clone();
            found
                .entry(LinkId::new(link.source_id(), link.name()))
                .or_insert(Sources { names });
        }
    }
    Ok(found)
}

type Asked<T> = Result<CtlResponse<T>, Box<dyn std::error::Error + Send + Sync>>;

/// The answer to a question. What went wrong is not repeated: it may quote a value.
async fn ask<T>(
    what: &'static str,
    question: impl std::future::Future<Output = Asked<T>>,
) -> Result<CtlResponse<T>, String> {
    match deadline::within(REQUEST, what, question).await {
        Err(late) => Err(late.to_string()),
        Ok(Err(_)) => Err("the control interface gives no usable answer".to_owned()),
        Ok(Ok(answer)) if !answer.succeeded() => Err("the control interface refuses".to_owned()),
        Ok(Ok(answer)) => Ok(answer),
    }
}
