//! The change log: what is still there, and that nobody misses what is not.

use std::collections::BTreeSet;

use replica::store::{Loaded, Op, Outcome};
use replica::vector::VersionVector;
use simulation::valkey::Data;

use super::regions::{increment, set as set_to, Regions};
use super::{two, FRA, IAD};

const LOG: &str = "@kv/r/log";
const ALL: &str = "@kv/r/all";
const STATE: &str = "@kv/r/state";

fn names(keys: std::ops::Range<usize>) -> BTreeSet<String> {
    keys.map(|key| format!("key{key}")).collect()
}

/// A region with these keys, each set twice.
fn filled(keys: usize) -> Regions {
    let mut regions = two();
    for value in ["old", "new"] {
        for key in names(0..keys) {
            regions.set(FRA, 1_000, &key, value);
        }
    }
    regions
}

fn trim(regions: &mut Regions, upto: u64, spare: usize) {
    assert_eq!(regions.take(FRA, Op::Trim { upto, spare }), Outcome::Done);
}

/// Reads to the end, and in the middle of it a component writes. The keys on the pages, and where it ended.
fn read(regions: &mut Regions, mut after: u64, meanwhile: Option<&str>) -> (Vec<String>, u64) {
    let mut keys = Vec::new();
    for number in 0..100 {
        let page = regions.page(FRA, after, 4);
        keys.extend(page.rows.into_iter().map(|row| row.key));
        after = page.upto;
        if page.ends {
            return (keys, after);
        }
        if let (2, Some(key)) = (number, meanwhile) {
            regions.set(FRA, 1_000, key, "meanwhile");
        }
    }
    panic!("no end after a hundred pages");
}

fn set(keys: &[String]) -> BTreeSet<String> {
    keys.iter().cloned().collect()
}

#[test]
fn a_key_that_changes_often_is_on_a_page_once_and_where_it_changed_last() {
    let mut regions = two();
    for key in ["a", "b", "a", "c", "a", "b"] {
        regions.set(FRA, 1_000, key, "value");
    }
    let page = regions.page(FRA, 0, 10);
    let keys: Vec<&str> = page.rows.iter().map(|row| row.key.as_str()).collect();
    assert_eq!(keys, ["c", "a", "b"]);
    assert_eq!((page.upto, page.head, page.ends), (6, 6, true));
}

#[test]
fn a_page_leaves_out_what_its_reader_covers_and_nothing_else() {
    let mut regions = two();
    for at in [IAD, FRA] {
        for key in ["text", "counted on", "counted", "gone", "begun anew"] {
            regions.set(at, 1_000, key, "1");
            regions.increment(at, 1_000, &format!("{key} from nothing"), 2);
        }
        regions.share();
        for key in ["counted on", "counted", "begun anew"] {
            regions.increment(at, 1_000, key, 3);
        }
        for key in [
            "gone",
            "begun anew",
            "gone from nothing",
            "begun anew from nothing",
        ] {
            regions.delete(at, 1_000, key);
        }
        regions.set(at, 1_000, "text from nothing", "4");
        for key in [
            "counted on",
            "counted on from nothing",
            "begun anew",
            "begun anew from nothing",
        ] {
            regions.increment(at, 1_000, key, 5);
        }
        regions.share();
    }
    let (entries, all) = (regions.entries(FRA), regions.load(FRA));
    let [one, other] = [IAD, FRA].map(|at| regions.author(at).clone());
    assert!(all.get(&one) > 10 && all.get(&other) > 10);
    for seqs in
        (0..=all.get(&one)).flat_map(|seq| (0..=all.get(&other)).map(move |more| (seq, more)))
    {
        let covered: VersionVector = [(one.clone(), seqs.0), (other.clone(), seqs.1)]
            .into_iter()
            .collect();
        let page = regions.page_of(FRA, 0, 1_000, 1 << 20, covered.clone());
        let found: BTreeSet<String> = page.rows.into_iter().map(|row| row.key).collect();
        let lacks = entries
            .iter()
            .filter(|(_, entry)| !entry.is_covered_by(&covered));
        assert_eq!(
            found,
            lacks.map(|(key, _)| key.clone()).collect(),
            "{covered:?}"
        );
        assert!(page.ends);
    }
}

