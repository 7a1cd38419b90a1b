//! The laws of version vectors.

use proptest::collection::vec;
use proptest::prelude::*;
use replica::vector::VersionVector;

use super::author;

pub fn vector() -> impl Strategy<Value = VersionVector> {
    let number = prop_oneof![4 => 0_u64..5, 1 => Just(u64::MAX), 1 => any::<u64>()];
    vec((author(), number), 0..6).prop_map(|pairs| pairs.into_iter().collect())
}

fn join(one: &VersionVector, other: &VersionVector) -> VersionVector {
    let mut both = one.clone();
    both.merge(other);
    both
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn merging_vectors_is_commutative(one in vector(), other in vector()) {
        prop_assert_eq!(join(&one, &other), join(&other, &one));
    }

    #[test]
    fn merging_vectors_is_associative(one in vector(), two in vector(), three in vector()) {
        prop_assert_eq!(join(&join(&one, &two), &three), join(&one, &join(&two, &three)));
    }

    #[test]
    fn merging_vectors_is_idempotent(one in vector(), other in vector()) {
        let both = join(&one, &other);
        prop_assert_eq!(join(&one, &one), one.clone());
        prop_assert_eq!(join(&both, &other), both);
    }

    #[test]
    fn a_merged_vector_covers_what_either_covers_and_nothing_else(
        one in vector(), other in vector(), author in author(), seq in 0_u64..6
    ) {
        let both = join(&one, &other);
        prop_assert!(both.includes(&one) && both.includes(&other));
        prop_assert_eq!(both.covers(&author, seq), one.covers(&author, seq) || other.covers(&author, seq));
    }

    #[test]
    fn who_includes_another_is_not_behind_it_and_the_other_way_round(one in vector(), other in vector()) {
        prop_assert_eq!(one.includes(&other), one.behind(&other) == 0);
        prop_assert_eq!(one.includes(&other), join(&one, &other) == one);
        prop_assert_eq!(one.includes(&other) && other.includes(&one), one == other);
    }

    #[test]
    fn what_one_is_behind_is_what_it_lacks(one in vector(), author in author(), more in 1_u64..1_000) {
        let mut ahead = one.clone();
        let to = one.get(&author).saturating_add(more);
        ahead.raise(&author, to);
        prop_assert_eq!(one.behind(&ahead), to - one.get(&author));
        prop_assert_eq!(ahead.behind(&one), 0);
        // A vector never goes back.
        ahead.raise(&author, one.get(&author));
        prop_assert_eq!(ahead.get(&author), to);
    }
}
