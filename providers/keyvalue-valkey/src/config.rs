//! What a link may say, parsed once and whole.

use std::time::Duration;

use provider_kit::{Config, ConfigError, FromConfig, Secret};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::CertificateDer;
use url::{Host, Url};

use crate::bucket::{self, Buckets};
use crate::endpoint::{Credentials, Endpoint, Tls};
use crate::limit::Limits;
use crate::mode::{mode, Mode};

const MIB: u64 = 1024 * 1024;
const URL_ALLOWED: &str = "redis://HOST[:PORT][/DATABASE], or rediss:// for TLS";
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(800);

/// The configuration of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Which Valkey, as whom.
    pub endpoint: Endpoint,
    /// Which buckets the component may use.
    pub buckets: Buckets,
    /// How large things may be.
    pub limits: Limits,
    /// How long one call may take.
    pub timeout: Duration,
    /// Where the data is kept.
    pub mode: Mode,
}

impl FromConfig for LinkConfig {
    fn from_config(config: &mut Config<'_>) -> Result<Self, ConfigError> {
        let url = url(config)?;
        let credentials = Credentials {
            username: config.secret("username")?,
            password: config.secret("password")?,
        };
        let ca_pem = ca_pem(config)?;
        let buckets = buckets(config)?;
        let limits = limits(config)?;
        let timeout = config
            .milliseconds("timeout_ms", 10..=10_000)?
            .unwrap_or(DEFAULT_TIMEOUT);
        let mode = mode(config)?;
        let endpoint = endpoint(&url, credentials, ca_pem)?;
        Ok(Self {
            endpoint,
            buckets,
            limits,
            timeout,
            mode,
        })
    }
}

/// The key is `url`; `URL`, as wasmCloud's keyvalue-redis writes it, means the same.
fn url(config: &mut Config<'_>) -> Result<String, ConfigError> {
    match (config.optional("url")?, config.optional("URL")?) {
        (Some(_), Some(again)) => Err(ConfigError::invalid(
            "URL",
            &again,
            "either `url` or `URL`, not both",
        )),
        (Some(url), None) | (None, Some(url)) => Ok(url),
        (None, None) => config.required("url"),
    }
}

fn endpoint(
    text: &str,
    mut credentials: Credentials,
    ca_pem: Option<String>,
) -> Result<Endpoint, ConfigError> {
    let refuse = |allowed: &str| ConfigError::invalid("url", text, allowed);
    let url = Url::parse(text).map_err(|_| refuse(URL_ALLOWED))?;
    let secure = match url.scheme() {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return Err(refuse(URL_ALLOWED)),
    };
    if url.password().is_some() {
        return Err(refuse(
            "a URL without a password: give it as the link's secret `password`",
        ));
    }
    if !url.username().is_empty() {
        return Err(refuse(
            "a URL without a user: give it as the link's secret `username`",
        ));
    }
    if credentials.username.is_some() && credentials.password.is_none() {
        return Err(ConfigError::invalid_secret(
            "username",
            "a user together with the secret `password`",
        ));
    }
    // Valkey's name for the user of a password without a user.
    credentials.username = credentials
        .username
        .filter(|name| *name != Secret::new("default"));
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse(URL_ALLOWED));
    }
    let host = match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        _ => return Err(refuse(URL_ALLOWED)),
    };
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        number => number
            .parse()
            .map_err(|_| refuse("a URL whose path is a database number, such as /0"))?,
    };
    let tls = match (secure, ca_pem) {
        (true, ca_pem) => Some(Tls { ca_pem }),
        (false, None) => None,
        (false, Some(_)) => return Err(refuse("rediss://, since a CA certificate is given")),
    };
    Ok(Endpoint {
        host,
        port: url.port().unwrap_or(6379),
        database,
        tls,
        credentials,
    })
}

/// Certificate authorities to trust instead of the public ones: as text, or as a file on this host.
fn ca_pem(config: &mut Config<'_>) -> Result<Option<String>, ConfigError> {
    let (text, file) = (
        config.optional("tls_ca_pem")?,
        config.optional("tls_ca_file")?,
    );
    let (key, shown, pem) = match (text, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(file)) => {
            return Err(ConfigError::invalid(
                "tls_ca_file",
                &file,
                "either `tls_ca_pem` or `tls_ca_file`, not both",
            ));
        }
        (Some(text), None) => ("tls_ca_pem", text.clone(), text),
        (None, Some(file)) => {
            let pem = std::fs::read_to_string(&file).map_err(|error| {
                ConfigError::invalid("tls_ca_file", &file, format!("a readable file ({error})"))
            })?;
            ("tls_ca_file", file, pem)
        }
    };
    let refuse = || {
        ConfigError::invalid(
            key,
            &shown,
            "one or more PEM certificates of certificate authorities",
        )
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        certificate
            .ok()
            .and_then(|certificate| roots.add(certificate).ok())
            .ok_or_else(refuse)?;
    }
    if roots.is_empty() {
        return Err(refuse());
    }
    Ok(Some(pem))
}

fn buckets(config: &mut Config<'_>) -> Result<Buckets, ConfigError> {
    let Some(list) = config.optional("buckets")? else {
        return Ok(Buckets::default());
    };
    Buckets::declared(list.split(',').map(str::trim)).map_err(|_| {
        let allowed = format!(
            "names of 1 to 64 of a-z, 0-9, - and _, separated by commas, such as {},sessions",
            bucket::DEFAULT
        );
        ConfigError::invalid("buckets", &list, allowed)
    })
}

