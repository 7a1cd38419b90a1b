//! How a link's data is kept: the part of its config that replication needs.

use std::time::Duration;

use provider_kit::{Config, ConfigError};
use replica::region::Region;

use crate::replicated::{Ack, Settings};

const DEFAULT_GROUP: &str = "default";
/// Less than a call may take (provider-kit), or its caller would not be told that the outcome is unknown.
const MOST_WITHIN: u64 = 25_000;
const DEFAULT_WITHIN: Duration = Duration::from_secs(1);
/// The host label that names the region.
const LABEL: &str = "region";
/// Keys that mean something in replicated mode only.
const REPLICATION: [&str; 8] = [
    "group",
    "region",
    "ack",
    "ack_timeout_ms",
    "retention_s",
    "tombstone_s",
    "clock_bound_ms",
    "digest_s",
];

/// Where a link's data is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In one Valkey, with plain commands.
    Plain,
    /// In every region's Valkey. The lattice in the settings is filled in by who knows it.
    Replicated(Settings, Ack),
}

/// The mode, and that no key of the other one is given.
pub(crate) fn mode(config: &mut Config<'_>) -> Result<Mode, ConfigError> {
    let replicated = config
        .choice("mode", &[("plain", false), ("replicated", true)])?
        .unwrap_or(false);
    if replicated {
        return replication(config);
    }
    for key in REPLICATION {
        if let Some(value) = config.optional(key)? {
            let allowed = "nothing, unless `mode` is replicated";
            return Err(ConfigError::invalid(key, &value, allowed));
        }
    }
    Ok(Mode::Plain)
}

fn replication(config: &mut Config<'_>) -> Result<Mode, ConfigError> {
    let group = group(config)?;
    let mut settings = Settings::new("", group, region(config)?);
    let ack = ack(config)?;
    settings.retention = config
        .seconds("retention_s", 10..=31_536_000)?
        .unwrap_or(settings.retention);
    settings.tombstone = config
        .seconds("tombstone_s", 1..=31_536_000)?
        .unwrap_or(settings.tombstone);
    settings.clock_bound = config
        .milliseconds("clock_bound_ms", 1..=60_000)?
        .unwrap_or(settings.clock_bound);
    settings.digest = config
        .seconds("digest_s", 1..=86_400)?
        .unwrap_or(settings.digest);
    if settings.tombstone >= settings.retention {
        let (tombstone, retention) = (settings.tombstone.as_secs(), settings.retention.as_secs());
        let allowed = format!("less than `retention_s`, which is {retention}");
        return Err(ConfigError::invalid(
            "tombstone_s",
            &tombstone.to_string(),
            allowed,
        ));
    }
    Ok(Mode::Replicated(settings, ack))
}

fn group(config: &mut Config<'_>) -> Result<String, ConfigError> {
    let group = config
        .optional("group")?
        .unwrap_or(DEFAULT_GROUP.to_owned());
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if (1..=64).contains(&group.len()) && group.bytes().all(allowed) {
        Ok(group)
    } else {
        let allowed = "1 to 64 of a-z, 0-9 and -";
        Err(ConfigError::invalid("group", &group, allowed))
    }
}

fn region(config: &mut Config<'_>) -> Result<Region, ConfigError> {
    let given = config.optional("region")?;
    let label = config.labels().get(LABEL).map(str::to_owned);
    let Some(region) = given.or(label) else {
        return Err(ConfigError::invalid(
            "region",
            "",
            "a region, here or as the host label `region`",
        ));
    };
    let allowed = "1 to 32 of a-z, 0-9 and - (the host label `region` when it is not given)";
    region
        .parse()
        .map_err(|_| ConfigError::invalid("region", &region, allowed))
}

fn ack(config: &mut Config<'_>) -> Result<Ack, ConfigError> {
    let word = config.optional("ack")?;
    let within = config.milliseconds("ack_timeout_ms", 10..=MOST_WITHIN)?;
    let count = match word.as_deref() {
        None | Some("local") => None,
        Some(number) => {
            let count = number.parse().ok().filter(|count| (1..=8).contains(count));
            let allowed = "local, or a number of other regions from 1 to 8";
            Some(count.ok_or_else(|| ConfigError::invalid("ack", number, allowed))?)
        }
    };
    match (count, within) {
        (Some(count), within) => Ok(Ack::Regions {
            count,
            within: within.unwrap_or(DEFAULT_WITHIN),
        }),
        (None, None) => Ok(Ack::Local),
        (None, Some(within)) => {
            let allowed = "nothing, unless `ack` is a number of other regions";
            let within = within.as_millis().to_string();
            Err(ConfigError::invalid("ack_timeout_ms", &within, allowed))
        }
    }
}

