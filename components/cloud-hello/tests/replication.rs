//! `/api/replication`: what is made of what a replicated store says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;
mod status;

use cloud_hello::host::StoreError;
use fake::FakeHost;
use replica::PeerStatus;
use serde_json::{json, Value};
use status::{answer, code_of, get, json_of, peer, real_status};

/// The regions of an answer with their states.
fn states(status: &Value) -> Vec<(String, String)> {
    let response = answer(status.to_string());
    assert_eq!(response.status, 200, "{status}");
    let document = json_of(&response);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let regions = document["regions"].as_array().unwrap();
    regions
        .iter()
        .map(|region| (text(&region["region"]), text(&region["state"])))
        .collect()
}

#[test]
fn what_the_engine_says_is_answered_in_the_documented_shape() {
    let mut host = FakeHost::in_region("iad");
    host.status = Ok(Some(real_status().to_string().into_bytes()));
    let response = get(&mut host, "/api/replication?x=1");
    assert_eq!(response.status, 200);
    assert_eq!(
        json_of(&response),
        json!({
            "version": 1,
            "mode": "replicated",
            "region": "fra",
            "group": "default",
            "phase": "ready",
            "regions": [
                {
                    "region": "fra", "answering": true, "state": "behind",
                    "behind_operations": 7, "behind_seconds": 1.25, "silent_seconds": null,
                    "digest_equal": null, "received_bytes": null
                },
                {
                    "region": "iad", "answering": false, "state": "behind",
                    "behind_operations": 3, "behind_seconds": 2.5, "silent_seconds": 0.25,
                    "digest_equal": true, "received_bytes": 4_096
                },
                {
                    "region": "sin", "answering": false, "state": "in-step",
                    "behind_operations": 0, "behind_seconds": 0.0, "silent_seconds": 0.25,
                    "digest_equal": true, "received_bytes": 4_096
                }
            ],
            "sent_bytes": 123_456,
            "quarantined": ["visits:v1:sin:curl:other"],
            "conflicts": {
                "resolved": 105,
                "last": [
                    {
                        "key": "second",
                        "winner": {
                            "region": "sin", "incarnation": "ffffffffffffffff",
                            "wall_ms": 1_763_800_000_000_u64, "counter": 2
                        },
                        "loser": {
                            "region": "fra", "incarnation": "1f",
                            "wall_ms": 1_763_800_000_000_u64, "counter": 1
                        },
                        "resolved_at_ms": 1_763_800_000_050_u64
                    },
                    {
                        "key": "first",
                        "winner": { "region": "iad", "incarnation": "1", "wall_ms": 10, "counter": 0 },
                        "loser": { "region": "sin", "incarnation": "1", "wall_ms": 9, "counter": 0 },
                        "resolved_at_ms": 11
                    }
                ]
            }
        })
    );
    assert_eq!(host.store.calls, ["status"], "one call, and no visit");
    let timing = response.header("server-timing").unwrap();
    assert!(
        timing.contains("status;dur=") && timing.contains("total;dur="),
        "{timing}"
    );
    assert!(host.log.is_empty());
}

#[test]
fn a_store_that_does_not_replicate_is_plain() {
    // keyvalue-valkey knows no such bucket; a store without buckets knows no such key.
    for status in [Err(StoreError::NoSuchStore), Ok(None)] {
        let mut host = FakeHost::in_region("iad");
        host.status = status;
        let response = get(&mut host, "/api/replication");
        assert_eq!(response.status, 200);
        assert_eq!(json_of(&response), json!({ "version": 1, "mode": "plain" }));
        assert!(host.log.is_empty());
    }
}

#[test]
fn a_store_that_does_not_answer_is_a_503_that_says_when_to_come_back() {
    for error in [StoreError::Other, StoreError::AccessDenied] {
        let mut host = FakeHost::in_region("iad");
        host.status = Err(error);
        let response = get(&mut host, "/api/replication");
        assert_eq!(response.status, 503);
        assert_eq!(response.header("retry-after"), Some("1"));
        assert_eq!(code_of(&response), "store-unavailable");
        assert_eq!(host.log.len(), 1);
    }
}

#[test]
fn a_region_without_a_leader_is_not_called_in_step() {
    let status = json!({
        "region": "iad", "group": "default", "phase": "leaderless",
        "reason": "not connected to Valkey at valkey.internal"
    });
    let response = answer(status.to_string());
    assert_eq!(response.status, 200);
    let document = json_of(&response);
    assert_eq!(document["phase"], "leaderless");
    assert_eq!(document["regions"].as_array().unwrap().len(), 1);
    assert_eq!(document["regions"][0]["state"], "unknown");
    assert_eq!(document["regions"][0]["behind_operations"], Value::Null);
    assert_eq!(document["quarantined"], Value::Null);
    assert_eq!(
        document["conflicts"],
        json!({ "resolved": null, "last": [] })
    );
    let text = String::from_utf8(response.body.into_owned()).unwrap();
    assert!(!text.contains("valkey.internal"), "addresses stay inside");
}

