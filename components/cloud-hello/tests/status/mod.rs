//! The status of a replicated store, as the engine writes it, and the page's answer to one.

#![allow(dead_code)] // Each test file uses its own part.

use cloud_hello::http::{Method, Request, Response};
use cloud_hello::route;
use replica::clock::{Hlc, Stamp};
use replica::region::Author;
use replica::{ConflictStatus, PeerStatus};
use serde_json::{json, Value};

use crate::fake::{FakeHost, FIREFOX};

pub fn get(host: &mut FakeHost, path: &str) -> Response {
    let request = Request {
        method: Method::Get,
        path_with_query: path,
        user_agent: FIREFOX,
        if_none_match: b"",
    };
    route::respond(host, &request)
}

/// The answer to `/api/replication` of a page whose store says this.
pub fn answer(status: impl AsRef<[u8]>) -> Response {
    let mut host = FakeHost::in_region("iad");
    host.status = Ok(Some(status.as_ref().to_vec()));
    get(&mut host, "/api/replication")
}

pub fn json_of(response: &Response) -> Value {
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    serde_json::from_slice(&response.body).unwrap()
}

pub fn code_of(response: &Response) -> String {
    let document = json_of(response);
    assert!(!document["error"]["message"].as_str().unwrap().is_empty());
    document["error"]["code"].as_str().unwrap().to_owned()
}

pub fn peer(region: &str) -> PeerStatus {
    PeerStatus {
        region: region.parse().unwrap(),
        live: true,
        evicted: false,
        silent_ms: 250,
        behind_operations: 0,
        behind_ms: 0,
        clock_offset_ms: -3,
        digest_equal: Some(true),
        received_bytes: 4_096,
        refused: false,
    }
}

pub fn stamp(region: &str, incarnation: u64, wall_ms: u64, counter: u32) -> Stamp {
    Stamp {
        at: Hlc { wall_ms, counter },
        author: Author {
            region: region.parse().unwrap(),
            incarnation: incarnation.try_into().unwrap(),
        },
    }
}

/// What the engine of `fra` says, as keyvalue-valkey sends it.
pub fn real_status() -> Value {
    let status = replica::Status {
        region: "fra".parse().unwrap(),
        group: "default".to_owned(),
        incarnation: "1f".to_owned(),
        phase: "ready".into(),
        behind_operations: 7,
        behind_ms: 1_250,
        peers: vec![
            PeerStatus {
                behind_operations: 3,
                behind_ms: 2_500,
                ..peer("iad")
            },
            peer("sin"),
        ],
        ahead: vec!["visits:v1:sin:curl:other".to_owned()],
        conflict_count: 105,
        conflicts: vec![
            ConflictStatus {
                key: "first".to_owned(),
                winner: stamp("iad", 1, 10, 0),
                loser: stamp("sin", 1, 9, 0),
                at_ms: 11,
            },
            ConflictStatus {
                key: "second".to_owned(),
                winner: stamp("sin", u64::MAX, 1_763_800_000_000, 2),
                loser: stamp("fra", 31, 1_763_800_000_000, 1),
                at_ms: 1_763_800_000_050,
            },
        ],
        sent_bytes: 123_456,
        waiting: 1,
        dropped: 0,
    };
    let mut document = serde_json::to_value(status).unwrap();
    document["leader"] =
        json!({ "instance": "i-1", "serves": true, "unpushed": 0, "unsent": 0, "overrun": 0 });
    document
}
