//! Where each field of the metadata comes from.
//!
//! | field | first | then | at last |
//! |---|---|---|---|
//! | region | config | the node's topology labels; the host's labels | `kind` |
//! | instance | config | the node's name; the host's labels | the host's id |
//! | platform | config | the host's label `platform` | `kind` |

use std::path::{Path, PathBuf};
use std::time::Duration;

use metadata_kit::{Metadata, Platform, Region, RegionCode, Unresolved};
use provider_kit::LabelSet;
use url::Url;

use crate::config::Config;
use crate::error::Error;
use crate::kubernetes::{Api, Node};
use crate::service_account::{self, ServiceAccount};

/// The API's name inside every cluster. Providers do not inherit the environment in which
/// Kubernetes tells its address.
const API: &str = "https://kubernetes.default.svc";
const TIMEOUT: Duration = Duration::from_secs(3);
const REFRESH: Duration = Duration::from_secs(60);
const NAME: &str = "kind";

/// Host labels that name the region, the best first.
const REGION_LABELS: [&str; 3] = ["region", "fly_region", "cloud.region"];
/// Host labels that name the machine, the best first.
const INSTANCE_LABELS: [&str; 4] = ["instance", NODE_LABEL, "hostname", "host.id"];
/// Host label that names the Kubernetes node.
const NODE_LABEL: &str = "kubernetes_node_name";
/// Host label that names the pod.
const POD_LABEL: &str = "kubernetes_pod_name";

/// Kubernetes, or one machine.
#[derive(Debug)]
pub struct Kind {
    config: Config,
}

/// What the cluster says of this pod.
#[derive(Debug, Default)]
struct Place {
    node: Node,
    pod_address: Option<std::net::IpAddr>,
}

impl Platform for Kind {
    type Config = Config;

    fn merge(link: &Config, provider: &Config) -> Config {
        link.over(provider)
    }

    fn refresh(config: &Config) -> Duration {
        config.refresh.unwrap_or(REFRESH)
    }

    fn new(config: Config) -> Self {
        Self { config }
    }

    async fn resolve(&mut self, labels: &LabelSet, host_id: &str) -> Result<Metadata, Unresolved> {
        let place = match self.place(labels).await {
            Ok(place) => place,
            // The cluster should have answered: say what is known without it, and that it is.
            Err(err) => {
                let fallback = self.metadata(None, labels, host_id).ok();
                return Err(Unresolved {
                    reason: metadata_kit::chain(&err),
                    fallback: fallback.map(Box::new),
                });
            }
        };
        self.metadata(place.as_ref(), labels, host_id)
            .map_err(|reason| Unresolved {
                reason,
                fallback: None,
            })
    }
}

impl Kind {
    /// Where the cluster says this pod is; `None` outside of a cluster.
    async fn place(&self, labels: &LabelSet) -> Result<Option<Place>, Error> {
        let directory = self.config.service_account_dir.clone();
        let directory = directory.unwrap_or_else(|| PathBuf::from(service_account::DIRECTORY));
        let asked = match self.config.kubernetes {
            Some(asked) => asked,
            None => service_account::present(&directory).await,
        };
        if !asked {
            return Ok(None);
        }
        self.ask(&directory, labels).await.map(Some)
    }

    async fn ask(&self, directory: &Path, labels: &LabelSet) -> Result<Place, Error> {
        let account = ServiceAccount::read(directory).await?;
        let address = match &self.config.kubernetes_api {
            Some(address) => address.clone(),
            None => Url::parse(API).map_err(|_| Error::Malformed("the address"))?,
        };
        let timeout = self.config.timeout.unwrap_or(TIMEOUT);
        let api = Api::new(address, account, timeout)?;
        let node = self.config.node_name.as_deref();
        if let Some(node) = node.or_else(|| labels.first_of(&[NODE_LABEL])) {
            return Ok(Place {
                node: api.node(node).await?,
                pod_address: None,
            });
        }
        let pod = match labels.first_of(&[POD_LABEL]) {
            Some(pod) => api.pod(pod).await?,
            None => api.pod(&service_account::hostname().await?).await?,
        };
        let node = pod.node.ok_or(Error::NoNode)?;
        Ok(Place {
            node: api.node(&node).await?,
            pod_address: pod.address,
        })
    }

