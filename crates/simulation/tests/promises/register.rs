//! `set` and `delete`, and when the clocks of two regions differ.

use replica::vector::VersionVector;

use super::regions::Regions;
use super::{three, two, FRA, IAD, SIN};

#[test]
fn of_two_sets_the_later_stays_and_the_other_is_told_as_a_conflict() {
    let mut regions = two();
    regions.set(FRA, 3_000, "key", "later");
    regions.set(IAD, 2_000, "key", "earlier");
    let stamp = |regions: &mut Regions, at: usize| {
        let entries = regions.entries(at);
        entries["key"].register.as_ref().unwrap().stamp.clone()
    };
    let (winner, loser) = (stamp(&mut regions, FRA), stamp(&mut regions, IAD));
    regions.in_every_order(|regions| {
        regions.all_show("key", Some("later"));
        assert!(!regions.conflicts.is_empty());
        for conflict in &regions.conflicts {
            assert_eq!((&conflict.winner, &conflict.loser), (&winner, &loser));
        }
    });

    let mut regions = three();
    regions.set(FRA, 2_000, "key", "a");
    regions.set(IAD, 3_000, "key", "b");
    regions.set(SIN, 1_000, "key", "c");
    regions.in_every_order(|regions| regions.all_show("key", Some("b")));
}

#[test]
fn of_two_sets_at_one_time_the_region_decides_and_then_the_incarnation() {
    for authors in [["fra/2", "iad/1"], ["iad/1", "iad/2"]] {
        let mut regions = Regions::new(&authors);
        regions.set(0, 2_000, "key", "a");
        regions.set(1, 2_000, "key", "b");
        regions.in_every_order(|regions| regions.all_show("key", Some("b")));
    }
}

#[test]
fn a_set_that_saw_the_other_stays_though_its_clock_is_behind() {
    let mut regions = two();
    regions.set(FRA, 9_000, "key", "a");
    regions.pull(IAD, FRA);
    regions.set(IAD, 10, "key", "b");
    regions.set(IAD, 5, "key", "c");
    regions.in_every_order(|regions| {
        regions.all_show("key", Some("c"));
        assert!(regions.conflicts.is_empty(), "{:?}", regions.conflicts);
    });
}

#[test]
fn a_clock_that_steps_back_makes_no_later_write_look_older() {
    let mut regions = three();
    regions.set(FRA, 9_000, "other", "x");
    regions.pull(SIN, FRA);
    regions.set(IAD, 5_000, "key", "iad");
    regions.set(IAD, 5_000, "mine", "iad");
    // Nobody here knows of these writes, yet the clocks here had been past them.
    regions.set(FRA, 10, "key", "fra");
    regions.set(SIN, 10, "mine", "sin");
    regions.in_every_order(|regions| {
        regions.all_show("key", Some("fra"));
        regions.all_show("mine", Some("sin"));
    });
}

#[test]
fn a_write_on_a_value_from_a_clock_ahead_replaces_it_everywhere() {
    let mut regions = three();
    // Too far ahead to move the other's clock.
    regions.set(FRA, 100_000_000, "key", "ahead");
    regions.set(FRA, 100_000_000, "gone", "ahead");
    regions.pull(IAD, FRA);
    regions.shows(IAD, "key", Some("ahead"));
    regions.set(IAD, 2_000, "key", "now");
    regions.delete(IAD, 2_000, "gone");
    regions.set(IAD, 2_000, "other", "x");
    let register = regions.entries(IAD)["other"].register.clone().unwrap();
    assert_eq!(register.stamp.at.wall_ms, 2_000, "the clock was moved");
    regions.in_every_order(|regions| {
        regions.all_show("key", Some("now"));
        regions.all_show("gone", None);
    });
}

#[test]
fn of_a_set_and_a_delete_the_later_stays() {
    for (set_at, delete_at, shown) in [(3_000, 2_000, Some("new")), (2_000, 3_000, None)] {
        let mut regions = three();
        regions.set(SIN, 1_000, "key", "old");
        regions.share();
        regions.set(FRA, set_at, "key", "new");
        regions.delete(IAD, delete_at, "key");
        regions.in_every_order(|regions| {
            regions.all_show("key", shown);
            assert!(!regions.conflicts.is_empty());
        });
    }
}

#[test]
fn a_delete_of_a_key_that_is_not_there_deletes_nothing() {
    let mut regions = three();
    let before = regions.data(IAD).clone();
    regions.delete(IAD, 3_000, "key");
    assert_eq!(*regions.data(IAD), before);
    regions.set(FRA, 2_000, "key", "a");
    regions.increment(FRA, 2_000, "counter", 5);
    regions.delete(IAD, 3_000, "counter");
    regions.in_every_order(|regions| {
        regions.all_show("key", Some("a"));
        regions.all_show("counter", Some("5"));
        assert!(regions.conflicts.is_empty());
    });
    // Nor does a delete of what was deleted.
    regions.share();
    regions.delete(FRA, 4_000, "key");
    regions.share();
    regions.set(SIN, 5_000, "key", "b");
    regions.delete(IAD, 6_000, "key");
    regions.in_every_order(|regions| regions.all_show("key", Some("b")));
}

#[test]
fn a_key_that_was_deleted_and_forgotten_begins_anew() {
    // Who forgot the tombstone when the key is used again: none, one, or both.
    for forgot in [&[][..], &[FRA], &[IAD], &[FRA, IAD]] {
        let mut regions = two();
        regions.increment(FRA, 1_000, "counter", 5);
        regions.increment(IAD, 1_000, "counter", 7);
        regions.set(FRA, 1_000, "key", "old");
        let (late, nothing) = (regions.page(FRA, 0, 10), VersionVector::default());
        regions.share();
        regions.delete(IAD, 2_000, "counter");
        regions.delete(IAD, 2_000, "key");
        regions.share();
        for at in forgot {
            assert_eq!(regions.collect(*at), 2);
            assert!(regions.entries(*at).is_empty());
            assert!(regions.data(*at).hash("@kv/r/meta").is_empty());
        }
        // A copy from before that was long on its way brings nothing back.
        for at in [FRA, IAD] {
            regions.take_in(at, late.rows.clone(), &late.vector, &nothing);
        }
        regions.in_every_order(|regions| {
            regions.all_show("counter", None);
            regions.all_show("key", None);
        });
        assert_eq!(regions.increment(FRA, 3_000, "counter", 2), 2);
        assert_eq!(regions.increment(IAD, 3_000, "counter", 4), 4);
        regions.set(FRA, 3_000, "key", "new");
        regions.in_every_order(|regions| {
            regions.all_show("counter", Some("6"));
            regions.all_show("key", Some("new"));
            for at in [FRA, IAD] {
                regions.take_in(at, late.rows.clone(), &late.vector, &nothing);
            }
            regions.all_show("counter", Some("6"));
            regions.all_show("key", Some("new"));
        });
    }
}
