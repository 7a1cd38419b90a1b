//! The capability and its handler.

use std::path::PathBuf;
use std::time::Duration;

use provider_kit::{Capability, Context, Environment, Health, LabelSet, LinkId, Links, Serving};

use crate::bindings::exports::example::echo::echo;
use crate::config::{LinkConfig, StartConfig};

/// Greets.
#[derive(Debug, Clone)]
pub struct Echo {
    links: Links<LinkConfig>,
}

impl Capability for Echo {
    type LinkConfig = LinkConfig;
    type Link = LinkConfig;

    fn start(environment: Environment<LinkConfig>) -> anyhow::Result<Self> {
        let config: StartConfig = environment.config.parse(&LabelSet::default())?;
        if let Some(file) = config.pause_file {
            // Not a member of the queue group before the backend was seen.
            environment.serving.pause();
            tokio::spawn(watch(file, environment.serving, environment.health));
        }
        Ok(Self {
            links: environment.links,
        })
    }

    fn link(&self, _: &LinkId, config: LinkConfig) -> LinkConfig {
        config
    }
}

async fn watch(file: PathBuf, serving: Serving, health: Health) {
    loop {
        if tokio::fs::try_exists(&file).await.unwrap_or(false) {
            health.trouble("backend", "the pause file exists");
            serving.pause();
        } else {
            health.well("backend");
            serving.resume();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl echo::Handler<Option<Context>> for Echo {
    async fn greet(
        &self,
        context: Option<Context>,
        name: String,
    ) -> anyhow::Result<Result<String, String>> {
        let link = match self.links.of_call(context.as_ref()) {
            Ok(link) => link,
            Err(err) => return Ok(Err(err.to_string())),
        };
        tokio::time::sleep(link.delay).await;
        Ok(Ok(format!("{}, {name}", link.greeting)))
    }
}
