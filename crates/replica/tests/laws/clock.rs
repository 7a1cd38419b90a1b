//! The order of stamps: total, and the one that is documented.

use std::cmp::Ordering;

use proptest::prelude::*;
use replica::clock::{Hlc, Stamp};

use super::author;

fn hlc() -> impl Strategy<Value = Hlc> {
    let wall = prop_oneof![4 => 0_u64..3, 1 => 0_u64..1 << 53];
    let counter = prop_oneof![4 => 0_u32..3, 1 => any::<u32>()];
    (wall, counter).prop_map(|(wall_ms, counter)| Hlc { wall_ms, counter })
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (hlc(), author()).prop_map(|(at, author)| Stamp { at, author })
}

fn is_total<T: Ord + std::fmt::Debug>(one: &T, two: &T, three: &T) -> Result<(), TestCaseError> {
    prop_assert_eq!(one.cmp(two), two.cmp(one).reverse());
    prop_assert_eq!(one.cmp(two) == Ordering::Equal, one == two);
    prop_assert_eq!(one.partial_cmp(two), Some(one.cmp(two)));
    if one <= two && two <= three {
        prop_assert!(one <= three);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn the_order_of_clock_readings_is_total(one in hlc(), two in hlc(), three in hlc()) {
        is_total(&one, &two, &three)?;
    }

    #[test]
    fn the_order_of_stamps_is_total(one in stamp(), two in stamp(), three in stamp()) {
        is_total(&one, &two, &three)?;
    }

    #[test]
    fn stamps_go_by_wall_time_then_counter_then_region_then_incarnation(one in stamp(), other in stamp()) {
        let rank = |stamp: &Stamp| {
            let (region, incarnation) = (stamp.author.region.as_str().to_owned(), stamp.author.incarnation);
            (stamp.at.wall_ms, stamp.at.counter, region, u64::from(incarnation))
        };
        prop_assert_eq!(one.cmp(&other), rank(&one).cmp(&rank(&other)));
        prop_assert_eq!(one.at.cmp(&other.at), (one.at.wall_ms, one.at.counter).cmp(&(other.at.wall_ms, other.at.counter)));
    }
}
