//! The config of the provider, and of a link that wants something else.

use std::path::PathBuf;
use std::time::Duration;

use metadata_kit::RegionCode;
use provider_kit::{Config as Keys, ConfigError, FromConfig};
use url::Url;

/// All keys are optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// `region`: the region's code, whatever the platform says.
    pub region: Option<RegionCode>,
    /// `platform`: the platform's name.
    pub platform: Option<String>,
    /// `instance_id`: the machine's name, whatever the platform says.
    pub instance_id: Option<String>,
    /// `node_name`: the Kubernetes node, when the pod may not be looked up.
    pub node_name: Option<String>,
    /// `kubernetes`: `true` or `false`; without it, whether there is a service account.
    pub kubernetes: Option<bool>,
    /// `kubernetes_api`: the address of the API.
    pub kubernetes_api: Option<Url>,
    /// `service_account_dir`: the directory of token, certificate authority and namespace.
    pub service_account_dir: Option<PathBuf>,
    /// `timeout_ms`: how long one question to the API may take.
    pub timeout: Option<Duration>,
    /// `refresh_seconds`: how often to ask again.
    pub refresh: Option<Duration>,
}

/// Names are shown on pages and in tables.
const MAX_NAME: usize = 128;

impl FromConfig for Config {
    fn from_config(keys: &mut Keys<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            region: keys.parsed("region", metadata_kit::REGION_CODE_ALLOWED)?,
            platform: name(keys, "platform")?,
            instance_id: name(keys, "instance_id")?,
            node_name: node(keys, "node_name")?,
            kubernetes: keys.flag("kubernetes")?,
            kubernetes_api: keys.origin("kubernetes_api")?,
            service_account_dir: keys.optional("service_account_dir")?.map(PathBuf::from),
            timeout: keys.milliseconds("timeout_ms", 10..=10_000)?,
            refresh: keys.seconds("refresh_seconds", 1..=86_400)?,
        })
    }
}

impl Config {
    /// These keys, and those of `under` that are not given here.
    pub fn over(&self, under: &Self) -> Self {
        let own = self.clone();
        let under = under.clone();
        Self {
            region: own.region.or(under.region),
            platform: own.platform.or(under.platform),
            instance_id: own.instance_id.or(under.instance_id),
            node_name: own.node_name.or(under.node_name),
            kubernetes: own.kubernetes.or(under.kubernetes),
            kubernetes_api: own.kubernetes_api.or(under.kubernetes_api),
            service_account_dir: own.service_account_dir.or(under.service_account_dir),
            timeout: own.timeout.or(under.timeout),
            refresh: own.refresh.or(under.refresh),
        }
    }
}

fn name(keys: &mut Keys<'_>, key: &'static str) -> Result<Option<String>, ConfigError> {
    let allowed = format!("1 to {MAX_NAME} characters, none of them a control character");
    keys.optional(key)?
        .map(|value| {
            let fits = (1..=MAX_NAME).contains(&value.chars().count());
            if fits && !value.chars().any(char::is_control) {
                Ok(value)
            } else {
                Err(ConfigError::invalid(key, &value, allowed))
            }
        })
        .transpose()
}

/// A node's name becomes part of a URL.
fn node(keys: &mut Keys<'_>, key: &'static str) -> Result<Option<String>, ConfigError> {
    keys.optional(key)?
        .map(|value| {
            if crate::kubernetes::is_object_name(&value) {
                Ok(value)
            } else {
                Err(ConfigError::invalid(key, &value, "the name of a node"))
            }
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use provider_kit::{LabelSet, RawConfig};

    fn parse<const N: usize>(values: [(&str, &str); N]) -> Result<Config, String> {
        RawConfig::from_values(values)
            .parse(&LabelSet::from_iter([("region", "iad")]))
            .map_err(|err| err.to_string())
    }

    #[test]
    fn nothing_is_required() {
        assert_eq!(parse([]), Ok(Config::default()));
    }

    #[test]
    fn every_key_is_read() {
        let config = parse([
            ("region", "{label:region}"),
            ("platform", "kubernetes"),
            ("instance_id", "one"),
            ("node_name", "kind-worker"),
            ("kubernetes", "true"),
            ("kubernetes_api", "https://10.96.0.1:443"),
            ("service_account_dir", "/sa"),
            ("timeout_ms", "500"),
            ("refresh_seconds", "30"),
        ])
        .unwrap();
        assert_eq!(config.region.unwrap().as_str(), "iad");
        assert_eq!(config.platform.as_deref(), Some("kubernetes"));
        assert_eq!(config.instance_id.as_deref(), Some("one"));
        assert_eq!(config.node_name.as_deref(), Some("kind-worker"));
        assert_eq!(config.kubernetes, Some(true));
        assert_eq!(config.kubernetes_api.unwrap().host_str(), Some("10.96.0.1"));
        assert_eq!(config.service_account_dir, Some(PathBuf::from("/sa")));
        assert_eq!(config.timeout, Some(Duration::from_millis(500)));
        assert_eq!(config.refresh, Some(Duration::from_secs(30)));
    }

    #[test]
    fn values_out_of_bounds_are_refused_by_key() {
        for (key, value) in [
            ("region", "two words"),
            ("region", ""),
            ("platform", ""),
            ("instance_id", "a\u{7}b"),
            ("node_name", "../secrets"),
            ("kubernetes", "maybe"),
            ("kubernetes_api", "ftp://x"),
            ("kubernetes_api", "https://user:pw@x"),
            ("kubernetes_api", "https://x/api"),
            ("timeout_ms", "9"),
            ("refresh_seconds", "0"),
            ("refresh_seconds", "86401"),
            ("regoin", "iad"),
        ] {
            let refused = parse([(key, value)]).unwrap_err();
            assert!(refused.contains(&format!("`{key}`")), "{refused}");
            assert!(!refused.contains("pw"), "{refused}");
        }
    }

    #[test]
    fn a_links_keys_lie_over_those_of_the_provider() {
        let link = parse([("region", "fra")]).unwrap();
        let provider = parse([("region", "iad"), ("platform", "kind")]).unwrap();
        let merged = link.over(&provider);
        assert_eq!(merged.region.unwrap().as_str(), "fra");
        assert_eq!(merged.platform.as_deref(), Some("kind"));
    }
}
