//! A NATS connection of a provider's own, beside the one that carries its calls.

use anyhow::Context as _;
use async_nats::{Client, ConnectOptions};
use wasmcloud_provider_sdk::HostData;

use crate::Secret;

/// Where wasmCloud's provider SDK looks when the host names no server.
const DEFAULT: &str = "nats://127.0.0.1:4222";

/// The lattice's NATS server, and who this provider is there. `Debug` shows neither.
#[derive(Clone, Debug)]
pub struct Nats {
    url: Secret,
    credentials: Option<Secret>,
}

impl Nats {
    /// A server that asks for nothing but what its URL says.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            credentials: None,
        }
    }

    pub(crate) fn of(host: &HostData) -> Self {
        let url = match host.lattice_rpc_url.as_str() {
            "" => DEFAULT,
            url => url,
        };
        let (jwt, seed) = (
            host.lattice_rpc_user_jwt.trim(),
            host.lattice_rpc_user_seed.trim(),
        );
        let credentials = (!jwt.is_empty() || !seed.is_empty()).then(|| {
            Secret::new(format!(
                "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
                 -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
            ))
        });
        Self {
            credentials,
            ..Self::at(url)
        }
    }

    /// Connects. With [`ConnectOptions::retry_on_initial_connect`] this does not wait for the server.
    ///
    /// # Errors
    ///
    /// What cannot be used, and a server that does not answer. Quotes no address and no credential.
    pub async fn connect(&self, options: ConnectOptions) -> anyhow::Result<Client> {
        let options = match &self.credentials {
            None => options,
            Some(credentials) => options
                .credentials(credentials.expose())
                .ok()
                .context("the lattice's NATS credentials are not usable")?,
        };
        let connected = options.connect(self.url.expose()).await;
        connected.ok().context("failed to connect to NATS")
    }
}

impl Default for Nats {
    fn default() -> Self {
        Self::at(DEFAULT)
    }
}
