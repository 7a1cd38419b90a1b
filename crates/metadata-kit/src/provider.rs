//! The capability: one resolver for the provider's own config, one more for each link that
//! brings its own.

use std::fmt;
use std::marker::PhantomData;

use provider_kit::{
    Capability, Config, ConfigError, Environment, FromConfig, LinkId, Links, RawConfig,
};
use tokio::sync::watch;

use crate::resolver::{Resolver, Surroundings};
use crate::Platform;

/// A provider of `resiliency:cloud-metadata` for platform `P`.
pub struct Provider<P: Platform> {
    pub(crate) links: Links<Resolver>,
    base: Resolver,
    surroundings: Surroundings,
    config: watch::Sender<RawConfig>,
    platform: PhantomData<fn() -> P>,
}

impl<P: Platform> Clone for Provider<P> {
    fn clone(&self) -> Self {
        Self {
            links: self.links.clone(),
            base: self.base.clone(),
            surroundings: self.surroundings.clone(),
            config: self.config.clone(),
            platform: PhantomData,
        }
    }
}

impl<P: Platform> fmt::Debug for Provider<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

/// A link's own config, or nothing when it brings none.
pub struct LinkConfig<P: Platform>(Option<P::Config>);

impl<P: Platform> fmt::Debug for LinkConfig<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkConfig").finish_non_exhaustive()
    }
}

impl<P: Platform> FromConfig for LinkConfig<P> {
    fn from_config(config: &mut Config<'_>) -> Result<Self, ConfigError> {
        let own = P::Config::from_config(config)?;
        Ok(Self((!config.is_empty()).then_some(own)))
    }
}

impl<P: Platform> Capability for Provider<P> {
    type LinkConfig = LinkConfig<P>;
    type Link = Resolver;

    fn start(environment: Environment<Resolver>) -> anyhow::Result<Self> {
        let (config, changes) = watch::channel(environment.config);
        let surroundings = Surroundings {
            host_id: environment.host_id,
            labels: environment.labels,
            health: environment.health,
            config: changes,
        };
        let base = Resolver::spawn::<P>("metadata".to_owned(), None, surroundings.clone());
        Ok(Self {
            links: environment.links,
            base,
            surroundings,
            config,
            platform: PhantomData,
        })
    }

    fn link(&self, id: &LinkId, LinkConfig(own): LinkConfig<P>) -> Resolver {
        match own {
            None => self.base.clone(),
            Some(own) => {
                let subject = format!("metadata for {id}");
                Resolver::spawn::<P>(subject, Some(own), self.surroundings.clone())
            }
        }
    }

    fn reconfigure(&self, config: RawConfig) {
        self.config.send_replace(config);
    }
}
