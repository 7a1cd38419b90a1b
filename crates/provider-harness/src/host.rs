//! The part of a wasmCloud host that a provider can see.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Context as _};
use futures::StreamExt as _;
use nkeys::XKey;
use serde_json::json;
use tokio::task::JoinHandle;
use wasmcloud_control_interface::{CtlResponse, HostInventory, Link};
use wasmcloud_provider_sdk::core::rpc::{
    health_subject, link_del_subject, link_put_subject, provider_config_update_subject,
    shutdown_subject,
};
use wasmcloud_provider_sdk::core::secrets::SecretValue;
use wasmcloud_provider_sdk::{HealthCheckResponse, HostData, InterfaceLinkDefinition};

use crate::{eventually, NatsServer};

const LATTICE: &str = "test";
const REQUEST: Duration = Duration::from_secs(20);
/// How long a health that is waited for may take to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plays the host of one provider.
#[derive(Debug, Clone)]
pub struct Host {
    nats: async_nats::Client,
    data: HostData,
    /// What secrets are sealed with, if there are any.
    keys: Option<Arc<Keys>>,
}

#[derive(Default)]
struct Keys {
    host: XKey,
    provider: XKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// Answers the control interface's questions for links and their config, until it is dropped.
#[derive(Debug)]
pub struct LinkAnswers {
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl LinkAnswers {
    /// How often the links were asked for.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for LinkAnswers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A link from `component` to the provider, with config for the provider.
#[must_use]
pub fn link<const N: usize>(
    component: &str,
    name: &str,
    config: [(&str, &str); N],
) -> InterfaceLinkDefinition {
    InterfaceLinkDefinition {
        source_id: component.to_owned(),
        name: name.to_owned(),
        wit_namespace: "test".to_owned(),
        wit_package: "test".to_owned(),
        interfaces: vec!["test".to_owned()],
        target_config: owned(config),
        ..InterfaceLinkDefinition::default()
    }
}

fn owned<const N: usize>(pairs: [(&str, &str); N]) -> HashMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

impl Host {
    /// A host called `id` that will start the provider `provider`.
    ///
    /// # Errors
    ///
    /// When there is no connection to NATS.
    pub async fn new(nats: &NatsServer, id: &str, provider: &str) -> anyhow::Result<Self> {
        Self::at(nats.url(), id, provider).await
    }

    /// The same at the address of a server that somebody else runs, `nats://HOST:PORT`.
    ///
    /// # Errors
    ///
    /// When there is no connection to NATS.
    pub async fn at(url: String, id: &str, provider: &str) -> anyhow::Result<Self> {
        Ok(Self {
            nats: async_nats::connect(&url).await?,
            data: HostData {
                host_id: id.to_owned(),
                lattice_rpc_prefix: LATTICE.to_owned(),
                lattice_rpc_url: url,
                provider_key: provider.to_owned(),
                instance_id: "instance".to_owned(),
                ..HostData::default()
            },
            keys: None,
        })
    }

    /// Puts a user and a password into the NATS URL that the provider is told.
    #[must_use]
    pub fn with_login(mut self, user: &str, password: &str) -> Self {
        let login = format!("nats://{user}:{password}@");
        self.data.lattice_rpc_url = self.data.lattice_rpc_url.replacen("nats://", &login, 1);
        self
    }

    /// The provider's own config.
    #[must_use]
    pub fn with_config<const N: usize>(mut self, config: [(&str, &str); N]) -> Self {
        self.data.config.extend(owned(config));
        self
    }

    /// Settings of a host that wants metrics exported to this endpoint, over HTTP.
    #[must_use]
    pub fn with_metrics(mut self, endpoint: &str) -> Self {
        self.data.otel_config.enable_metrics = Some(true);
        self.data.otel_config.observability_endpoint = Some(endpoint.to_owned());
        self
    }

    /// A secret of the provider's own config.
    #[must_use]
    pub fn with_secret(mut self, key: &str, secret: &str) -> Self {
        let secret = SecretValue::String(secret.to_owned());
        self.data.secrets.insert(key.to_owned(), secret);
        self
    }

    /// A link that is there when the provider starts.
    #[must_use]
    pub fn with_link(mut self, mut link: InterfaceLinkDefinition) -> Self {
        link.target.clone_from(&self.data.provider_key);
        self.data.link_definitions.push(link);
        self
    }

    /// The link with secrets, sealed as a host seals them for this provider.
    ///
    /// # Errors
    ///
    /// When they cannot be sealed.
    pub fn with_secret_link<const N: usize>(
        mut self,
        mut link: InterfaceLinkDefinition,
        secrets: [(&str, &str); N],
    ) -> anyhow::Result<Self> {
        let keys = Arc::clone(self.keys.get_or_insert_with(Arc::default));
        let secrets: HashMap<&str, SecretValue> = secrets
            .into_iter()
            .map(|(key, secret)| (key, SecretValue::String(secret.to_owned())))
            .collect();
        let sealed = keys
            .host
            .seal(&serde_json::to_vec(&secrets)?, &keys.provider);
        link.target_secrets = Some(sealed.context("failed to seal the secrets")?);
        self.data.host_xkey_public_key = keys.host.public_key();
        self.data.provider_xkey_private_key = keys
            .provider
            .seed()
            .context("the provider's key has no seed")?;
        Ok(self.with_link(link))
    }

    /// The links that are there when the provider starts.
    #[must_use]
    pub fn links(&self) -> Vec<InterfaceLinkDefinition> {
        self.data.link_definitions.clone()
    }

    /// What the provider reads from its standard input.
    ///
    /// # Errors
    ///
    /// When the host data cannot be written as JSON.
    pub fn stdin_line(&self) -> anyhow::Result<String> {
        use base64::Engine as _;
        let json = serde_json::to_vec(&self.data)?;
        let mut line = base64::engine::general_purpose::STANDARD.encode(json);
        line.push_str("\r\n");
        Ok(line)
    }

    /// Answers the control interface's question for this host's inventory, until the task is
    /// aborted or the test ends.
    ///
    /// # Errors
    ///
    /// When NATS does not take the subscription.
    pub async fn answer_inventory<const N: usize>(
        &self,
        labels: [(&str, &str); N],
    ) -> anyhow::Result<JoinHandle<()>> {
        let labels: BTreeMap<String, String> = owned(labels).into_iter().collect();
        let inventory = HostInventory::builder()
            .host_id(self.data.host_id.clone())
            .friendly_name("test".to_owned())
            .labels(labels)
            .version("1.9.2".to_owned())
            .uptime_human("1s".to_owned())
            .uptime_seconds(1)
            .components(vec![])
            .providers(vec![])
            .build()
            .map_err(|err| anyhow::anyhow!("{err}"))?;
        let answer = serde_json::to_vec(&CtlResponse::ok(inventory))?;
        let subject = format!("wasmbus.ctl.v1.{LATTICE}.host.get.{}", self.data.host_id);
        let mut questions = self.nats.subscribe(subject).await?;
        self.nats.flush().await?;
        let nats = self.nats.clone();
        Ok(tokio::spawn(async move {
            while let Some(question) = questions.next().await {
                if let Some(reply) = question.reply {
                    let _ = nats.publish(reply, answer.clone().into()).await;
                }
            }
        }))
    }

    /// Answers the control interface's questions for the links of the lattice and for their config,
    /// until the result is dropped. A link with secrets has config besides, as with a real host.
    ///
    /// # Errors
    ///
    /// When NATS does not take the subscription.
    pub async fn answer_links(
        &self,
        links: impl IntoIterator<Item = InterfaceLinkDefinition>,
    ) -> anyhow::Result<LinkAnswers> {
        let mut listed = Vec::new();
        let mut configs = HashMap::new();
        for link in links {
            let name = format!("{}-{}", link.source_id, link.name);
            let mut names = vec![name.clone()];
            if link.target_secrets.is_some() {
                names.push(format!("SECRET_{name}"));
            }
            let listing = Link::builder()
                .source_id(&link.source_id)
                .target(&self.data.provider_key)
                .name(&link.name)
                .wit_namespace(&link.wit_namespace)
                .wit_package(&link.wit_package)
                .interfaces(link.interfaces)
                .target_config(names);
            listed.push(listing.build().map_err(|err| anyhow::anyhow!("{err}"))?);
            let config = serde_json::to_vec(&CtlResponse::ok(link.target_config))?;
            configs.insert(name, config);
        }
        let listed = serde_json::to_vec(&CtlResponse::ok(listed))?;
        let prefix = format!("wasmbus.ctl.v1.{LATTICE}.");
        let links = self.nats.subscribe(format!("{prefix}link.get")).await?;
        let config = self.nats.subscribe(format!("{prefix}config.get.*")).await?;
        self.nats.flush().await?;
        let mut questions = futures::stream::select(links, config);
        let (nats, asked) = (self.nats.clone(), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Some(question) = questions.next().await {
                let config = question.subject.rsplit_once("config.get.");
                let answer = match config.map(|(_, name)| configs.get(name)) {
                    None => {
                        count.fetch_add(1, Ordering::Relaxed);
                        &listed
                    }
                    Some(Some(config)) => config,
                    Some(None) => continue,
                };
                if let Some(reply) = question.reply {
                    let _ = nats.publish(reply, answer.clone().into()).await;
                }
            }
        });
        Ok(LinkAnswers { asked, task })
    }

    /// Puts a link while the provider runs.
    ///
    /// # Errors
    ///
    /// When NATS does not take the message.
    pub async fn put_link(&self, mut link: InterfaceLinkDefinition) -> anyhow::Result<()> {
        link.target.clone_from(&self.data.provider_key);
        let listens = match &self.keys {
            Some(keys) => keys.provider.public_key(),
            None => self.data.provider_key.clone(),
        };
        let subject = link_put_subject(LATTICE, &listens);
        self.publish(subject, serde_json::to_vec(&link)?).await
    }

    /// Takes a link away while the provider runs.
    ///
    /// # Errors
    ///
    /// When NATS does not take the message.
    pub async fn delete_link(&self, mut link: InterfaceLinkDefinition) -> anyhow::Result<()> {
        link.target.clone_from(&self.data.provider_key);
        let subject = link_del_subject(LATTICE, &self.data.provider_key);
        self.publish(subject, serde_json::to_vec(&link)?).await
    }

    /// Changes the provider's own config while it runs.
    ///
    /// # Errors
    ///
    /// When NATS does not take the message.
    pub async fn change_config<const N: usize>(
        &self,
        config: [(&str, &str); N],
    ) -> anyhow::Result<()> {
        let subject = provider_config_update_subject(LATTICE, &self.data.provider_key);
        self.publish(subject, serde_json::to_vec(&owned(config))?)
            .await
    }

    async fn publish(&self, subject: String, payload: Vec<u8>) -> anyhow::Result<()> {
        self.nats.publish(subject, payload.into()).await?;
        Ok(self.nats.flush().await?)
    }

    /// Asks the provider how it is.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn health(&self) -> anyhow::Result<HealthCheckResponse> {
        let subject = health_subject(LATTICE, &self.data.provider_key);
        let request = self.nats.request(subject, "{}".into());
        let answer = tokio::time::timeout(REQUEST, request)
            .await
            .context("the provider does not tell its health")??;
        Ok(serde_json::from_slice(&answer.payload)?)
    }

