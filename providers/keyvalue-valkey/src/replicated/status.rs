//! What a replicated store says of itself, as JSON.
//!
//! The leader keeps it in Valkey, where every instance of the region finds it, for as long as it lives.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use replica::Status;
use serde::Serialize;
use tokio::time::timeout;

use super::road::Road;
use super::shared::{Shared, Standing};
use super::step::Steps;

/// Where the leader keeps it.
const KEY: &str = "@kv/r/status";
/// For how long it is true.
const EXPIRES_MS: u64 = 5_000;
/// How long reading it may take.
const DEADLINE: Duration = Duration::from_millis(500);

#[derive(Debug, Serialize)]
struct Report<'a> {
    /// The engine's view of the region.
    #[serde(flatten)]
    region: &'a Status,
    /// The instance that leads.
    leader: Instance<'a>,
}

#[derive(Debug, Serialize)]
struct Instance<'a> {
    instance: &'a str,
    /// Whether components are served.
    serves: bool,
    /// Writes that other regions were not told of, and pull.
    unpushed: u64,
    /// Messages that could not be sent.
    unsent: u64,
    /// Times that messages came in faster than they were read.
    overrun: u64,
}

/// Without a leader, or without Valkey.
#[derive(Debug, Serialize)]
struct Leaderless<'a> {
    region: &'a str,
    group: &'a str,
    phase: &'static str,
    reason: String,
}

/// The status of a region, by its leader.
pub(super) fn of_leader(shared: &Shared, road: &Road, instance: &str, region: &Status) -> String {
    let losses = road.losses();
    let report = Report {
        region,
        leader: Instance {
            instance,
            serves: matches!(shared.standing(), Standing::Serves(_)),
            unpushed: shared.unpushed.load(Ordering::Relaxed),
            unsent: losses.sent.load(Ordering::Relaxed),
            overrun: losses.received.load(Ordering::Relaxed),
        },
    };
    // Numbers, texts and lists of them are always JSON.
    serde_json::to_string(&report).unwrap_or_default()
}

/// Keeps it in the store.
pub(super) async fn keep(steps: &mut Steps, status: &str) -> Result<(), String> {
    let mut set = redis::cmd("SET");
    set.arg(KEY).arg(status).arg("PX").arg(EXPIRES_MS);
    steps.run(&set).await
}

/// What the leader keeps, or why there is none.
pub(super) async fn read(shared: &Shared) -> Bytes {
    let kept = async {
        let mut connection = shared.data.ready().ok()?;
        let get = redis::Cmd::get(KEY);
        let reply = get.query_async::<Option<Vec<u8>>>(&mut connection);
        timeout(DEADLINE, reply).await.ok()?.ok()?
    };
    if let Some(kept) = kept.await {
        return kept.into();
    }
    let reason = match shared.standing() {
        Standing::Waits(reason) => reason,
        Standing::Serves(_) => "no instance leads the region at the moment".to_owned(),
    };
    let report = Leaderless {
        region: shared.settings.region.as_str(),
        group: &shared.settings.group,
        phase: "leaderless",
        reason,
    };
    serde_json::to_vec(&report).unwrap_or_default().into()
}
