//! Where each field of the metadata comes from.
//!
//! | field | first | then | at last |
//! |---|---|---|---|
//! | instance | config | host label `fly_machine_id` | the entry with this Machine's address |
//! | region | config | host labels `fly_region`, `region` | the internal DNS |
//! | private address | `/etc/hosts` | the internal DNS | |
//! | public address | host label `fly_public_ip` | | |
//! | region's name | the Machines API, with a token | the static table | the code |

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use metadata_kit::{Metadata, Platform, RegionCode, Unresolved};
use provider_kit::LabelSet;
use url::Url;

use crate::catalogue::{Catalogue, Source};
use crate::config::Config;
use crate::dns::Dns;
use crate::error::Error;
use crate::instance::{is_app_name, is_machine_id, Instance};
use crate::private_address;

/// Fly's name server, at the same address on every Machine.
const NAMESERVER: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfdaa, 0, 0, 0, 0, 0, 0, 3)), 53);
const MACHINES_API: &str = "https://api.machines.dev";
const TIMEOUT: Duration = Duration::from_secs(2);
const REFRESH: Duration = Duration::from_secs(60);
const CATALOGUE_REFRESH: Duration = Duration::from_secs(6 * 60 * 60);
const NAME: &str = "fly.io";

/// Host labels that name the region, the best first.
const REGION_LABELS: [&str; 3] = ["fly_region", "region", "cloud.region"];

/// Fly.io.
#[derive(Debug)]
pub struct Fly {
    config: Config,
    dns: Dns,
    catalogue: Catalogue,
}

/// What this Machine knows of itself without asking anybody.
#[derive(Debug)]
struct Own {
    machine_id: Option<String>,
    app: Option<String>,
    region: Option<RegionCode>,
    address: Option<IpAddr>,
    public_address: Option<IpAddr>,
}

impl Platform for Fly {
    type Config = Config;

    fn merge(link: &Config, provider: &Config) -> Config {
        link.over(provider)
    }

    fn refresh(config: &Config) -> Duration {
        config.refresh.unwrap_or(REFRESH)
    }

    fn new(config: Config) -> Self {
        let timeout = config.timeout.unwrap_or(TIMEOUT);
        let default_api = || Url::parse(MACHINES_API).ok();
        let address = config.machines_api.clone().or_else(default_api);
        let source = config.token.clone().zip(address);
        Self {
            dns: Dns::new(config.nameserver.unwrap_or(NAMESERVER), timeout),
            catalogue: Catalogue::new(source.map(|(token, address)| Source {
                address,
                token,
                timeout,
                refresh: config.catalogue_refresh.unwrap_or(CATALOGUE_REFRESH),
            })),
            config,
        }
    }

    async fn resolve(&mut self, labels: &LabelSet, host_id: &str) -> Result<Metadata, Unresolved> {
        let own = self.own(labels).await;
        let found = self.find(&own).await;
        let named = self.catalogue.refresh().await;
        let instance = found.as_ref().ok();
        let metadata = self.metadata(&own, instance, host_id);
        match (metadata, found, named) {
            (Some(metadata), Ok(_), Ok(())) => Ok(metadata),
            (Some(metadata), Err(err), _) | (Some(metadata), _, Err(err)) => Err(Unresolved {
                reason: metadata_kit::chain(&err),
                fallback: Some(Box::new(metadata)),
            }),
            (None, found, _) => Err(Unresolved {
                reason: metadata_kit::chain(&found.err().unwrap_or(Error::NoRegion)),
                fallback: None,
            }),
        }
    }
}

impl Fly {
    async fn own(&self, labels: &LabelSet) -> Own {
        let label = |name, fits: fn(&str) -> bool| {
            let value = labels.get(name)?;
            fits(value).then(|| value.to_owned())
        };
        let config = &self.config;
        let hosts_file = config.hosts_file.clone();
        let hosts_file = hosts_file.unwrap_or_else(|| PathBuf::from(private_address::HOSTS_FILE));
        Own {
            machine_id: config
                .machine_id
                .clone()
                .or_else(|| label("fly_machine_id", is_machine_id)),
            app: config.app.clone().or_else(|| label("fly_app", is_app_name)),
            region: config.region.clone().or_else(|| {
                let region = labels.first_of(&REGION_LABELS)?;
                RegionCode::try_from(region).ok()
            }),
            address: private_address::read(Path::new(&hosts_file)).await,
            public_address: labels
                .get("fly_public_ip")
                .and_then(|address| address.parse().ok()),
        }
    }

    /// What the DNS says of this Machine: the list of all is asked first, then that of the app.
    async fn find(&self, own: &Own) -> Result<Instance, Error> {
        let listed = match self.dns.instances().await {
            Ok(instances) => match own.among(instances) {
                Some(instance) => return Ok(instance),
                None => Error::Unknown,
            },
            Err(err) => err,
        };
        let (Some(app), Some(id)) = (&own.app, &own.machine_id) else {
            return Err(listed);
        };
        let vms = self.dns.vms(app).await?;
        let mut instance = own.among(vms).ok_or(listed)?;
        instance.address = self.dns.address(app, id).await?;
        Ok(instance)
    }

    /// The metadata, when at least the region is known.
    fn metadata(&self, own: &Own, found: Option<&Instance>, host_id: &str) -> Option<Metadata> {
        let region = own
            .region
            .as_ref()
            .or_else(|| found.map(|found| &found.region))?;
        let id = own.machine_id.as_deref();
        let id = id.or_else(|| found.map(|found| found.id.as_str()));
        Some(Metadata {
            region: self.catalogue.region(region.clone()),
            instance_id: id.unwrap_or(host_id).to_owned(),
            private_address: own
                .address
                .or_else(|| found.and_then(|found| found.address)),
            public_address: own.public_address,
            platform: NAME.to_owned(),
        })
    }
}

impl Own {
    /// This Machine among others: by its id, or by its address.
    fn among(&self, instances: Vec<Instance>) -> Option<Instance> {
        instances
            .into_iter()
            .find(|instance| match &self.machine_id {
                Some(id) => instance.id == *id,
                None => self.address.is_some() && instance.address == self.address,
            })
    }
}
