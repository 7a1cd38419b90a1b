//! `{label:NAME}`: what differs per host, inside config that is the same for a whole lattice.

use super::ConfigError;
use crate::LabelSet;

const OPEN: &str = "{label:";

/// Whether the value needs the host's labels.
pub(super) fn present(value: &str) -> bool {
    value.contains(OPEN)
}

/// Puts the labels in. The result is not expanded again: a label's value is data.
pub(super) fn expand(key: &str, value: &str, labels: &LabelSet) -> Result<String, ConfigError> {
    let mut expanded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let (label, behind) = after
            .split_once('}')
            .filter(|(label, _)| is_name(label))
            .ok_or_else(|| ConfigError::Placeholder { key: key.into() })?;
        let text = labels.get(label).ok_or_else(|| ConfigError::UnknownLabel {
            key: key.into(),
            label: label.into(),
            known: labels.names().map(Into::into).collect(),
        })?;
        expanded.push_str(before);
        expanded.push_str(text);
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn is_name(label: &str) -> bool {
    !label.is_empty()
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> LabelSet {
        LabelSet::from_iter([("valkey", "10.0.0.7:6379"), ("odd", "{label:valkey}")])
    }

    #[test]
    fn labels_are_put_in_wherever_they_are_named() {
        let expand = |value| expand("url", value, &labels()).unwrap();
        assert_eq!(
            expand("redis://{label:valkey}/0"),
            "redis://10.0.0.7:6379/0"
        );
        assert_eq!(
            expand("{label:valkey}{label:valkey}"),
            "10.0.0.7:637910.0.0.7:6379"
        );
        assert_eq!(expand("{no} {label} }{"), "{no} {label} }{");
    }

    #[test]
    fn a_labels_value_is_not_expanded_again() {
        assert_eq!(
            expand("k", "{label:odd}", &labels()).unwrap(),
            "{label:valkey}"
        );
    }

    #[test]
    fn an_unknown_label_is_named_with_its_key_and_the_labels_there_are() {
        let error = expand("url", "redis://{label:redis}", &labels()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "config key `url` names the host label `redis`, but the host has only `odd`, `valkey`"
        );
    }

    #[test]
    fn a_malformed_placeholder_is_refused() {
        for value in ["{label:", "{label:valkey", "{label:}", "{label:a b}"] {
            assert_eq!(
                expand("url", value, &labels()),
                Err(ConfigError::Placeholder { key: "url".into() }),
                "{value}"
            );
        }
    }
}
