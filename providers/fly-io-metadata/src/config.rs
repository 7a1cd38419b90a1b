//! The config of the provider, and of a link that wants something else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use metadata_kit::RegionCode;
use provider_kit::{Config as Keys, ConfigError, FromConfig, Secret};
use url::Url;

use crate::instance::{is_app_name, is_machine_id};

/// All keys are optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// `region`: the region's code, whatever labels and Fly say.
    pub region: Option<RegionCode>,
    /// `app`: the app this Machine belongs to.
    pub app: Option<String>,
    /// `machine_id`: this Machine.
    pub machine_id: Option<String>,
    /// `nameserver`: address and port of Fly's internal DNS.
    pub nameserver: Option<SocketAddr>,
    /// `hosts_file`: where Fly wrote this Machine's private address.
    pub hosts_file: Option<PathBuf>,
    /// `machines_api`: the address of the Machines API.
    pub machines_api: Option<Url>,
    /// Secret `token`: for the Machines API, which is not asked without it.
    pub token: Option<Secret>,
    /// `timeout_ms`: how long one question may take.
    pub timeout: Option<Duration>,
    /// `refresh_seconds`: how often to ask the DNS again.
    pub refresh: Option<Duration>,
    /// `catalogue_seconds`: how often to ask for the regions' names again.
    pub catalogue_refresh: Option<Duration>,
}

impl FromConfig for Config {
    fn from_config(keys: &mut Keys<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            region: keys.parsed("region", metadata_kit::REGION_CODE_ALLOWED)?,
            app: checked(keys, "app", is_app_name, "the name of a Fly app")?,
            machine_id: checked(keys, "machine_id", is_machine_id, "the id of a Machine")?,
            nameserver: keys.parsed("nameserver", "an address and port like [fdaa::3]:53")?,
            hosts_file: keys.optional("hosts_file")?.map(PathBuf::from),
            machines_api: keys.origin("machines_api")?,
            token: token(keys, "token")?,
            timeout: keys.milliseconds("timeout_ms", 10..=5_000)?,
            refresh: keys.seconds("refresh_seconds", 1..=86_400)?,
            catalogue_refresh: keys.seconds("catalogue_seconds", 1..=604_800)?,
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
            app: own.app.or(under.app),
            machine_id: own.machine_id.or(under.machine_id),
            nameserver: own.nameserver.or(under.nameserver),
            hosts_file: own.hosts_file.or(under.hosts_file),
            machines_api: own.machines_api.or(under.machines_api),
            token: own.token.or(under.token),
            timeout: own.timeout.or(under.timeout),
            refresh: own.refresh.or(under.refresh),
            catalogue_refresh: own.catalogue_refresh.or(under.catalogue_refresh),
        }
    }
}

fn checked(
    keys: &mut Keys<'_>,
    key: &'static str,
    fits: fn(&str) -> bool,
    allowed: &str,
) -> Result<Option<String>, ConfigError> {
    match keys.optional(key)? {
        Some(value) if !fits(&value) => Err(ConfigError::invalid(key, &value, allowed)),
        value => Ok(value),
    }
}

/// The token becomes a header.
fn token(keys: &mut Keys<'_>, key: &'static str) -> Result<Option<Secret>, ConfigError> {
    let token = keys.secret(key)?;
    let fits = |token: &Secret| {
        let text = token.expose();
        // Fly's tokens are lists of macaroons, "FlyV1 fm2_…,fm2_…".
        !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    };
    match token {
        Some(token) if !fits(&token) => Err(ConfigError::invalid_secret(key, "printable ASCII")),
        token => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use provider_kit::{LabelSet, RawConfig};

    fn parse(raw: &RawConfig) -> Result<Config, String> {
        raw.parse(&LabelSet::from_iter([("fly_app", "demo")]))
            .map_err(|err| err.to_string())
    }

    #[test]
    fn nothing_is_required_and_every_key_is_read() {
        assert_eq!(parse(&RawConfig::default()), Ok(Config::default()));
        let raw = RawConfig::from_values([
            ("region", "iad"),
            ("app", "{label:fly_app}"),
            ("machine_id", "148ed193b95d48"),
            ("nameserver", "[fdaa::3]:53"),
            ("hosts_file", "/etc/hosts"),
            ("machines_api", "http://_api.internal:4280"),
            ("timeout_ms", "100"),
            ("refresh_seconds", "5"),
            ("catalogue_seconds", "60"),
        ])
        .with_secret("token", Secret::new("FlyV1 fm2_a,fm2_b"));
        let config = parse(&raw).unwrap();
        assert_eq!(config.region.unwrap().as_str(), "iad");
        assert_eq!(config.app.as_deref(), Some("demo"));
        assert_eq!(config.machine_id.as_deref(), Some("148ed193b95d48"));
        assert_eq!(config.nameserver.unwrap().port(), 53);
        assert_eq!(config.hosts_file, Some(PathBuf::from("/etc/hosts")));
        assert_eq!(config.machines_api.unwrap().port(), Some(4280));
        assert_eq!(config.timeout, Some(Duration::from_millis(100)));
        assert_eq!(config.refresh, Some(Duration::from_secs(5)));
        assert_eq!(config.catalogue_refresh, Some(Duration::from_secs(60)));
        assert!(config.token.is_some());
    }

    #[test]
    fn values_out_of_bounds_are_refused_by_key() {
        for (key, value) in [
            ("region", ""),
            ("app", "two words"),
            ("app", "a.b"),
            ("machine_id", "x/y"),
            ("nameserver", "fdaa::3"),
            ("machines_api", "https://user:pw@api.machines.dev"),
            ("timeout_ms", "5001"),
            ("refresh_seconds", "0"),
            ("catalogue_seconds", "never"),
            ("token", "in plain sight"),
            ("regoin", "iad"),
        ] {
            let refused = parse(&RawConfig::from_values([(key, value)])).unwrap_err();
            assert!(refused.contains(&format!("`{key}`")), "{refused}");
            assert!(!refused.contains("pw") && !refused.contains("plain sight"));
        }
        let newline = RawConfig::default().with_secret("token", Secret::new("a\nb"));
        assert!(parse(&newline).unwrap_err().contains("`token`"));
    }
}