#[test]
fn a_page_goes_not_further_than_the_bytes_that_were_asked_for() {
    let mut regions = two();
    for key in 0..60 {
        let bytes = if key % 7 == 0 { 900 } else { 10 };
        regions.set(FRA, 1_000, &format!("key{key}"), &"v".repeat(bytes));
    }
    let (mut after, mut keys) = (0, Vec::new());
    loop {
        let page = regions.page_of(FRA, after, 50, 2_000, VersionVector::default());
        let weights = page
            .rows
            .iter()
            .map(|row| row.entry.visible().bytes().unwrap().len());
        assert!(weights.rev().skip(1).sum::<usize>() < 2_000);
        assert!(page.ends || page.rows.len() < 50);
        keys.extend(page.rows.into_iter().map(|row| row.key));
        after = page.upto;
        if page.ends {
            break;
        }
    }
    assert_eq!(
        keys,
        (0..60).map(|key| format!("key{key}")).collect::<Vec<_>>()
    );
}

#[test]
fn whoever_asks_for_what_is_no_longer_in_the_log_is_given_all_keys() {
    let mut regions = filled(30);
    let (_, end) = read(&mut regions, 0, None);
    trim(&mut regions, end - 3, usize::MAX);
    assert_eq!(regions.data(FRA).list(LOG).len(), 3);
    // Who has read up to there is given what came since, and nothing else.
    assert_eq!(read(&mut regions, end - 3, None).0.len(), 3);

    let (keys, after) = read(&mut regions, end - 4, Some("key5"));
    assert_eq!(set(&keys), names(0..30));
    assert_eq!(keys.last().unwrap(), "key5");
    // They are listed once, not for everybody who comes from so far back, and for nobody else.
    let listed = regions.data(FRA).list(ALL).len();
    let (keys, _) = read(&mut regions, 0, None);
    assert_eq!(set(&keys), names(0..30));
    assert_eq!(read(&mut regions, end - 3, None).0.len(), 4);
    assert_eq!(regions.data(FRA).list(ALL).len(), listed);
    assert_eq!(regions.data(FRA).list(LOG).len(), 4);

    trim(&mut regions, u64::MAX, usize::MAX);
    assert_eq!(
        [LOG, ALL].map(|list| regions.data(FRA).list(list).len()),
        [0, 0]
    );
    assert_eq!(read(&mut regions, after, None).0, Vec::<String>::new());
    regions.set(FRA, 1_000, "key30", "value");
    assert_eq!(read(&mut regions, after, None).0, ["key30"]);
    assert_eq!(set(&read(&mut regions, 0, Some("key31")).0), names(0..32));
}

#[test]
fn whoever_reads_in_a_list_of_all_keys_that_is_no_more_is_given_all_again() {
    let mut regions = filled(30);
    let (_, end) = read(&mut regions, 0, None);
    trim(&mut regions, end, usize::MAX);
    // Of a list that is not whole yet: one reader goes on where another one went away.
    let first = regions.page(FRA, 0, 4);
    assert!(!first.ends && regions.data(FRA).list(ALL).len() < 10);
    assert_eq!(set(&read(&mut regions, 0, None).0), names(0..30));
    // Nobody reads it, as far as this region knows, and the writes go on.
    regions.set(FRA, 1_000, "key3", "value");
    trim(&mut regions, u64::MAX, usize::MAX);
    assert_eq!(set(&read(&mut regions, first.upto, None).0), names(0..30));
    // In another process it is another list, too: there the keys come in another order.
    let second = regions.page(FRA, 0, 4);
    regions.mint(FRA, "another process", 2);
    assert_eq!(regions.data(FRA).list(ALL).len(), 0);
    assert_eq!(set(&read(&mut regions, second.upto, None).0), names(0..30));
    assert_eq!(set(&read(&mut regions, 0, None).0), names(0..30));
}

