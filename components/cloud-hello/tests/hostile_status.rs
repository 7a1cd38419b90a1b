//! `/api/replication` when anything at all comes from the store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;
mod status;

use cloud_hello::http::Response;
use cloud_hello::replication::{Status, MAX_BYTES};
use fake::FakeHost;
use proptest::prelude::*;
use serde_json::{json, Value};
use status::{answer, code_of, get, json_of, real_status};

#[test]
fn what_is_no_status_is_a_502_and_not_half_an_answer() {
    let mut cases: Vec<Vec<u8>> = [
        &b""[..],
        b"null",
        b"0",
        b"\"status\"",
        b"{}",
        b"[]",
        b"{\"region\":\"iad\"",
        b"\xff\xfe{}",
        b"{\"region\":\"\xff\",\"group\":\"g\",\"phase\":\"ready\"}",
        b"{\"region\":\"iad\",\"group\":\"g\",\"phase\":\"ready\"} and more",
        b"{\"region\":\"iad\",\"region\":\"fra\",\"group\":\"g\",\"phase\":\"ready\"}",
    ]
    .map(<[u8]>::to_vec)
    .into();
    cases.push("[".repeat(MAX_BYTES).into_bytes());
    let nested = "[".repeat(10_000) + &"]".repeat(10_000);
    cases.push(nested.clone().into_bytes());
    cases.push(format!("{{\"region\":{nested}}}").into_bytes());
    let wrong = [
        ("/region", json!(null)),
        ("/region", json!("")),
        ("/region", json!("two words")),
        ("/region", json!("x".repeat(65))),
        ("/group", json!(1)),
        ("/phase", json!(["ready"])),
        ("/behind_operations", json!(-1)),
        ("/behind_operations", json!(0.5)),
        ("/behind_operations", json!("0")),
        ("/behind_ms", json!(1e300)),
        ("/peers", json!({})),
        ("/peers/0", json!(null)),
        ("/peers/0/region", json!("\u{0}")),
        ("/peers/0/live", json!("yes")),
        ("/peers/0/behind_operations", json!(null)),
        ("/peers/1/digest_equal", json!(1)),
        ("/ahead", json!([1])),
        ("/conflicts/0/key", json!(7)),
        ("/conflicts/0/winner", json!("10.0 iad/1")),
        ("/conflicts/1/loser/at/wall_ms", json!(-5)),
        (
            "/conflicts/1/loser/author/region",
            json!("<script>alert(1) </script>"),
        ),
        ("/sent_bytes", json!(true)),
    ];
    for (place, value) in wrong {
        let mut status = real_status();
        *status.pointer_mut(place).unwrap() = value;
        cases.push(status.to_string().into_bytes());
    }
    for status in cases {
        let mut host = FakeHost::in_region("iad");
        host.status = Ok(Some(status.clone()));
        let response = get(&mut host, "/api/replication");
        let shown = String::from_utf8_lossy(&status[..status.len().min(300)]).into_owned();
        assert_eq!(response.status, 502, "{shown}");
        assert_eq!(code_of(&response), "status-unreadable", "{shown}");
        assert_eq!(host.log, ["the replication status is unreadable"]);
    }
}

#[test]
fn a_status_is_read_up_to_64_kib_and_not_a_byte_further() {
    let mut status = real_status().to_string();
    let room = MAX_BYTES - status.len();
    status.extend(std::iter::repeat_n(' ', room));
    assert_eq!(answer(&status).status, 200);
    status.push(' ');
    let mut host = FakeHost::in_region("iad");
    host.status = Ok(Some(status.into_bytes()));
    let response = get(&mut host, "/api/replication");
    assert_eq!(response.status, 502);
    assert_eq!(code_of(&response), "status-unreadable");
    assert_eq!(host.log, ["the replication status is too large"]);
}

