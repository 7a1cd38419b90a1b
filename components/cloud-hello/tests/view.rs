//! The calls of a page view and the sums it makes of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use cloud_hello::counter::CounterKey;
use cloud_hello::region::RegionCode;
use cloud_hello::user_agent::{Browser, Os, Visitor};
use cloud_hello::view::{self, Counted, Failure, View, MAX_COUNTERS};
use fake::{FakeHost, FIREFOX, OWN_KEY};
use proptest::prelude::*;

fn visitor() -> Visitor {
    Visitor::from_user_agent(FIREFOX)
}

fn visit(host: &mut FakeHost) -> View {
    view::visit(host, visitor()).unwrap()
}

/// `number` distinct keys of ours.
fn our_keys(number: usize) -> Vec<String> {
    let kinds = Browser::ALL
        .iter()
        .flat_map(|browser| Os::ALL.iter().map(move |os| (*browser, *os)));
    (0..)
        .flat_map(|region| {
            kinds
                .clone()
                .map(move |(browser, os)| (region, browser, os))
        })
        .map(|(region, browser, os)| {
            let region = RegionCode::normalise(&format!("r{region}"));
            CounterKey {
                region,
                browser,
                os,
            }
            .to_string()
        })
        .take(number)
        .collect()
}

#[test]
fn a_page_view_makes_the_same_four_calls_with_1_100_and_2000_keys() {
    for keys in [0, 1, 100, 2_000] {
        let mut host = FakeHost::in_region("iad");
        for key in our_keys(keys) {
            host.store.put(&key, "1");
        }
        let view = visit(&mut host);
        assert_eq!(
            host.store.calls,
            ["metadata", "list-keys", "get-many", "increment"],
            "with {keys} keys"
        );
        assert_eq!(view.tally.total.visits, u64::try_from(keys).unwrap() + 1);
        assert!(!view.tally.at_least());
    }
}

#[test]
fn a_look_makes_three_calls_and_counts_nothing() {
    for keys in [1, 100, 2_000] {
        let mut host = FakeHost::in_region("iad");
        for key in our_keys(keys) {
            host.store.put(&key, "1");
        }
        let view = view::look(&mut host, visitor()).unwrap();
        assert_eq!(host.store.calls, ["metadata", "list-keys", "get-many"]);
        assert_eq!(view.tally.total.visits, u64::try_from(keys).unwrap());
        assert_eq!(view.counted, Counted::NotAsked);
    }
}

#[test]
fn two_thousand_foreign_keys_are_neither_read_nor_counted() {
    let mut host = FakeHost::in_region("iad");
    for number in 0..2_000 {
        host.store.put(&format!("session:{number}"), "7");
        host.store
            .put(&format!("visits:v2:iad:firefox:{number}"), "7");
    }
    let view = visit(&mut host);
    assert_eq!(view.tally.total.visits, 1);
    assert_eq!(host.store.most_asked, 1);
    assert!(!view.tally.partial);
}

#[test]
fn every_visit_is_in_the_page_it_gets_even_if_the_listing_is_behind() {
    let mut host = FakeHost::in_region("iad");
    host.store.unlisted.push(OWN_KEY.to_owned());
    for number in 1..=5 {
        let view = visit(&mut host);
        assert_eq!(view.counted, Counted::Yes(number));
        assert_eq!(view.tally.total.visits, number);
    }
}

#[test]
fn a_key_listed_twice_counts_once() {
    let mut host = FakeHost::in_region("iad");
    host.store.repeats = true;
    host.store.put("visits:v1:fra:chrome:windows", "40");
    host.store.put(OWN_KEY, "1");
    assert_eq!(visit(&mut host).tally.total.visits, 42);
}

#[test]
fn values_that_are_not_numbers_are_left_out_and_reported() {
    let mut host = FakeHost::in_region("iad");
    host.store.put("visits:v1:fra:chrome:windows", "banana");
    host.store.put("visits:v1:sin:chrome:windows", b"\xff\xfe");
    host.store.put("visits:v1:ams:chrome:windows", "-3");
    host.store.put("visits:v1:lhr:chrome:windows", "3");
    let view = visit(&mut host);
    assert_eq!(view.tally.unreadable, 3);
    assert_eq!(view.tally.total.visits, 4);
}

#[test]
fn a_visitor_whose_own_counter_is_no_number_still_gets_the_page() {
    let mut host = FakeHost::in_region("iad");
    host.store.put(OWN_KEY, "banana");
    let view = visit(&mut host);
    assert_eq!(view.counted, Counted::Unreadable);
    assert_eq!(view.tally.unreadable, 1);
    assert_eq!(host.store.values[OWN_KEY], b"banana");
    assert!(!host.store.calls.contains(&"increment"));
}