    /// Waits until the provider is well and has nothing to add.
    ///
    /// # Errors
    ///
    /// What it said last, when that takes more than twenty seconds.
    pub async fn well(&self) -> anyhow::Result<()> {
        eventually(PATIENCE, || async {
            let health = self.health().await?;
            let said = health.message.unwrap_or_default();
            ensure!(health.healthy && said.is_empty(), "it ails: {said}");
            Ok(())
        })
        .await
    }

    /// Waits until the provider is not well for one of these reasons.
    ///
    /// # Errors
    ///
    /// What it said last, when that takes more than twenty seconds.
    pub async fn ails(&self, reasons: &[&str]) -> anyhow::Result<()> {
        eventually(PATIENCE, || async {
            let health = self.health().await?;
            let said = health.message.unwrap_or_default();
            let known = reasons.iter().any(|reason| said.contains(reason));
            ensure!(!health.healthy && known, "{said:?}, none of {reasons:?}");
            Ok(())
        })
        .await
    }

    /// Asks the provider to stop, as the host does before it kills it.
    ///
    /// # Errors
    ///
    /// When it does not agree.
    pub async fn stop_provider(&self) -> anyhow::Result<()> {
        let subject = shutdown_subject(LATTICE, &self.data.provider_key, "default");
        let who = serde_json::to_vec(&json!({ "host_id": self.data.host_id }))?;
        let request = self.nats.request(subject, who.into());
        let answer = tokio::time::timeout(REQUEST, request)
            .await
            .context("the provider does not stop")??;
        ensure!(answer.payload == "shutting down", "{:?}", answer.payload);
        Ok(())
    }

    /// The provider's NATS subjects begin with this; its queue group is called so.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{LATTICE}.{}", self.data.provider_key)
    }

    /// This host's connection to NATS.
    #[must_use]
    pub fn nats(&self) -> &async_nats::Client {
        &self.nats
    }

    /// A wRPC client that calls the provider.
    ///
    /// # Errors
    ///
    /// When NATS does not take the subscription for replies.
    pub async fn caller(&self) -> anyhow::Result<wrpc_transport_nats::Client> {
        wrpc_transport_nats::Client::new(self.nats.clone(), self.prefix(), None).await
    }

    /// The headers of a call by `component` over its link `name`.
    #[must_use]
    pub fn call_headers(component: &str, name: &str) -> async_nats::HeaderMap {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("source-id", component);
        headers.insert("link-name", name);
        headers
    }
}