/// JSON of any shape in which our own field names are likely.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z0-9-]{1,8}".prop_map(Value::from),
    ];
    let name = prop_oneof![
        proptest::sample::select(vec![
            "region",
            "group",
            "phase",
            "peers",
            "live",
            "behind_operations",
            "ahead",
            "conflicts",
            "key",
            "winner",
            "at",
            "author",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    leaf.prop_recursive(4, 40, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..10)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Whatever came in, what goes out is an answer of ours.
fn is_an_answer(response: &Response) -> Result<(), TestCaseError> {
    let document = json_of(response);
    prop_assert_eq!(
        response.header("x-content-type-options"),
        Some("nosniff"),
        "nobody takes it for a page"
    );
    match response.status {
        200 => {
            prop_assert_eq!(&document["version"], 1);
            prop_assert_eq!(&document["mode"], "replicated");
            prop_assert!(document["regions"]
                .as_array()
                .is_some_and(|all| !all.is_empty()));
        }
        502 => prop_assert_eq!(&document["error"]["code"], "status-unreadable"),
        status => prop_assert!(false, "status {}", status),
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_from_the_store_break_anything(
        bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
    ) {
        is_an_answer(&answer(bytes))?;
    }

    #[test]
    fn no_damage_to_a_real_status_breaks_anything(
        damage in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<u8>(), 0_u8..3),
            0..6,
        ),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = real_status().to_string().into_bytes();
        for (place, byte, what) in damage {
            let place = place.index(bytes.len());
            match what {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => { bytes.remove(place); }
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        is_an_answer(&answer(bytes))?;
    }

    #[test]
    fn no_json_in_place_of_a_part_breaks_anything(
        place in proptest::sample::select(vec![
            "", "/region", "/phase", "/behind_operations", "/peers", "/peers/0",
            "/peers/0/region", "/ahead", "/conflicts", "/conflicts/1/winner",
            "/conflicts/1/winner/at", "/leader",
        ]),
        part in any_json(),
    ) {
        let mut status = real_status();
        *status.pointer_mut(place).unwrap() = part;
        is_an_answer(&answer(status.to_string()))?;
    }

    /// Texts and numbers arrive as they are: nothing ends a JSON string early, nothing is rounded.
    #[test]
    fn whatever_is_well_formed_comes_out_as_it_went_in(
        texts in proptest::collection::vec(any::<String>(), 4),
        numbers in proptest::collection::vec(any::<u64>(), 4),
    ) {
        let mut status = real_status();
        status["group"] = json!(texts[0]);
        status["phase"] = json!(texts[1]);
        status["ahead"] = json!([texts[2]]);
        status["conflicts"][1]["key"] = json!(texts[3]);
        status["conflicts"][1]["winner"]["author"]["incarnation"] = json!(numbers[0]);
        status["behind_operations"] = json!(numbers[1]);
        status["peers"][0]["behind_operations"] = json!(numbers[2]);
        status["behind_ms"] = json!(numbers[3]);
        let status = status.to_string();
        prop_assume!(status.len() <= MAX_BYTES);
        prop_assert!(Status::parse(status.as_bytes()).is_ok());
        let document = json_of(&answer(status));
        prop_assert_eq!(&document["group"], &json!(texts[0]));
        prop_assert_eq!(&document["phase"], &json!(texts[1]));
        prop_assert_eq!(&document["quarantined"], &json!([texts[2]]));
        let conflict = &document["conflicts"]["last"][0];
        prop_assert_eq!(&conflict["key"], &json!(texts[3]));
        prop_assert_eq!(
            &conflict["winner"]["incarnation"],
            &json!(format!("{:x}", numbers[0]))
        );
        prop_assert_eq!(&document["regions"][0]["behind_operations"], &json!(numbers[1]));
        prop_assert_eq!(&document["regions"][1]["behind_operations"], &json!(numbers[2]));
        let seconds = document["regions"][0]["behind_seconds"].as_f64().unwrap();
        prop_assert!(seconds.is_finite() && seconds >= 0.0);
    }
}
