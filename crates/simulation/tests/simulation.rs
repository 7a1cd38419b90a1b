//! Worlds by the thousand, and the bugs that they have to notice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;

use simulation::{again, processors, run, Bug, Total};

const SEEDS: u64 = 2_000;
/// Worlds in which a planted bug has to show; most show in the first few, the rarest in one of about four hundred.
const BUG_SEEDS: u64 = 1_000;

/// Runs `seeds` worlds on all processors; ends at the first failure when told to.
fn worlds(seeds: u64, bug: Option<Bug>, until_failure: bool) -> (Total, Vec<String>) {
    let next = AtomicU64::new(0);
    let ended = AtomicBool::new(false);
    let total = Mutex::new((Total::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..processors() {
            scope.spawn(|| loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds || ended.load(Ordering::Relaxed) {
                    return;
                }
                let result = run(seed, bug);
                let mut total = total.lock().unwrap();
                if let Err(error) = &result {
                    let text =
                        format!("seed {seed}: {error:#}\n  again with: {}", again(seed, bug));
                    total.1.push(text);
                    ended.store(until_failure, Ordering::Relaxed);
                }
                total.0.add(result);
            });
        }
    });
    total.into_inner().unwrap()
}

#[test]
fn nothing_is_lost_or_counted_twice_in_any_world() {
    let (total, failures) = worlds(SEEDS, None, false);
    println!("{total}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // Every fault has to have happened, or the worlds prove nothing.
    let faults = [
        "one way cut",
        "two regions cut off from each other",
        "region cut off",
        "provider killed",
        "provider paused",
        "store restarted",
        "store restarted in the middle of a list",
        "disk wiped",
        "backup restored",
        "backup restored beside a wiped disk",
        "clock an hour ahead",
        "clock an hour behind",
        "region away past the retention",
        "written plain",
        "adoption interrupted",
    ];
    for fault in faults {
        let count = total.sum.faults.get(fault).copied().unwrap_or(0);
        assert!(u64::from(count) * 20 > SEEDS, "{fault}: {count} times only");
    }
    for notice in [
        "ahead",
        "conflict",
        "evicted",
        "minted",
        "starts anew",
        "digests equal",
        "put in place unread",
        "remembered another entry",
    ] {
        assert!(total.sum.notices.contains_key(notice), "never {notice}");
    }
}

#[test]
fn every_planted_bug_is_noticed() {
    let missed: Vec<&str> = Bug::ALL
        .into_iter()
        .filter(|bug| {
            let (total, failures) = worlds(BUG_SEEDS, Some(*bug), true);
            let first = failures
                .first()
                .map_or("-", |text| text.lines().next().unwrap_or(""));
            println!("{bug:?} after {} worlds: {first}", total.worlds);
            failures.is_empty()
        })
        .map(Bug::description)
        .collect();
    assert!(missed.is_empty(), "not noticed: {missed:#?}");
}