#[test]
fn a_counter_at_its_end_is_not_pushed_over() {
    for end in [i64::MAX.unsigned_abs(), u64::MAX] {
        let mut host = FakeHost::in_region("iad");
        host.store.put(OWN_KEY, end.to_string());
        let view = visit(&mut host);
        assert_eq!(view.counted, Counted::Full);
        assert_eq!(view.tally.total.visits, end);
        assert!(!host.store.calls.contains(&"increment"));
    }
}

#[test]
fn what_could_not_be_read_makes_every_number_a_lower_bound() {
    let mut beyond = FakeHost::in_region("iad");
    beyond.store.more = true;
    assert!(visit(&mut beyond).tally.partial);

    let mut short = FakeHost::in_region("iad");
    for key in our_keys(10) {
        short.store.put(&key, "1");
    }
    short.store.answers_at_most = Some(3);
    assert!(visit(&mut short).tally.partial);

    let mut many = FakeHost::in_region("zzz");
    for key in our_keys(MAX_COUNTERS + 50) {
        many.store.put(&key, "1");
    }
    let view = visit(&mut many);
    assert!(view.tally.partial);
    assert_eq!(many.store.most_asked, MAX_COUNTERS);
    assert_eq!(view.counted, Counted::Yes(1));
    assert_eq!(
        view.tally.total.visits,
        u64::try_from(MAX_COUNTERS).unwrap()
    );
}

#[test]
fn a_request_that_fails_has_not_counted() {
    for broken in ["list-keys", "get-many", "increment"] {
        let mut host = FakeHost::in_region("iad");
        host.store.put(OWN_KEY, "5");
        host.store.broken = Some(broken);
        let failure = view::visit(&mut host, visitor()).unwrap_err();
        assert!(matches!(failure, Failure::Store(_)), "{broken}");
        assert_eq!(host.store.number(OWN_KEY), Some(5), "{broken}");
    }
}

#[test]
fn the_serving_region_is_listed_before_its_first_visit() {
    let mut host = FakeHost::in_region("fra");
    let view = view::look(&mut host, visitor()).unwrap();
    let regions: Vec<_> = view.tally.regions.keys().map(RegionCode::as_str).collect();
    assert_eq!(regions, ["fra"]);
    assert_eq!(view.tally.total.visits, 0);
}

#[test]
fn every_step_is_timed() {
    let mut host = FakeHost::in_region("iad");
    let view = visit(&mut host);
    let steps: Vec<_> = view.timing.steps.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, ["metadata", "list", "read", "count"]);
    let sum = view.timing.steps.iter().map(|(_, time)| *time).sum();
    assert!(view.timing.total >= sum);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is in the store, sums are those of the keys that are ours and hold a number.
    #[test]
    fn sums_equal_the_model(
        entries in proptest::collection::btree_map(
            prop_oneof![
                ("(iad|fra|sin)", proptest::sample::select(Browser::ALL), proptest::sample::select(Os::ALL))
                    .prop_map(|(region, browser, os)| {
                        CounterKey { region: RegionCode::normalise(&region), browser, os }.to_string()
                    }),
                "visits:v1:[a-z:%]{0,20}",
                any::<String>(),
            ],
            prop_oneof![
                (0_u64..1_000_000).prop_map(|number| number.to_string().into_bytes()),
                any::<Vec<u8>>(),
            ],
            0..60,
        ),
        repeats in any::<bool>(),
    ) {
        let mut host = FakeHost::in_region("iad");
        host.store.values = entries.clone();
        host.store.repeats = repeats;
        let view = view::look(&mut host, visitor()).unwrap();
        let ours: Vec<_> = entries
            .iter()
            .filter_map(|(key, value)| Some((CounterKey::parse(key)?, value)))
            .collect();
        let number = |value: &[u8]| -> Option<u64> {
            let text = std::str::from_utf8(value).ok()?;
            let number: u64 = text.parse().ok()?;
            (number.to_string() == text).then_some(number)
        };
        let total: u64 = ours.iter().filter_map(|(_, value)| number(value)).sum();
        let unreadable = ours.iter().filter(|(_, value)| number(value).is_none()).count();
        prop_assert_eq!(view.tally.total.visits, total);
        prop_assert_eq!(view.tally.unreadable, u64::try_from(unreadable).unwrap());
        let by_region: u64 = view.tally.regions.values().map(|count| count.visits).sum();
        let by_browser: u64 = view.tally.browsers.values().map(|count| count.visits).sum();
        let by_os: u64 = view.tally.systems.values().map(|count| count.visits).sum();
        prop_assert_eq!((by_region, by_browser, by_os), (total, total, total));
    }
}
