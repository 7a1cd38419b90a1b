//! What one call promises: all of a batch in one step, and reads that show what is here.

use replica::store::{Op, Outcome, Phase, Session};
use replica::vector::VersionVector;

use super::regions::{delete, set, Regions};
use super::{two, FRA, IAD};

#[test]
fn a_set_many_is_one_step_in_its_region_and_comes_in_its_order_elsewhere() {
    let mut regions = two();
    let keys = ["c", "a", "b"];
    let writes = || keys.map(|key| set(key, "new")).to_vec();
    // The first write ever looks up its author's number, too.
    regions.set(FRA, 500, "before", "x");
    regions.pull(IAD, FRA);
    let mut after = regions.page(FRA, 0, 10).upto;
    let empty = regions.data(FRA).clone();

    // Refused as a whole.
    let op = Op::Write {
        now_ms: 1_000,
        writes: writes(),
    };
    let mut stranger = Session::new("another process".to_owned());
    assert_eq!(regions.take_as(&mut stranger, FRA, op), Outcome::Stale);
    assert_eq!(*regions.data(FRA), empty);
    for (phase, answer) in [
        (Phase::Joining, Some(Outcome::Joining)),
        (Phase::Ready, None),
    ] {
        regions.take(FRA, Op::Approve { phase });
        if let Some(answer) = answer {
            let before = regions.data(FRA).clone();
            assert_eq!(regions.attempt(FRA, 1_000, writes()), answer);
            assert_eq!(*regions.data(FRA), before);
        }
    }

    // Made as a whole: the script ran once.
    let calls = regions.calls;
    let outcome = regions.attempt(FRA, 1_000, writes());
    assert!(matches!(outcome, Outcome::Written(_)), "{outcome:?}");
    assert_eq!(regions.calls, calls + 1);
    for key in keys {
        regions.shows(FRA, key, Some("new"));
    }

    for come in 1..=keys.len() {
        let page = regions.page(FRA, after, 1);
        after = page.upto;
        let covered = if come == keys.len() {
            page.vector.clone()
        } else {
            VersionVector::default()
        };
        regions.take_in(IAD, page.rows, &page.vector, &covered);
        for (at, key) in keys.iter().enumerate() {
            regions.shows(IAD, key, (at < come).then_some("new"));
        }
    }
    // And in this order they go on from there.
    let rows = regions.page(IAD, 0, 10).rows;
    let order: Vec<String> = rows.into_iter().map(|row| row.key).collect();
    assert_eq!(order, ["before", "c", "a", "b"]);
}

#[test]
fn a_delete_many_is_one_step_and_takes_what_its_region_had_seen() {
    let mut regions = two();
    regions.set(FRA, 1_000, "set", "x");
    regions.increment(FRA, 1_000, "counter", 5);
    regions.share();
    regions.set(IAD, 1_500, "unseen", "y");
    regions.increment(IAD, 1_500, "counter", 3);
    let calls = regions.calls;
    let keys = ["set", "counter", "unseen", "missing"];
    let written = regions.write(FRA, 2_000, keys.map(delete).to_vec());
    // The second call reads what the region covers, for the news.
    assert_eq!(regions.calls, calls + 2);
    let made: Vec<bool> = written
        .iter()
        .map(|written| written.seq.is_some())
        .collect();
    assert_eq!(made, [true, true, false, false]);
    assert!(regions.data(FRA).visible().is_empty());
    regions.in_every_order(|regions| {
        regions.all_show("set", None);
        regions.all_show("counter", Some("3"));
        regions.all_show("unseen", Some("y"));
        regions.all_show("missing", None);
    });
}

/// `get`, `exists`, `get-many` and `list-keys` are commands on plain strings: they read these, whatever else there is.
#[test]
fn every_read_shows_what_its_own_region_shows() {
    let mut regions = two();
    regions.set(FRA, 1_000, "mine", "a");
    regions.increment(FRA, 1_000, "counter", 0);
    regions.set(IAD, 1_000, "theirs", "b");
    // One's own writes at once, nobody else's.
    let listed = |regions: &mut Regions, at: usize| -> Vec<String> {
        regions.data(at).visible().into_keys().collect()
    };
    assert_eq!(listed(&mut regions, FRA), ["counter", "mine"]);
    regions.shows(FRA, "counter", Some("0"));
    regions.shows(FRA, "theirs", None);
    // Others' as soon as they are here, with no step of a reader's own.
    regions.pull(FRA, IAD);
    assert_eq!(listed(&mut regions, FRA), ["counter", "mine", "theirs"]);
    assert_eq!(listed(&mut regions, IAD), ["theirs"]);
    // A tombstone is kept, and neither read nor listed.
    regions.delete(FRA, 2_000, "mine");
    assert_eq!(regions.entries(FRA).len(), 3);
    assert_eq!(listed(&mut regions, FRA), ["counter", "theirs"]);
    regions.in_every_order(|regions| {
        for at in [FRA, IAD] {
            assert_eq!(listed(regions, at), ["counter", "theirs"]);
        }
    });
}
