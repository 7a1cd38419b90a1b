//! How the regions' stores replicate: what keyvalue-valkey says of itself.
//!
//! Each region's leader keeps its status as JSON in the region's Valkey for as long as it lives
//! (docs/replication.md). It is read there and not through the lattice, where another region's
//! provider might answer.

use std::fmt::Write as _;
use std::time::Duration;

use replica::{ConflictStatus, PeerState, PeerStatus, Status};
use tokio::time::timeout;

/// Where a leader keeps its status.
const KEY: &str = "@kv/r/status";
/// How long reading it may take.
const DEADLINE: Duration = Duration::from_millis(500);
/// How many conflicts a table shows.
const SHOWN: usize = 3;

/// [`agree`] of the stores of a lattice.
///
/// # Errors
///
/// They do not; the text says what is missing where.
pub fn converged(lattice: &crate::status::Status) -> Result<(), String> {
    let regions = lattice.regions.iter();
    let stores = regions.filter(|region| region.valkey_port.is_some());
    agree(stores.map(|region| (&*region.name, region.replication.as_ref())))
}

/// Whether stores, each by its region's name, are known to hold the same: all serve, hear each other, and none
/// lacks what another has. What was written in the last second may not be known yet.
///
/// # Errors
///
/// They are not; the text says what is missing where.
pub(crate) fn agree<'a>(
    stores: impl Iterator<Item = (&'a str, Option<&'a Status>)>,
) -> Result<(), String> {
    let led = |(region, store): (&str, Option<&'a Status>)| {
        store.ok_or_else(|| format!("nobody leads the store of {region}"))
    };
    let stores = stores.map(led).collect::<Result<Vec<_>, String>>()?;
    for store in &stores {
        let name = &store.region;
        if !store.in_step() {
            return Err(format!("the store of {name} is {}", word(store)));
        }
        for other in stores.iter().filter(|other| other.region != *name) {
            let peer = store.peers.iter().find(|peer| peer.region == other.region);
            let peer = peer.ok_or(format!("{name} has not heard of {}", other.region))?;
            if !peer.live || peer.behind_operations > 0 {
                return Err(format!("{name} sees {}", member(peer)));
            }
        }
    }
    Ok(())
}

/// How a region is, in a word or two.
#[must_use]
pub fn word(region: &Status) -> String {
    match region.behind_operations {
        _ if region.phase != "ready" => region.phase.to_string(),
        0 => "in step".into(),
        behind => format!("{behind} behind"),
    }
}

fn lag(region: &Status) -> String {
    let seconds = Duration::from_millis(region.behind_ms).as_secs_f64();
    format!("{} ops, {seconds:.1} s", region.behind_operations)
}

fn member(peer: &PeerStatus) -> String {
    let name = &peer.region;
    match peer.state() {
        PeerState::Evicted => return format!("{name} (evicted)"),
        PeerState::Silent => return format!("{name} (silent for {} s)", peer.silent_ms / 1000),
        PeerState::OldCopy => return format!("{name} (an old copy)"),
        PeerState::Live => {}
    }
    match peer.behind_operations {
        0 => name.to_string(),
        behind => {
            let seconds = Duration::from_millis(peer.behind_ms).as_secs_f64();
            format!("{name} ({behind} behind, {seconds:.1} s)")
        }
    }
}

/// What the last comparisons with the members that are there said.
fn digests(region: &Status) -> String {
    let live: Vec<&PeerStatus> = region.peers.iter().filter(|peer| peer.live).collect();
    let compared = |equal| {
        let of = live.iter().filter(move |peer| peer.digest_equal == equal);
        of.map(|peer| peer.region.as_str()).collect::<Vec<_>>()
    };
    let (equal, unequal) = (compared(Some(true)), compared(Some(false)));
    match (equal.len(), unequal.as_slice()) {
        (0, []) => "-".into(),
        (all, []) if all == live.len() => "equal".into(),
        (_, []) => format!("equal with {}", equal.join(" ")),
        (_, unequal) => format!("not with {}", unequal.join(" ")),
    }
}

fn conflict(conflict: &ConflictStatus) -> String {
    let key = conflict.key.escape_debug();
    format!(
        "conflict over {key}: {} stays, {} is gone",
        conflict.winner, conflict.loser
    )
}

/// The status in the Valkey at `port`, if a leader keeps one there.
pub async fn read(port: u16) -> Option<Status> {
    let ask = async {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/0")).ok()?;
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        let text: Option<Vec<u8>> = redis::Cmd::get(KEY)
            .query_async(&mut connection)
            .await
            .ok()?;
        serde_json::from_slice(&text?).ok()
    };
    timeout(DEADLINE, ask).await.ok()?
}

