//! The Kubernetes API, as far as it tells where a pod runs.
//!
//! Needs the rights to `get` pods in the own namespace and to `get` nodes.

use std::net::IpAddr;
use std::time::Duration;

use metadata_kit::fetch;
use provider_kit::within;
use serde::de::DeserializeOwned;
use serde::Deserialize;
use url::Url;

use crate::error::Error;
use crate::service_account::ServiceAccount;

/// A node with many images describes itself in some hundred kilobytes.
const MAX_ANSWER: usize = 4 << 20;

/// A client for one attempt.
pub struct Api {
    http: reqwest::Client,
    address: Url,
    account: ServiceAccount,
    timeout: Duration,
}

/// What is used of a node.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub region: Option<String>,
    pub internal_address: Option<IpAddr>,
    pub external_address: Option<IpAddr>,
}

/// What is used of a pod.
#[derive(Debug, PartialEq, Eq)]
pub struct Pod {
    pub node: Option<String>,
    pub address: Option<IpAddr>,
}

impl Api {
    /// # Errors
    ///
    /// When the certificate authority is no certificate.
    pub fn new(address: Url, account: ServiceAccount, timeout: Duration) -> Result<Self, Error> {
        let mut builder = reqwest::Client::builder()
            // The API is inside the cluster and redirects nobody.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tls_built_in_root_certs(false);
        let authorities = reqwest::Certificate::from_pem_bundle(&account.authority)
            .map_err(|_| Error::Malformed("the certificate authority"))?;
        for authority in authorities {
            builder = builder.add_root_certificate(authority);
        }
        Ok(Self {
            http: builder
                .build()
                .map_err(|_| Error::Malformed("the certificate authority"))?,
            address,
            account,
            timeout,
        })
    }

    /// The pod called `name` in the own namespace.
    pub async fn pod(&self, name: &str) -> Result<Pod, Error> {
        let namespace = &self.account.namespace;
        let path = ["api", "v1", "namespaces", namespace, "pods", name];
        Ok(read_pod(self.get("the pod", &path).await?))
    }

    /// The node called `name`.
    pub async fn node(&self, name: &str) -> Result<Node, Error> {
        let object = self.get("the node", &["api", "v1", "nodes", name]).await?;
        Ok(read_node(name, object))
    }

    async fn get<T: DeserializeOwned>(
        &self,
        what: &'static str,
        path: &[&str],
    ) -> Result<T, Error> {
        if !path.iter().all(|part| is_object_name(part)) {
            return Err(Error::Answer { what });
        }
        let mut url = self.address.clone();
        url.set_path(&path.join("/"));
        let request = self.http.get(url).bearer_auth(self.account.token.expose());
        let asked = fetch(request, MAX_ANSWER);
        let answer = within(self.timeout, "the Kubernetes API", asked).await?;
        let answer = answer.map_err(|source| Error::Ask { what, source })?;
        serde_json::from_slice(&answer).map_err(|_| Error::Answer { what })
    }
}

/// Whether the text can be the name of an object, and so part of a path.
pub fn is_object_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
}

#[derive(Deserialize)]
struct PodObject {
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    node_name: Option<String>,
}

#[derive(Deserialize, Default)]
struct PodStatus {
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
}

#[derive(Deserialize)]
struct NodeObject {
    metadata: NodeMetadata,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Deserialize)]
struct NodeMetadata {
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
struct NodeStatus {
    #[serde(default)]
    addresses: Vec<NodeAddress>,
}

#[derive(Deserialize)]
struct NodeAddress {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

fn read_pod(pod: PodObject) -> Pod {
    Pod {
        node: pod.spec.node_name.filter(|name| !name.is_empty()),
        address: pod.status.pod_ip.and_then(|address| address.parse().ok()),
    }
}

fn read_node(name: &str, node: NodeObject) -> Node {
    let label = |name: &str| {
        let value = node.metadata.labels.get(name)?;
        (!value.is_empty()).then(|| value.clone())
    };
    let address = |kind: &str| {
        let mut addresses = node.status.addresses.iter();
        addresses.find_map(|address| {
            (address.kind == kind)
                .then(|| address.address.parse().ok())
                .flatten()
        })
    };
    Node {
        name: name.to_owned(),
        region: label("topology.kubernetes.io/region")
            .or_else(|| label("topology.kubernetes.io/zone")),
        internal_address: address("InternalIP"),
        external_address: address("ExternalIP"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_tells_its_region_and_addresses() {
        let object = json!({
            "metadata": { "labels": {
                "topology.kubernetes.io/region": "eu-west-1",
                "topology.kubernetes.io/zone": "eu-west-1a",
            }},
            "status": { "addresses": [
                { "type": "Hostname", "address": "node-1" },
                { "type": "InternalIP", "address": "10.0.0.4" },
                { "type": "ExternalIP", "address": "not an address" },
                { "type": "ExternalIP", "address": "2001:db8::4" },
            ]},
        });
        assert_eq!(
            read_node("node-1", serde_json::from_value(object).unwrap()),
            Node {
                name: "node-1".into(),
                region: Some("eu-west-1".into()),
                internal_address: Some("10.0.0.4".parse().unwrap()),
                external_address: Some("2001:db8::4".parse().unwrap()),
            }
        );
    }

    #[test]
    fn a_node_without_labels_and_status_has_no_region() {
        let object = json!({ "metadata": {} });
        assert_eq!(
            read_node("n", serde_json::from_value(object).unwrap()),
            Node {
                name: "n".into(),
                ..Node::default()
            }
        );
        let zone = json!({ "metadata": { "labels": { "topology.kubernetes.io/zone": "z" } } });
        let node = read_node("n", serde_json::from_value(zone).unwrap());
        assert_eq!(node.region.as_deref(), Some("z"));
    }

    #[test]
    fn a_pod_that_is_not_scheduled_has_no_node() {
        let pending = json!({ "spec": {} });
        let pod = read_pod(serde_json::from_value(pending).unwrap());
        assert_eq!(
            pod,
            Pod {
                node: None,
                address: None
            }
        );
        let running = json!({ "spec": { "nodeName": "n" }, "status": { "podIP": "10.244.0.9" } });
        let pod = read_pod(serde_json::from_value(running).unwrap());
        assert_eq!(pod.node.as_deref(), Some("n"));
        assert_eq!(pod.address, Some("10.244.0.9".parse().unwrap()));
    }

    #[test]
    fn only_names_of_objects_become_part_of_a_path() {
        assert!(is_object_name("wasmcloud-host-7d9f-x2x"));
        assert!(is_object_name("ip-10-0-0-4.ec2.internal"));
        for bad in ["", ".", "..", "a/b", "a?b", "a b", "a%2f", &"n".repeat(254)] {
            assert!(!is_object_name(bad), "{bad:?}");
        }
    }
}
