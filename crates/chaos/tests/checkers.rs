//! The checkers over histories of a model that keeps every promise, and over the same with one mistake planted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod model;

use std::collections::BTreeMap;

use chaos::check::{check, Figures, Wrong, GRAIN};
use chaos::fault::{Fault, Kind};
use chaos::history::{Call, History, Micros, Op, Outcome, Probe, Strike, View};
use model::{Model, REGIONS};
use proptest::prelude::*;

const STEPS: usize = 250;

fn wrongs(history: &History) -> Vec<Wrong> {
    let verdict = check(history);
    verdict.violations.iter().map(|found| found.wrong).collect()
}

/// A history, and whether the mistake could be planted into it.
fn with(seed: u64, plant: impl FnOnce(&mut History) -> Option<()>) -> Option<History> {
    let mut history = Model::run(seed, STEPS);
    plant(&mut history)?;
    Some(history)
}

/// Plants a mistake into many histories; it has to be noticed, as this, in each into which it could be planted.
fn noticed(wrong: Wrong, plant: impl Fn(&mut History) -> Option<()>) {
    let planted: Vec<(u64, History)> = (0..300)
        .filter_map(|seed| Some((seed, with(seed, &plant)?)))
        .collect();
    assert!(planted.len() > 30, "planted {} times only", planted.len());
    for (seed, history) in planted {
        let found = wrongs(&history);
        assert!(found.contains(&wrong), "seed {seed}: {found:?}");
    }
}

/// Changes what everybody says in the end of a key.
fn finally(history: &mut History, key: &str, value: Option<&str>) {
    for last in history.last.iter_mut().filter(|last| last.key == key) {
        last.value = value.map(str::to_owned);
    }
}

fn final_number(history: &History, key: &str) -> Option<u64> {
    let last = history.last.iter().find(|last| last.key == key)?;
    last.value.as_ref()?.parse().ok()
}

/// The acknowledged and the unknown increments of a counter.
fn increments(history: &History, key: &str) -> (u64, u64) {
    let mut sums = (0, 0);
    for op in history.ops.iter().filter(|op| op.key == key) {
        if let Call::Increment(delta) = op.call {
            match op.outcome {
                Outcome::Ok(_) => sums.0 += delta,
                Outcome::Unknown(_) => sums.1 += delta,
                Outcome::Failed(_) => {}
            }
        }
    }
    sums
}