#[test]
fn the_own_region_is_in_step_when_it_serves_and_misses_nothing() {
    for (phase, behind, state) in [
        ("ready", 0, "in-step"),
        ("ready", 1, "behind"),
        ("joining", 0, "unknown"),
        ("joining", u64::MAX, "behind"),
        ("draining", 0, "unknown"),
    ] {
        let status =
            json!({ "region": "iad", "group": "g", "phase": phase, "behind_operations": behind });
        assert_eq!(
            states(&status),
            [("iad".to_owned(), state.to_owned())],
            "{phase}"
        );
    }
}

#[test]
fn another_region_is_in_step_when_it_speaks_has_everything_and_its_digest_is_equal() {
    let calm = peer("sin");
    let cases = [
        (calm.clone(), "in-step"),
        // Not compared yet.
        (
            PeerStatus {
                digest_equal: None,
                ..calm.clone()
            },
            "in-step",
        ),
        (
            PeerStatus {
                digest_equal: Some(false),
                ..calm.clone()
            },
            "differs",
        ),
        // The digest is older than what is missing.
        (
            PeerStatus {
                digest_equal: Some(false),
                behind_operations: 2,
                ..calm.clone()
            },
            "behind",
        ),
        (
            PeerStatus {
                refused: true,
                behind_operations: 2,
                ..calm.clone()
            },
            "old-copy",
        ),
        (
            PeerStatus {
                live: false,
                refused: true,
                ..calm.clone()
            },
            "silent",
        ),
        (
            PeerStatus {
                live: false,
                behind_operations: 9,
                behind_ms: 61_000,
                ..calm.clone()
            },
            "silent",
        ),
        (
            PeerStatus {
                live: false,
                evicted: true,
                ..calm
            },
            "evicted",
        ),
    ];
    for (peer, state) in cases {
        let mut status = real_status();
        status["peers"] = json!([peer]);
        assert_eq!(states(&status)[1], ("sin".to_owned(), state.to_owned()));
        let document = json_of(&answer(status.to_string()));
        let seconds = &document["regions"][1]["behind_seconds"];
        let wanted = std::time::Duration::from_millis(peer.behind_ms).as_secs_f64();
        assert_eq!(*seconds, json!(wanted), "{peer:?}");
    }
}

#[test]
fn a_provider_one_version_further_or_back_is_still_understood() {
    let mut further = real_status();
    further["new"] = json!({ "deep": [[1, null, "x"]] });
    further["peers"][0]["new"] = json!([]);
    further["conflicts"][0]["winner"]["new"] = json!(1);
    assert_eq!(
        json_of(&answer(further.to_string())),
        json_of(&answer(real_status().to_string()))
    );

    let nested = "[".repeat(10_000) + &"]".repeat(10_000);
    let deep = real_status()
        .to_string()
        .replacen('{', &format!("{{\"new\":{nested},"), 1);
    assert_eq!(answer(deep).status, 200, "what is ignored costs no stack");

    let mut back = real_status();
    for field in [
        "behind_ms",
        "ahead",
        "conflict_count",
        "conflicts",
        "sent_bytes",
    ] {
        back.as_object_mut().unwrap().remove(field).unwrap();
    }
    for field in [
        "behind_ms",
        "silent_ms",
        "digest_equal",
        "received_bytes",
        "evicted",
    ] {
        back["peers"][1]
            .as_object_mut()
            .unwrap()
            .remove(field)
            .unwrap();
    }
    let response = answer(back.to_string());
    assert_eq!(response.status, 200);
    let document = json_of(&response);
    assert_eq!(document["sent_bytes"], Value::Null);
    assert_eq!(document["regions"][2]["state"], "in-step");
    assert_eq!(document["regions"][2]["digest_equal"], Value::Null);
    assert_eq!(document["regions"][2]["behind_seconds"], Value::Null);
}

#[test]
fn the_page_asks_nobody_about_replication_and_shows_no_label_of_its_own() {
    let mut host = FakeHost::in_region("iad");
    host.store.put("visits:v1:fra:curl:other", "3");
    host.status = Ok(Some(real_status().to_string().into_bytes()));
    let response = get(&mut host, "/");
    assert!(!host.store.calls.contains(&"status"));
    let page = std::str::from_utf8(&response.body).unwrap();
    let label = "<span class=\"sync\" data-state=\"\" data-behind=\"\" hidden></span>";
    assert_eq!(page.matches(label).count(), 2, "one for each region");
    let regions = page.split("id=\"regions\"").nth(1).unwrap();
    let regions = regions.split("</table>").next().unwrap();
    assert_eq!(regions.matches(label).count(), 2);
    assert!(page.contains("<section id=\"replication\" class=\"card\" data-region=\"\" hidden>"));
    assert!(page.contains("href=\"/api/replication\""));
}