#[cfg(test)]
mod tests {
    use provider_kit::{FromConfig, LabelSet, RawConfig};

    use super::*;

    struct Wanted(Mode);

    impl FromConfig for Wanted {
        fn from_config(config: &mut Config<'_>) -> Result<Self, ConfigError> {
            mode(config).map(Self)
        }
    }

    fn parse(pairs: &[(&str, &str)], labels: &[(&str, &str)]) -> Result<Mode, String> {
        let raw = RawConfig::from_values(pairs.iter().copied());
        let parsed = raw.parse::<Wanted>(&LabelSet::from_iter(labels.iter().copied()));
        parsed
            .map(|wanted| wanted.0)
            .map_err(|error| error.to_string())
    }

    const HERE: [(&str, &str); 1] = [("region", "iad")];

    #[test]
    fn one_word_replicates_with_the_hosts_region_and_the_default_group() {
        let Ok(Mode::Replicated(settings, ack)) = parse(&[("mode", "replicated")], &HERE) else {
            panic!("refused");
        };
        assert_eq!(
            (settings.group.as_str(), settings.region.as_str()),
            ("default", "iad")
        );
        assert_eq!(ack, Ack::Local);
        assert_eq!(parse(&[], &HERE), Ok(Mode::Plain));
        assert_eq!(parse(&[("mode", "plain")], &HERE), Ok(Mode::Plain));
    }

    #[test]
    fn every_replication_key_is_read() {
        let pairs = [
            ("mode", "replicated"),
            ("group", "todo"),
            ("region", "{label:zone}"),
            ("ack", "2"),
            ("ack_timeout_ms", "300"),
            ("retention_s", "3600"),
            ("tombstone_s", "60"),
            ("clock_bound_ms", "250"),
            ("digest_s", "5"),
        ];
        let expected = Settings {
            lattice: String::new(),
            group: "todo".into(),
            region: "fra".parse().unwrap(),
            retention: Duration::from_secs(3600),
            tombstone: Duration::from_secs(60),
            clock_bound: Duration::from_millis(250),
            digest: Duration::from_secs(5),
        };
        let ack = Ack::Regions {
            count: 2,
            within: Duration::from_millis(300),
        };
        let labels = [("region", "iad"), ("zone", "fra")];
        let parsed = parse(&pairs, &labels);
        assert_eq!(parsed, Ok(Mode::Replicated(expected, ack)));
    }

    #[test]
    fn wrong_and_contradictory_config_is_refused_by_name() {
        let cases: [(&str, &[(&str, &str)]); 14] = [
            ("mode", &[("mode", "active")]),
            ("group", &[("group", "x")]),
            ("ack", &[("mode", "plain"), ("ack", "1")]),
            ("digest_s", &[("digest_s", "60")]),
            ("group", &[("mode", "replicated"), ("group", "A")]),
            ("group", &[("mode", "replicated"), ("group", "")]),
            ("region", &[("mode", "replicated"), ("region", "a.b")]),
            ("ack", &[("mode", "replicated"), ("ack", "0")]),
            ("ack", &[("mode", "replicated"), ("ack", "9")]),
            ("ack", &[("mode", "replicated"), ("ack", "all")]),
            (
                "ack_timeout_ms",
                &[("mode", "replicated"), ("ack_timeout_ms", "500")],
            ),
            (
                "ack_timeout_ms",
                &[
                    ("mode", "replicated"),
                    ("ack", "local"),
                    ("ack_timeout_ms", "500"),
                ],
            ),
            (
                "tombstone_s",
                &[
                    ("mode", "replicated"),
                    ("retention_s", "60"),
                    ("tombstone_s", "60"),
                ],
            ),
            (
                "tombstone_s",
                &[("mode", "replicated"), ("retention_s", "600")],
            ),
        ];
        for (key, pairs) in cases {
            let error = parse(pairs, &HERE).unwrap_err();
            assert!(
                error.starts_with(&format!("config key `{key}` ")),
                "{pairs:?}: {error}"
            );
        }
        let error = parse(&[("mode", "replicated")], &[]).unwrap_err();
        assert!(
            error.starts_with("config key `region` ") && error.contains("host label"),
            "{error}"
        );
    }
}