#[test]
fn a_full_store_refuses_writes_and_is_read_all_the_same() {
    let mut regions = filled(30);
    regions.delete(FRA, 1_000, "key1");
    trim(&mut regions, u64::MAX, usize::MAX);
    regions.fill(true);
    for write in [
        set_to("new", "value"),
        set_to("key2", "value"),
        set_to("key1", "value"),
        increment("count", 1),
    ] {
        let before = regions.data(FRA).clone();
        let refused = regions.refused(FRA, 1_000, vec![write.clone(), set_to("more", "value")]);
        assert!(refused.contains("OOM"), "{write:?}: {refused}");
        assert_eq!(*regions.data(FRA), before, "{write:?}");
    }
    assert_eq!(set(&read(&mut regions, 0, None).0), names(0..30));
    regions.delete(FRA, 1_000, "key2");
    of_the_version_before(regions.data(FRA), 30);
    assert!(loaded(&mut regions).identity.is_some());
}

#[test]
fn a_log_that_nobody_reads_stays_about_as_long_as_there_are_keys() {
    let mut regions = filled(30);
    for turn in 0..500 {
        let key = format!("key{}", turn % 7);
        regions.set(FRA, 1_000, &key, "value");
        trim(&mut regions, 0, 10);
        let length = regions.data(FRA).list(LOG).len();
        assert!(length <= 45 + 10, "{length} changes of 30 keys");
    }
    assert_eq!(set(&read(&mut regions, 0, None).0), names(0..30));
}

/// As a provider of the version before left it: numbers and identity in the hash of the state, and an index.
fn of_the_version_before(data: &mut Data, keys: usize) {
    let old = ["life", "mark", "seq"].map(|name| data.parts(&format!("@kv/r/{name}")));
    let fields = ["i", "u", "f", "a", "m", "n", "q", "p"];
    let head = (2 * keys + 1).to_string();
    for (field, value) in fields.iter().zip(old.iter().flatten().chain([&head])) {
        data.command(&["HSET", STATE, field, value]).unwrap();
    }
    for (place, key) in names(0..keys).iter().enumerate() {
        let place = (keys + 1 + place).to_string();
        let command = ["ZADD", "@kv/r/index", &place, key];
        data.command(&command).unwrap();
    }
    data.command(&["DEL", "@kv/r/life", "@kv/r/mark", "@kv/r/seq", LOG])
        .unwrap();
}

fn loaded(regions: &mut Regions) -> Loaded {
    match regions.take(FRA, Op::Load) {
        Outcome::Loaded(loaded) => *loaded,
        other => panic!("a load answered {other:?}"),
    }
}

#[test]
fn a_store_of_the_version_before_is_taken_over_as_it_is() {
    let mut regions = filled(30);
    regions.increment(FRA, 1_000, "count", 5);
    let (before, mut entries) = (loaded(&mut regions), regions.entries(FRA));
    let head = regions.page(FRA, 0, 100).head;
    of_the_version_before(regions.data(FRA), 30);
    assert_eq!(loaded(&mut regions), before);
    assert!(regions.data(FRA).sorted("@kv/r/index").is_empty());

    // Who was in step is given what came since, everybody else all.
    assert_eq!(regions.increment(FRA, 1_000, "count", 5), 10);
    assert_eq!(read(&mut regions, head, None).0, ["count"]);
    assert_eq!(read(&mut regions, head - 1, None).0.len(), 31);
    let mut taken_over = regions.entries(FRA);
    assert_ne!(taken_over.remove("count"), entries.remove("count"));
    assert_eq!(taken_over, entries);
    regions.pull(IAD, FRA);
    regions.shows(IAD, "count", Some("10"));
    // A provider of the version before looks for these.
    let state = regions.data(FRA).hash(STATE);
    assert!(["i", "u", "f"]
        .iter()
        .all(|field| !state.contains_key(*field)));
}