/// The replication of stores, each by its region's name, for a terminal; empty when nothing replicates.
#[must_use]
pub fn table<'a>(stores: impl Iterator<Item = (&'a str, Option<&'a Status>)>) -> String {
    let mut rows = vec![[
        "STORE",
        "IN STEP",
        "LAG",
        "MEMBERS",
        "DIGESTS",
        "AHEAD",
        "CONFLICTS",
        "SENT",
    ]
    .map(str::to_owned)];
    let mut conflicts = Vec::new();
    let mut replicates = false;
    for (name, store) in stores {
        let Some(region) = store else {
            rows.push([name, "nobody leads it", "-", "-", "-", "-", "-", "-"].map(str::to_owned));
            continue;
        };
        replicates = true;
        rows.push([
            region.region.to_string(),
            word(region),
            lag(region),
            region
                .peers
                .iter()
                .map(member)
                .collect::<Vec<_>>()
                .join(", "),
            digests(region),
            region.ahead.len().to_string(),
            region.conflict_count.to_string(),
            bytes(region.sent_bytes),
        ]);
        conflicts.extend(&region.conflicts);
    }
    if !replicates {
        return String::new();
    }
    let mut text = crate::status::columns(&rows);
    conflicts.sort_by_key(|conflict| std::cmp::Reverse(conflict.at_ms));
    // Each region resolves the same conflict for itself.
    let mut shown: Vec<String> = Vec::new();
    for sentence in conflicts.into_iter().map(conflict) {
        if shown.len() < SHOWN && !shown.contains(&sentence) {
            let _ = writeln!(text, "{sentence}");
            shown.push(sentence);
        }
    }
    text
}

#[allow(clippy::cast_precision_loss)] // A table shows one digit behind the point.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a provider writes it, its own fields included.
    const STATUS: &str = r#"{"region":"iad","group":"default","incarnation":"1f","phase":"ready",
        "behind_operations":12,"behind_ms":1500,"peers":[
        {"region":"fra","live":true,"evicted":false,"silent_ms":20,"behind_operations":0,"behind_ms":0,"clock_offset_ms":1,"digest_equal":true,"received_bytes":9},
        {"region":"gru","live":false,"evicted":true,"silent_ms":90000,"behind_operations":3,"behind_ms":90000,"clock_offset_ms":1,"digest_equal":null,"received_bytes":9},
        {"region":"sin","live":false,"evicted":false,"silent_ms":4000,"behind_operations":7,"behind_ms":4200,"clock_offset_ms":1,"digest_equal":false,"received_bytes":9}],
        "ahead":["k"],"conflict_count":1,"conflicts":[{"key":"a\nb","at_ms":5,
        "winner":{"at":{"wall_ms":2,"counter":0},"author":{"region":"iad","incarnation":1}},
        "loser":{"at":{"wall_ms":1,"counter":3},"author":{"region":"fra","incarnation":2}}}],
        "sent_bytes":123456,"waiting":0,"dropped":0,"leader":{"instance":"x"}}"#;

    fn status() -> Status {
        serde_json::from_str(STATUS).unwrap()
    }

    #[test]
    fn a_region_that_lacks_something_says_how_much_and_since_when() {
        let region = status();
        assert!(!region.in_step());
        let stores = [
            ("iad", Some(&region)),
            ("fra", Some(&region)),
            ("gru", None),
        ];
        let table = table(stores.into_iter());
        for part in [
            "iad",
            "12 behind",
            "12 ops, 1.5 s",
            "fra, gru (evicted), sin (silent for 4 s)",
            "equal",
            "123.5 kB",
            "conflict over a\\nb: 2.0 iad",
            "gru    nobody leads it",
        ] {
            assert!(table.contains(part), "{part}:\n{table}");
        }
        assert_eq!(table.matches("conflict over").count(), 1, "{table}");
    }

    #[test]
    fn an_unequal_digest_of_a_live_member_is_named() {
        let mut region = status();
        region.peers[2].live = true;
        assert_eq!(digests(&region), "not with sin");
        region.peers[2].digest_equal = None;
        assert_eq!(digests(&region), "equal with fra");
    }

    #[test]
    fn a_live_member_that_lacks_something_says_how_much_and_for_how_long() {
        let mut region = status();
        region.peers[2].live = true;
        assert_eq!(member(&region.peers[2]), "sin (7 behind, 4.2 s)");
    }

    #[test]
    fn a_live_member_of_which_nothing_comes_in_says_so() {
        let mut region = status();
        region.peers[0].refused = true;
        assert_eq!(member(&region.peers[0]), "fra (an old copy)");
    }

    #[test]
    fn a_region_that_is_not_ready_is_not_in_step() {
        let mut region = status();
        (region.phase, region.behind_operations) = ("joining".into(), 0);
        assert!(!region.in_step());
        assert_eq!(word(&region), "joining");
    }

    #[test]
    fn nothing_is_said_where_nothing_replicates() {
        assert_eq!(table(std::iter::empty()), "");
        assert_eq!(table(std::iter::once(("home", None))), "");
    }
}