fn sets<'a>(history: &'a History, key: &str) -> Vec<(&'a Op, &'a str)> {
    let sets = history.ops.iter().filter(|op| op.key == key);
    sets.filter_map(|op| match &op.call {
        Call::Set(value) if op.outcome.is_ok() => Some((op, value.as_str())),
        _ => None,
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn regions_that_keep_every_promise_are_found_to(seed: u64) {
        let history = Model::run(seed, 120);
        let verdict = check(&history);
        prop_assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    }
}

#[test]
fn all_that_is_to_be_checked_is() {
    let mut all = Figures::default();
    for seed in 0..50 {
        let figures = check(&Model::run(seed, STEPS)).figures;
        all.own_reads += figures.own_reads;
        all.deletes += figures.deletes;
        all.registers += figures.registers;
        all.counters += figures.counters;
        all.increments += figures.increments;
        all.visits += figures.visits;
        all.unknown += figures.unknown;
        all.failed += figures.failed;
    }
    assert!(all.own_reads > 200 && all.deletes > 200, "{all:?}");
    assert!(all.registers > 200 && all.counters > 100, "{all:?}");
    assert!(all.increments > 2_000 && all.visits > 1_000, "{all:?}");
    assert!(all.unknown > 500 && all.failed > 200, "{all:?}");
}

#[test]
fn a_lost_increment_is_noticed() {
    noticed(Wrong::Lost, |history| {
        let (acknowledged, _) = increments(history, "count/0");
        let short = acknowledged.checked_sub(1)?.to_string();
        finally(history, "count/0", Some(&short));
        Some(())
    });
}

#[test]
fn a_lost_counter_is_noticed() {
    noticed(Wrong::Lost, |history| {
        final_number(history, "count/0")?;
        finally(history, "count/0", None);
        Some(())
    });
}

#[test]
fn an_increment_that_counts_twice_is_noticed() {
    noticed(Wrong::Doubled, |history| {
        let (acknowledged, unknown) = increments(history, "count/1");
        let more = (acknowledged + unknown + 1).to_string();
        finally(history, "count/1", Some(&more));
        Some(())
    });
}

#[test]
fn an_increment_that_counts_twice_for_a_while_is_noticed() {
    noticed(Wrong::Doubled, |history| {
        let of_it = |op: &&Op| op.key == "count/0" && op.outcome.may_be();
        let begun: Vec<&Op> = history.ops.iter().filter(of_it).collect();
        let attempted = begun.iter().map(|op| match op.call {
            Call::Increment(delta) => delta,
            _ => 0,
        });
        let attempted: u64 = attempted.sum();
        let view = history
            .views
            .iter_mut()
            .rev()
            .find(|view| view.key == "count/0")?;
        view.value = Some((attempted + 1).to_string());
        Some(())
    });
}

#[test]
fn a_counter_that_falls_is_noticed() {
    noticed(Wrong::Lost, |history| {
        let of_it = |view: &&mut View| view.key == "count/0" && view.region == REGIONS[1];
        let mut views = history.views.iter_mut().filter(of_it);
        let before: u64 = views.next()?.value.as_ref()?.parse().ok()?;
        views.next()?.value = Some((before - 1).to_string());
        Some(())
    });
}

#[test]
fn a_register_that_is_gone_is_noticed() {
    noticed(Wrong::Lost, |history| {
        let key = "own/iad/0";
        sets(history, key).first()?;
        finally(history, key, None);
        Some(())
    });
}

#[test]
fn a_register_that_shows_an_older_value_in_the_end_is_noticed() {
    noticed(Wrong::Stale, |history| {
        let sets = sets(history, "own/fra/1");
        let (first, last) = (sets.first()?, sets.last()?);
        if last.0.start <= first.0.end + GRAIN {
            return None;
        }
        let older = first.1.to_owned();
        finally(history, "own/fra/1", Some(&older));
        Some(())
    });
}

#[test]
fn a_region_that_goes_back_to_an_older_value_for_a_while_is_noticed() {
    noticed(Wrong::Stale, |history| {
        let is_own = |view: &&View| view.key == "own/sin/0" && view.region == "sin";
        let views: Vec<&View> = history.views.iter().filter(is_own).collect();
        let (first, last) = (views.first()?, views.last()?);
        if views.len() < 3 || first.value.is_none() {
            return None;
        }
        let mut back = (*first).clone();
        back.at = last.at + 1;
        history.views.push(back);
        Some(())
    });
}

#[test]
fn a_deleted_key_that_is_there_in_the_end_is_noticed() {
    noticed(Wrong::Resurrected, |history| {
        let key = "reborn/iad/0";
        let value = sets(history, key).last()?.1.to_owned();
        finally(history, key, Some(&value));
        Some(())
    });
}

#[test]
fn a_deleted_key_that_comes_back_for_a_while_is_noticed() {
    noticed(Wrong::Resurrected, |history| {
        let of_it = |view: &&View| view.key == "reborn/fra/0" && view.region == "iad";
        let views: Vec<&View> = history.views.iter().filter(of_it).collect();
        let last = views.iter().rposition(|view| view.value.is_none())?;
        let (there, gone) = (views.get(last.checked_sub(1)?)?, views.get(last)?);
        let mut back = (*there).clone();
        back.at = gone.at + 1;
        if views.len() > last + 1 {
            return None;
        }
        history.views.push(back);
        Some(())
    });
}

#[test]
fn a_deleted_counter_that_comes_back_is_noticed() {
    noticed(Wrong::Resurrected, |history| {
        let key = "tally/sin/0";
        let (acknowledged, _) = increments(history, key);
        if acknowledged == 0 {
            return None;
        }
        finally(history, key, Some(&acknowledged.to_string()));
        Some(())
    });
}

#[test]
fn a_value_that_was_refused_or_never_written_is_noticed() {
    noticed(Wrong::Invented, |history| {
        finally(history, "shared/0", Some("nobody's"));
        Some(())
    });
    noticed(Wrong::Invented, |history| {
        let refused = history
            .ops
            .iter()
            .find_map(|op| match (&op.call, &op.outcome) {
                (Call::Set(value), Outcome::Failed(_)) if op.key == "shared/1" => {
                    Some(value.clone())
                }
                _ => None,
            })?;
        finally(history, "shared/1", Some(&refused));
        Some(())
    });
}

#[test]
fn regions_that_differ_in_the_end_are_noticed() {
    noticed(Wrong::Differs, |history| {
        history
            .last
            .iter_mut()
            .find(|last| last.key == "count/0")?
            .value = Some("0".to_owned());
        Some(())
    });
}

#[test]
fn a_client_that_does_not_read_what_it_wrote_is_noticed() {
    noticed(Wrong::Stale, |history| {
        let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for op in &mut history.ops {
            let values = written.entry(op.key.clone()).or_default();
            match (&op.call, &mut op.outcome) {
                (Call::Set(value), Outcome::Ok(_)) => values.push(value.clone()),
                // Its value may come late.
                (Call::Set(_), Outcome::Unknown(_)) => values.clear(),
                (Call::Get, Outcome::Ok(value)) if op.key.starts_with("own/") => {
                    let older = values.len().checked_sub(2).map(|at| &values[at]);
                    // Another region may still hold it, and may have been asked.
                    let elsewhere = |older: &&String| {
                        let since = op.start.saturating_sub(350_000);
                        REGIONS.iter().any(|region| {
                            let of_it = |view: &&View| view.key == op.key && view.region == *region;
                            let views = || history.views.iter().filter(of_it);
                            let is_older = |view: &View| view.value.as_ref() == Some(*older);
                            let before = views().take_while(|view| view.at < since).last();
                            let within = views().any(|view| view.at >= since && is_older(view));
                            *region != op.region && (before.is_some_and(is_older) || within)
                        })
                    };
                    if let Some(older) = older.filter(|older| !elsewhere(older)) {
                        *value = Some(older.clone());
                        return Some(());
                    }
                }
                _ => {}
            }
        }
        None
    });
}

const KEY: &str = "own/fra-0/0";

fn call(call: Call, start: Micros, end: Micros, answer: Option<&str>) -> Op {
    Op {
        client: "fra-0".to_owned(),
        region: "fra".to_owned(),
        key: KEY.to_owned(),
        call,
        start,
        end,
        outcome: Outcome::Ok(answer.map(str::to_owned)),
    }
}

fn set(value: &str, start: Micros, end: Micros) -> Op {
    call(Call::Set(value.to_owned()), start, end, None)
}

fn view(region: &str, value: &str, at: Micros) -> View {
    View {
        region: region.to_owned(),
        key: KEY.to_owned(),
        value: Some(value.to_owned()),
        at,
    }
}

/// A run saw this: fra's provider is killed while it answers a probe and is back before the next one; a set meanwhile
/// is carried out in sin, and fra hears of it late. What struck is named as this.
fn back_before_the_next_probe(kind: Kind, region: &str) -> History {
    let probes = (0..30).map(|tenth| Probe {
        region: "fra".to_owned(),
        start: tenth * 100_000,
        end: tenth * 100_000 + 2_000,
        by: Some("fra".to_owned()),
    });
    History {
        regions: ["fra", "sin"].map(str::to_owned).into(),
        ops: vec![
            set("old", 400_000, 402_000),
            call(Call::Get, 950_000, 951_000, Some("old")),
            set("new", 1_006_000, 1_095_000),
            call(Call::Get, 1_900_000, 1_901_000, Some("old")),
        ],
        views: vec![
            view("fra", "old", 410_000),
            view("sin", "old", 490_000),
            view("sin", "new", 1_120_000),
        ],
        probes: probes.collect(),
        strikes: vec![Strike {
            fault: Fault {
                kind,
                region: region.to_owned(),
            },
            start: 1_000_500,
            end: 1_005_000,
        }],
        ..History::default()
    }
}

#[test]
fn what_another_region_answered_while_a_struck_provider_was_away_need_not_be_read() {
    let verdict = check(&back_before_the_next_probe(Kind::KillProvider, "fra"));
    assert_eq!(verdict.violations, []);
    assert_eq!(verdict.figures.own_reads, 1);
}

#[test]
fn a_read_of_an_older_value_is_noticed_when_nothing_struck_that_can_make_another_region_answer() {
    let mut well = back_before_the_next_probe(Kind::KillProvider, "fra");
    well.strikes.clear();
    assert_eq!(wrongs(&well), [Wrong::Stale]);
    let elsewhere = back_before_the_next_probe(Kind::KillProvider, "sin");
    assert_eq!(wrongs(&elsewhere), [Wrong::Stale]);
    let cut = back_before_the_next_probe(Kind::Cut, "fra");
    assert_eq!(wrongs(&cut), [Wrong::Stale]);
}

#[test]
fn a_read_of_an_older_value_is_noticed_before_a_strike_and_after_it() {
    let killed = || back_before_the_next_probe(Kind::KillProvider, "fra");
    let mut before = killed();
    before.ops[1].outcome = Outcome::Ok(None);
    assert_eq!(wrongs(&before), [Wrong::Stale]);
    // From the first probe on that fra answers again.
    let mut after = killed();
    after.ops.extend([
        set("newer", 1_100_500, 1_102_000),
        call(Call::Get, 1_800_000, 1_801_000, Some("new")),
    ]);
    after.ops.remove(3);
    after.views.push(view("sin", "newer", 1_180_000));
    assert_eq!(wrongs(&after), [Wrong::Stale]);
}

#[test]
fn visits_that_are_lost_or_doubled_are_noticed() {
    noticed(Wrong::Lost, |history| {
        let pages = history
            .visits
            .iter()
            .filter(|visit| visit.page.is_some())
            .count();
        let short = (pages as u64).checked_sub(1)?;
        for (_, counted) in &mut history.books.as_mut()?.counted {
            *counted = short;
        }
        Some(())
    });
    noticed(Wrong::Doubled, |history| {
        let books = history.books.as_mut()?;
        for (_, counted) in &mut books.counted {
            *counted = books.attempts + 1;
        }
        Some(())
    });
    noticed(Wrong::Differs, |history| {
        history.books.as_mut()?.counted.first_mut()?.1 += 1;
        Some(())
    });
}

#[test]
fn a_history_is_read_as_it_was_written() {
    let mut history = Model::run(7, STEPS);
    history.strikes = back_before_the_next_probe(Kind::KillRegion, "fra").strikes;
    let mut file = Vec::new();
    history.write(&mut file).unwrap();
    assert_eq!(History::read(file.as_slice()).unwrap(), history);
    assert!(History::read(&b"{\"op\":1}\n"[..]).is_err());
}
