//! Where the labels come from: the control interface, or else the environment.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use wasmcloud_control_interface::Client;

use crate::lattice::REQUEST;
use crate::{deadline, LabelSet};

/// How long to ask. A host that has just started answers within milliseconds; one that is busy
/// starting another provider may take seconds, because its inventory waits for that.
const DEADLINE: Duration = Duration::from_secs(10);
/// The pause after the first failed question; it doubles up to the cap.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How often to ask when the deadline has passed.
const LATE_PAUSE: Duration = Duration::from_secs(10);

/// Environment variable that a host passes on to its providers.
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// Resource attributes and the labels they stand for, in addition to their own name.
const ALIASES: [(&str, &str); 4] = [
    ("cloud.region", "region"),
    ("cloud.provider", "cloud"),
    ("cloud.availability_zone", "zone"),
    ("host.name", "hostname"),
];

/// Asks the control interface for the labels of `host` until it answers. When the deadline
/// passes first, the environment's labels are published in the meantime.
pub(crate) async fn resolve(client: Client, host: &str, known: watch::Sender<Option<LabelSet>>) {
    let environment = from_environment(&std::env::var(ATTRIBUTES).unwrap_or_default());
    let give_up = Instant::now() + DEADLINE;
    let mut pause = FIRST_PAUSE;
    loop {
        match ask(&client, host).await {
            Ok(labels) => {
                info!(labels = ?labels.names().collect::<Vec<_>>(), "host labels are known");
                known.send_replace(Some(labels.over(&environment)));
                return;
            }
            Err(reason) => debug!(reason, "no host labels yet"),
        }
        if Instant::now() + pause >= give_up && known.borrow().is_none() {
            warn!("the control interface does not tell the host's labels, using the environment");
            known.send_replace(Some(environment.clone()));
            pause = LATE_PAUSE;
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LATE_PAUSE);
        if known.borrow().is_none() {
            // Before the deadline, keep asking often enough to use all of it.
            pause = pause.min(Duration::from_secs(1));
        }
    }
}

async fn ask(client: &Client, host: &str) -> Result<LabelSet, String> {
    let answer = deadline::within(REQUEST, "host inventory", client.get_host_inventory(host))
        .await
        .map_err(|err| err.to_string())?
        .map_err(|err| err.to_string())?;
    let Some(inventory) = answer.data() else {
        return Err(answer.message().to_owned());
    };
    Ok(inventory
        .labels()
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect())
}

/// Labels from `key=value,…`, the format of the OpenTelemetry specification (values may be
/// percent-encoded). What is malformed is left out.
fn from_environment(attributes: &str) -> LabelSet {
    let mut labels = Vec::new();
    for pair in attributes.split(',') {
        let Some((key, value)) = pair.split_once('=') else {
            continue;
        };
        let (key, value) = (key.trim(), percent_decoded(value.trim()));
        if key.is_empty() || value.is_empty() {
            continue;
        }
        for (attribute, label) in ALIASES {
            if attribute == key {
                labels.push((label.to_owned(), value.clone()));
            }
        }
        labels.push((key.to_owned(), value));
    }
    labels.into_iter().collect()
}

fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(original) => {
                decoded.push(original);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_attributes_become_labels_under_both_names() {
        let labels = from_environment(
            "cloud.provider=fly.io,cloud.region=iad, host.id = 148ed 193 ,service.name=a%2Cb%3D%zz",
        );
        assert_eq!(
            labels,
            LabelSet::from_iter([
                ("cloud", "fly.io"),
                ("cloud.provider", "fly.io"),
                ("cloud.region", "iad"),
                ("host.id", "148ed 193"),
                ("region", "iad"),
                ("service.name", "a,b=%zz"),
            ])
        );
    }

    #[test]
    fn malformed_resource_attributes_are_left_out() {
        assert_eq!(from_environment(""), LabelSet::default());
        assert_eq!(
            from_environment(",,=x,novalue,empty=,%,a=%"),
            LabelSet::from_iter([("a", "%")])
        );
    }
}