    fn metadata(
        &self,
        place: Option<&Place>,
        labels: &LabelSet,
        host_id: &str,
    ) -> Result<Metadata, String> {
        let node = place.map(|place| &place.node);
        let instance = self.config.instance_id.as_deref();
        let instance = instance
            .or_else(|| node.map(|node| node.name.as_str()))
            .or_else(|| labels.first_of(&INSTANCE_LABELS))
            .unwrap_or(host_id);
        let platform = self.config.platform.as_deref();
        let platform = platform
            .or_else(|| labels.first_of(&["platform"]))
            .unwrap_or(NAME);
        Ok(Metadata {
            region: Region::of(self.region(node, labels)?),
            instance_id: instance.to_owned(),
            private_address: place
                .and_then(|place| place.pod_address.or(place.node.internal_address)),
            public_address: node.and_then(|node| node.external_address),
            platform: platform.to_owned(),
        })
    }

    fn region(&self, node: Option<&Node>, labels: &LabelSet) -> Result<RegionCode, String> {
        if let Some(region) = &self.config.region {
            return Ok(region.clone());
        }
        let region = node
            .and_then(|node| node.region.as_deref())
            .or_else(|| labels.first_of(&REGION_LABELS))
            .unwrap_or(NAME);
        RegionCode::try_from(region).map_err(|err| format!("region {region:?}: {err}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolve<const N: usize>(
        config: Config,
        labels: [(&str, &str); N],
    ) -> Result<Metadata, Unresolved> {
        let nowhere = Config {
            service_account_dir: Some("/nonexistent".into()),
            ..Config::default()
        };
        Kind::new(config.over(&nowhere))
            .resolve(&labels.into_iter().collect(), "NHOST")
            .await
    }

    #[tokio::test]
    async fn a_host_without_labels_is_in_region_kind() {
        let metadata = resolve(Config::default(), []).await.unwrap();
        assert_eq!(
            metadata,
            Metadata {
                region: Region::of("kind".parse().unwrap()),
                instance_id: "NHOST".into(),
                private_address: None,
                public_address: None,
                platform: "kind".into(),
            }
        );
    }

    #[tokio::test]
    async fn outside_of_a_cluster_labels_say_where_the_host_is() {
        let labels = [
            ("region", "iad"),
            ("instance", "iad-1"),
            ("platform", "local"),
        ];
        let metadata = resolve(Config::default(), labels).await.unwrap();
        assert_eq!(metadata.region.code.as_str(), "iad");
        assert_eq!(metadata.region.name, "Ashburn, Virginia (US)");
        assert_eq!(metadata.region.city.as_deref(), Some("Ashburn"));
        assert_eq!(metadata.instance_id, "iad-1");
        assert_eq!(metadata.platform, "local");
    }

    #[tokio::test]
    async fn config_wins_over_labels() {
        let config = Config {
            region: Some("fra".parse().unwrap()),
            platform: Some("kubernetes".into()),
            instance_id: Some("me".into()),
            ..Config::default()
        };
        let metadata = resolve(config, [("region", "iad"), ("instance", "x")]).await;
        let metadata = metadata.unwrap();
        assert_eq!(metadata.region.code.as_str(), "fra");
        assert_eq!(metadata.instance_id, "me");
        assert_eq!(metadata.platform, "kubernetes");
    }

    #[tokio::test]
    async fn a_label_that_is_no_region_code_is_said_to_be_none() {
        let refused = resolve(Config::default(), [("region", "two words")]).await;
        let refused = refused.unwrap_err();
        assert!(refused.reason.contains("\"two words\""), "{refused}");
        assert_eq!(refused.fallback, None);
    }

    #[tokio::test]
    async fn a_cluster_without_a_service_account_is_in_trouble_but_labels_still_answer() {
        let config = Config {
            kubernetes: Some(true),
            ..Config::default()
        };
        let unresolved = resolve(config, [("region", "fra")]).await.unwrap_err();
        assert!(unresolved.reason.contains("/nonexistent/token"));
        let fallback = unresolved.fallback.unwrap();
        assert_eq!(fallback.region.code.as_str(), "fra");
    }
}
