//! What replication reports over OpenTelemetry: the last status of each store that this instance leads.
//!
//! The callbacks read what leaders keep in memory; nothing here waits for a store or a region.

use std::sync::Arc;
use std::time::Duration;

use provider_kit::opentelemetry::{global, KeyValue};
use replica::{PeerState, PeerStatus, Status};

use crate::pool::Pool;

/// Values of a metric, each with the attribute it has besides `region` and `group`.
type Points = Vec<(u64, Option<KeyValue>)>;

struct Metric {
    name: &'static str,
    unit: &'static str,
    about: &'static str,
    read: fn(&Status) -> Points,
}

const GAUGES: [Metric; 6] = [
    Metric {
        name: "keyvalue.replication.lag.operations",
        unit: "{operation}",
        about: "Writes that other regions are known to have and that are missing here",
        read: |status| one(status.behind_operations),
    },
    Metric {
        name: "keyvalue.replication.peers",
        unit: "{region}",
        about: "Other regions by state: live, old-copy, silent or evicted",
        read: peers_by_state,
    },
    Metric {
        name: "keyvalue.replication.peer.lag.operations",
        unit: "{operation}",
        about: "Writes that are here and that the peer has not confirmed",
        read: |status| by_peer(status, |peer| Some(peer.behind_operations)),
    },
    Metric {
        name: "keyvalue.replication.peer.digest.equal",
        unit: "1",
        about: "1 if the last digests showed that the peer holds the same, 0 if not",
        read: |status| by_peer(status, |peer| peer.digest_equal.map(u64::from)),
    },
    Metric {
        name: "keyvalue.replication.quarantined",
        unit: "{key}",
        about: "Keys that were written by a clock too far ahead",
        read: |status| one(count(status.ahead.len())),
    },
    Metric {
        name: "keyvalue.replication.waiting",
        unit: "{entry}",
        about: "Entries that wait to be applied",
        read: |status| one(status.waiting),
    },
];

const COUNTERS: [Metric; 4] = [
    Metric {
        name: "keyvalue.replication.conflicts",
        unit: "{conflict}",
        about: "Conflicts that were resolved",
        read: |status| one(status.conflict_count),
    },
    Metric {
        name: "keyvalue.replication.sent",
        unit: "By",
        about: "Bytes sent to other regions",
        read: |status| one(status.sent_bytes),
    },
    Metric {
        name: "keyvalue.replication.received",
        unit: "By",
        about: "Bytes received from the peer",
        read: |status| by_peer(status, |peer| Some(peer.received_bytes)),
    },
    Metric {
        name: "keyvalue.replication.dropped",
        unit: "{message}",
        about: "Messages that were dropped because too many waited; what they carried is pulled",
        read: |status| one(status.dropped),
    },
];

/// In milliseconds, reported in seconds.
const LAGS: [Metric; 2] = [
    Metric {
        name: "keyvalue.replication.lag",
        unit: "s",
        about: "For how long something has been missing here",
        read: |status| one(status.behind_ms),
    },
    Metric {
        name: "keyvalue.replication.peer.lag",
        unit: "s",
        about: "For how long the peer has not confirmed something that is here",
        read: |status| by_peer(status, |peer| Some(peer.behind_ms)),
    },
];

/// Reports on the stores of the pool from now on. Does nothing in a process that exports no metrics.
pub(crate) fn observe(pool: &Arc<Pool>) {
    let meter = global::meter("keyvalue-valkey");
    for metric in LAGS {
        let pool = pool.clone();
        meter
            .f64_observable_gauge(metric.name)
            .with_unit(metric.unit)
            .with_description(metric.about)
            .with_callback(move |to| {
                each(&pool, metric.read, |milliseconds, of| {
                    to.observe(Duration::from_millis(milliseconds).as_secs_f64(), of);
                });
            })
            .build();
    }
    for metric in GAUGES {
        let pool = pool.clone();
        meter
            .u64_observable_gauge(metric.name)
            .with_unit(metric.unit)
            .with_description(metric.about)
            .with_callback(move |to| each(&pool, metric.read, |value, of| to.observe(value, of)))
            .build();
    }
    for metric in COUNTERS {
        let pool = pool.clone();
        meter
            .u64_observable_counter(metric.name)
            .with_unit(metric.unit)
            .with_description(metric.about)
            .with_callback(move |to| each(&pool, metric.read, |value, of| to.observe(value, of)))
            .build();
    }
}

fn each(pool: &Pool, read: fn(&Status) -> Points, mut observe: impl FnMut(u64, &[KeyValue])) {
    for status in pool.led() {
        for (value, of) in read(&status) {
            let mut attributes = vec![
                KeyValue::new("region", status.region.to_string()),
                KeyValue::new("group", status.group.clone()),
            ];
            attributes.extend(of);
            observe(value, &attributes);
        }
    }
}

fn one(value: u64) -> Points {
    vec![(value, None)]
}

/// What is `None` of a peer is not reported.
fn by_peer(status: &Status, read: impl Fn(&PeerStatus) -> Option<u64>) -> Points {
    let peers = status.peers.iter().filter_map(|peer| {
        let name = KeyValue::new("peer", peer.region.to_string());
        Some((read(peer)?, Some(name)))
    });
    peers.collect()
}

fn peers_by_state(status: &Status) -> Points {
    let in_state = |state: PeerState| {
        let peers = status.peers.iter().filter(|peer| peer.state() == state);
        let name = KeyValue::new("state", state.name());
        (count(peers.count()), Some(name))
    };
    PeerState::ALL.map(in_state).into()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
