//! `increment`, beside itself and beside `set` and `delete`.

use replica::store::Outcome;

use super::regions::increment;
use super::{three, two, FRA, IAD, SIN};

const LARGEST: &str = "18446744073709551615";

#[test]
fn an_increment_that_a_set_had_not_seen_is_added_to_it() {
    for counted_at in [1_000, 3_000] {
        let mut regions = three();
        regions.set(FRA, 2_000, "key", "10");
        regions.increment(IAD, counted_at, "key", 3);
        regions.in_every_order(|regions| regions.all_show("key", Some("13")));
        // What it had seen it replaced.
        regions.share();
        regions.set(SIN, 4_000, "key", "20");
        regions.increment(FRA, counted_at, "key", 1);
        regions.in_every_order(|regions| regions.all_show("key", Some("21")));
    }
}

#[test]
fn an_increment_counts_on_from_the_number_that_it_saw() {
    let mut regions = three();
    regions.set(FRA, 2_000, "key", "10");
    assert_eq!(regions.increment(FRA, 2_000, "key", 3), 13);
    regions.set(FRA, 2_000, "other", "10");
    regions.pull(IAD, FRA);
    assert_eq!(regions.increment(IAD, 1_000, "other", 3), 13);
    regions.in_every_order(|regions| {
        regions.all_show("key", Some("13"));
        regions.all_show("other", Some("13"));
    });
}

#[test]
fn a_delete_takes_what_it_had_seen_of_a_counter_and_no_more() {
    for deleted_at in [2_000, 4_000] {
        let mut regions = three();
        regions.increment(FRA, 1_000, "key", 5);
        regions.increment(IAD, 1_000, "key", 5);
        regions.share();
        regions.all_show("key", Some("10"));
        regions.delete(FRA, deleted_at, "key");
        assert_eq!(regions.increment(IAD, 3_000, "key", 3), 13);
        regions.in_every_order(|regions| regions.all_show("key", Some("3")));
    }
}

#[test]
fn an_increment_after_a_delete_counts_from_nothing() {
    let mut regions = three();
    regions.increment(FRA, 1_000, "key", 5);
    regions.increment(IAD, 1_000, "key", 5);
    regions.share();
    regions.delete(FRA, 2_000, "key");
    assert_eq!(regions.increment(FRA, 3_000, "key", 2), 2);
    regions.in_every_order(|regions| regions.all_show("key", Some("2")));
}

#[test]
fn what_a_losing_set_or_delete_had_seen_of_a_counter_stays_gone() {
    let mut regions = three();
    regions.increment(FRA, 1_000, "key", 5);
    regions.pull(IAD, FRA);
    // The later set has not seen the 5; the earlier writes have.
    regions.set(SIN, 9_000, "key", "100");
    regions.delete(IAD, 2_000, "key");
    regions.set(FRA, 2_500, "key", "7");
    regions.in_every_order(|regions| regions.all_show("key", Some("100")));
}

#[test]
fn an_increment_waits_under_a_text_and_goes_with_the_next_set_or_delete() {
    for counted_at in [1_000, 3_000] {
        let mut regions = two();
        regions.set(FRA, 2_000, "key", "text");
        regions.increment(IAD, counted_at, "key", 3);
        regions.in_every_order(|regions| {
            regions.all_show("key", Some("text"));
            for at in [FRA, IAD] {
                let more = regions.attempt(at, 4_000, vec![increment("key", 1)]);
                assert_eq!(more, Outcome::NotANumber);
            }
            let mut number = regions.clone();
            number.set(IAD, 5_000, "key", "7");
            number.in_every_order(|regions| regions.all_show("key", Some("7")));
            regions.delete(FRA, 5_000, "key");
            regions.in_every_order(|regions| regions.all_show("key", None));
            regions.increment(FRA, 6_000, "key", 2);
            regions.in_every_order(|regions| regions.all_show("key", Some("2")));
        });
    }
}

#[test]
fn concurrent_increments_add_up() {
    let mut regions = three();
    regions.increment(FRA, 1_000, "key", 1);
    regions.increment(FRA, 1_000, "key", 20);
    regions.increment(IAD, 1_000, "key", 300);
    regions.increment(SIN, 1_000, "key", 4_000);
    regions.increment(SIN, 1_000, "nothing", 0);
    regions.in_every_order(|regions| {
        regions.all_show("key", Some("4321"));
        regions.all_show("nothing", Some("0"));
    });
}

#[test]
fn a_sum_beyond_the_largest_number_shows_that_and_loses_nothing() {
    let mut regions = three();
    assert_eq!(regions.increment(FRA, 1_000, "key", u64::MAX), u64::MAX);
    regions.increment(IAD, 1_000, "key", 3);
    regions.increment(SIN, 1_000, "key", u64::MAX);
    regions.in_every_order(|regions| {
        regions.all_show("key", Some(LARGEST));
        let shards = &regions.entries(FRA)["key"].shards;
        let counted: u128 = shards.values().map(|shard| shard.count).sum();
        assert_eq!(counted, 2 * u128::from(u64::MAX) + 3);
        let more = regions.attempt(FRA, 2_000, vec![increment("key", 1)]);
        assert_eq!(more, Outcome::Overflow);
    });
    // Once those who had seen their own part only set or delete it, the rest is what nobody replaced.
    regions.set(FRA, 2_000, "key", "10");
    regions.delete(SIN, 1_500, "key");
    regions.in_every_order(|regions| regions.all_show("key", Some("13")));
}

#[test]
fn a_counter_that_somebody_overwrote_behind_the_providers_back_counts_on() {
    for garbage in ["", "ten", "007", "-1", "a text of more than fifteen bytes"] {
        let mut regions = two();
        regions.increment(FRA, 1_000, "key", 3);
        regions.data(FRA).set("key", garbage.as_bytes());
        let outcome = regions.attempt(FRA, 1_000, vec![increment("key", 2)]);
        assert!(matches!(outcome, Outcome::Written(_)), "{outcome:?}");
        regions.pull(IAD, FRA);
        regions.shows(IAD, "key", Some("5"));
    }
}

#[test]
fn an_increment_of_a_text_or_past_the_largest_number_is_an_error_and_writes_nothing() {
    let mut regions = two();
    for (key, value) in [
        ("text", "ten"),
        ("padded", "007"),
        ("empty", ""),
        ("large", LARGEST),
    ] {
        regions.set(FRA, 1_000, key, value);
    }
    regions.increment(FRA, 1_000, "counter", u64::MAX - 1);
    let before = regions.data(FRA).clone();
    for (key, delta, error) in [
        ("text", 1, Outcome::NotANumber),
        ("text", 0, Outcome::NotANumber),
        ("padded", 1, Outcome::NotANumber),
        ("empty", 1, Outcome::NotANumber),
        ("large", 1, Outcome::Overflow),
        ("counter", 2, Outcome::Overflow),
    ] {
        let outcome = regions.attempt(FRA, 2_000, vec![increment(key, delta)]);
        assert_eq!(outcome, error, "{key}");
        assert_eq!(*regions.data(FRA), before, "{key}");
    }
    regions.in_every_order(|regions| {
        regions.all_show("text", Some("ten"));
        regions.all_show("large", Some(LARGEST));
        regions.all_show("counter", Some("18446744073709551614"));
    });
}