fn limits(config: &mut Config<'_>) -> Result<Limits, ConfigError> {
    let default = Limits::DEFAULT;
    let mut size = |key, bounds, default| {
        let given = config.integer(key, bounds)?;
        // The bounds fit a usize wherever this runs.
        Ok(given
            .and_then(|given| usize::try_from(given).ok())
            .unwrap_or(default))
    };
    let limits = Limits {
        key_bytes: size("max_key_bytes", 1..=65_536, default.key_bytes)?,
        value_bytes: size("max_value_bytes", 1..=16 * MIB, default.value_bytes)?,
        batch_keys: size("max_batch_keys", 1..=100_000, default.batch_keys)?,
        batch_bytes: size("max_batch_bytes", 1..=64 * MIB, default.batch_bytes)?,
        page: default.page,
    };
    if limits.value_bytes > limits.batch_bytes {
        let allowed = format!(
            "at least `max_value_bytes`, which is {}",
            limits.value_bytes
        );
        return Err(ConfigError::invalid(
            "max_batch_bytes",
            &limits.batch_bytes.to_string(),
            allowed,
        ));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use provider_kit::{LabelSet, RawConfig};

    use super::*;

    fn parse(raw: &RawConfig) -> Result<LinkConfig, String> {
        raw.parse(&LabelSet::from_iter([("valkey", "10.0.0.7:6380")]))
            .map_err(|error| error.to_string())
    }

    fn url(url: &str) -> Result<LinkConfig, String> {
        parse(&RawConfig::from_values([("url", url)]))
    }

    #[test]
    fn a_url_alone_is_enough() {
        let config = url("redis://valkey.internal").unwrap();
        assert_eq!(
            config.endpoint.to_string(),
            "redis://valkey.internal:6379/0"
        );
        assert_eq!(config.timeout, Duration::from_millis(800));
        assert_eq!(config.limits, Limits::DEFAULT);
        assert_eq!(config.buckets, Buckets::default());
    }

    #[test]
    fn every_part_of_a_url_is_read() {
        for (text, shown) in [
            ("redis://{label:valkey}/3", "redis://10.0.0.7:6380/3"),
            ("valkey://h:1/", "redis://h:1/0"),
            ("rediss://h", "rediss://h:6379/0"),
            ("valkeys://[::1]:7/15", "rediss://[::1]:7/15"),
            ("redis://127.0.0.1", "redis://127.0.0.1:6379/0"),
        ] {
            assert_eq!(url(text).unwrap().endpoint.to_string(), shown);
        }
        let upper = parse(&RawConfig::from_values([("URL", "redis://h")])).unwrap();
        assert_eq!(upper.endpoint.host, "h");
    }

    #[test]
    fn credentials_come_as_secrets_and_nowhere_else() {
        let raw = RawConfig::from_values([("url", "redis://h")])
            .with_secret("username", Secret::new("alice"))
            .with_secret("password", Secret::new("hunter2"));
        let config = parse(&raw).unwrap();
        assert_eq!(
            config.endpoint.credentials.password,
            Some(Secret::new("hunter2"))
        );
        assert!(!format!("{config:?}").contains("hunter2"));

        let error = url("redis://alice:hunter2@h").unwrap_err();
        assert!(
            error.contains("secret `password`") && !error.contains("hunter2"),
            "{error}"
        );
        assert!(url("redis://alice@h")
            .unwrap_err()
            .contains("secret `username`"));
        let plain = RawConfig::from_values([("url", "redis://h"), ("password", "hunter2")]);
        assert_eq!(
            parse(&plain).unwrap_err(),
            "config key `password` must be given as a secret, not as config"
        );
        let lonely = RawConfig::from_values([("url", "redis://h")])
            .with_secret("username", Secret::new("alice"));
        assert!(parse(&lonely).unwrap_err().contains("`username`"));
    }

    #[test]
    fn a_url_that_is_none_is_refused_by_name() {
        for text in [
            "",
            "h",
            "h:6379",
            "http://h",
            "redis://",
            "redis:///0",
            "redis://h/x",
            "redis://h/0/1",
            "redis://h/-1",
            "redis://h:99999",
            "redis://h/?protocol=3",
        ] {
            let error = url(text).unwrap_err();
            assert!(
                error.starts_with("config key `url` has the value"),
                "{text}: {error}"
            );
        }
        assert_eq!(
            parse(&RawConfig::default()).unwrap_err(),
            "config key `url` is missing"
        );
        assert!(url("redis://{label:nope}")
            .unwrap_err()
            .contains("host label `nope`"));
    }

    #[test]
    fn bounds_and_unknown_keys_are_refused_by_name() {
        for (key, value) in [
            ("timeout_ms", "9"),
            ("timeout_ms", "10001"),
            ("timeout_ms", "soon"),
            ("max_key_bytes", "0"),
            ("max_value_bytes", "16777217"),
            ("max_batch_keys", "100001"),
            ("max_batch_bytes", "1024"),
            ("buckets", ""),
            ("buckets", "default,"),
            ("buckets", "a b"),
            ("tls_ca_pem", "no certificate"),
            ("tls_ca_file", "/no/such/file"),
            ("urls", "redis://h"),
            ("mode", "both"),
            ("group", "todo"),
        ] {
            let error = parse(&RawConfig::from_values([
                ("url", "rediss://h"),
                (key, value),
            ]))
            .unwrap_err();
            assert!(
                error.starts_with(&format!("config key `{key}` ")),
                "{key}={value}: {error}"
            );
        }
    }

    #[test]
    fn buckets_are_exactly_the_declared_ones() {
        let config = parse(&RawConfig::from_values([
            ("url", "redis://h"),
            ("buckets", "default, sessions"),
        ]))
        .unwrap();
        assert_eq!(
            config.buckets,
            Buckets::declared(["default", "sessions"]).unwrap()
        );
    }
}
