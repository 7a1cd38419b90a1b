//! The script counts in decimal digits, as its numbers are exact up to 2^53 only.

use proptest::prelude::*;
use replica::store::{Op, Outcome, Write};

use super::regions::{increment, set, Regions};

/// What the script adds up at a time.
const LIMB: u64 = 10_000_000_000_000;

/// Numbers of every length, and those at which something carries.
fn number() -> impl Strategy<Value = u64> {
    let limbs = prop_oneof![0..=u64::MAX / LIMB, 0_u64..4];
    let limbs = (limbs, 0_u64..7).prop_map(|(limbs, past)| {
        let near = (limbs * LIMB).saturating_add(past);
        near.saturating_sub(3)
    });
    prop_oneof![
        any::<u64>(),
        (0_u32..64).prop_flat_map(|bits| 0..=u64::MAX >> bits),
        limbs,
        (0_u64..1_000).prop_map(|less| u64::MAX - less),
        0_u64..20,
    ]
}

/// Two numbers, often such that their sum is about the largest one.
fn numbers() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        3 => (number(), number()),
        1 => (number(), -3_i64..=3).prop_map(|(one, past)| {
            (one, (u64::MAX - one).saturating_add_signed(past))
        }),
    ]
}

/// What was counted of a key, deleted or not.
fn counted(regions: &mut Regions) -> u128 {
    let entries = regions.entries(0);
    entries["key"]
        .shards
        .values()
        .map(|shard| shard.count)
        .sum()
}

#[test]
fn an_increment_is_exact_or_changes_nothing() {
    let empty = Regions::new(&["fra/1"]);
    proptest!(ProptestConfig::with_cases(10_000), |((one, other) in numbers())| {
        let mut regions = empty.clone();
        regions.write(0, 1_000, vec![set("key", &one.to_string())]);
        let before = regions.data(0).clone();
        match (one.checked_add(other), regions.attempt(0, 1_000, vec![increment("key", other)])) {
            (Some(sum), Outcome::Written(written)) => {
                prop_assert_eq!(written[0].sum, Some(sum));
                prop_assert_eq!(regions.shown(0, "key"), Some(sum.to_string()));
            }
            (None, Outcome::Overflow) => prop_assert_eq!(&*regions.data(0), &before),
            (sum, outcome) => prop_assert!(false, "{one} and {other} are {sum:?}, the script answered {outcome:?}"),
        }
    });
}

#[test]
fn what_was_counted_is_exact_beyond_any_number_that_shows() {
    let empty = Regions::new(&["fra/1"]);
    proptest!(ProptestConfig::with_cases(10_000), |(one in number(), other in number())| {
        let mut regions = empty.clone();
        prop_assert_eq!(regions.increment(0, 1_000, "key", one), one);
        regions.delete(0, 1_000, "key");
        prop_assert_eq!(regions.increment(0, 1_000, "key", other), other);
        prop_assert_eq!(counted(&mut regions), u128::from(one) + u128::from(other));
    });
}

#[test]
fn what_links_in_plain_mode_added_to_a_counter_is_adopted_exactly() {
    let empty = Regions::new(&["fra/1"]);
    proptest!(ProptestConfig::with_cases(10_000), |((one, other) in numbers())| {
        let (less, more) = (one.min(other), one.max(other));
        let mut regions = empty.clone();
        regions.write(0, 1_000, vec![Write::Increment("key".to_owned(), less)]);
        regions.data(0).set("key", more.to_string().as_bytes());
        regions.data(0).set("@kv/r/plain", b"1");
        let adopt = Op::Adopt { now_ms: 1_000, keys: vec!["key".to_owned()] };
        prop_assert_eq!(regions.take(0, adopt), Outcome::Count(u64::from(less != more)));
        prop_assert_eq!(regions.shown(0, "key"), Some(more.to_string()));
        prop_assert_eq!(counted(&mut regions), u128::from(more));
    });
}
