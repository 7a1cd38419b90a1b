//! What a run's report says: costs, proofs, and whether the run was worth anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)] // each file of tests uses a part
mod model;

use chaos::fault::{Fault, Kind};
use chaos::history::{Call, History, Micros, Op, Outcome, View, Visit};
use chaos::html;
use chaos::measure::{self, Window};
use chaos::report::{Asked, Ending, Report};
use chaos::round::{judge, Happened, Struck};
use model::Model;

const SECOND: Micros = 1_000_000;
const WINDOW: Window = Window {
    begin: 10 * SECOND,
    end: 15 * SECOND,
    healed: 20 * SECOND,
};

fn set(region: &str, at: Micros, value: &str) -> Op {
    Op {
        client: format!("{region}-0"),
        region: region.to_owned(),
        key: format!("own/{region}-0/0"),
        call: Call::Set(value.to_owned()),
        start: at - 1_000,
        end: at,
        outcome: Outcome::Ok(None),
    }
}

fn seen(region: &str, of: &str, at: Micros, value: &str) -> View {
    View {
        region: region.to_owned(),
        key: format!("own/{of}-0/0"),
        value: Some(value.to_owned()),
        at,
    }
}

/// Two regions whose clients write ten times a second but for `(region, from, to)`; what they write is seen at once
/// at home, and in the other region `late` after.
fn history(silent: (&str, Micros, Micros), late: impl Fn(Micros) -> Micros) -> History {
    let mut history = History {
        regions: vec!["fra".to_owned(), "iad".to_owned()],
        ..History::default()
    };
    for (region, other) in [("fra", "iad"), ("iad", "fra")] {
        for tenth in 1..250 {
            let at = tenth * SECOND / 10;
            if region == silent.0 && (silent.1..silent.2).contains(&at) {
                continue;
            }
            let value = format!("{region}.{tenth}");
            history.ops.push(set(region, at, &value));
            history.views.push(seen(region, region, at, &value));
            history.views.push(seen(other, region, late(at), &value));
        }
        for second in 1..25 {
            history.visits.push(Visit {
                home: region.to_owned(),
                start: second * SECOND,
                end: second * SECOND + 300_000,
                page: Some(region.to_owned()),
                failure: None,
            });
        }
    }
    history.views.sort_by_key(|view| view.at);
    history
}

fn round(kind: Kind, region: &str, evidence: Option<&str>) -> Happened {
    Happened {
        number: 1,
        struck: vec![Struck {
            fault: Fault {
                kind,
                region: region.to_owned(),
            },
            at: WINDOW.begin,
            evidence: evidence.map(str::to_owned),
        }],
        window: WINDOW,
        error: None,
    }
}

/// On the other side soon, but nothing crosses from the begin of the fault until a second after it is mended.
fn held(at: Micros) -> Micros {
    let soon = at + 50_000;
    if at < WINDOW.begin {
        soon
    } else {
        soon.max(WINDOW.end + SECOND)
    }
}

#[test]
fn a_gap_is_the_longest_time_without_a_good_answer() {
    let history = history(("fra", 11 * SECOND, 14 * SECOND), |at| at);
    let costs = measure::of_the_store(&history, &WINDOW);
    assert_eq!(costs["fra"].gap_ms, 3_100);
    assert_eq!(costs["iad"].gap_ms, 100);
    assert!(costs["fra"].ok_during < costs["iad"].ok_during);
    let pages = measure::of_the_page(&history, &WINDOW);
    assert_eq!(pages["fra"].gap_ms, 1_000);
    assert_eq!(measure::slowest_page_ms(&history, &WINDOW), 300);
}

#[test]
fn a_group_that_is_silent_to_the_end_has_a_gap_to_the_end() {
    let history = history(("fra", 11 * SECOND, 30 * SECOND), |at| at);
    let costs = measure::of_the_store(&history, &WINDOW);
    assert_eq!(costs["fra"].gap_ms, 9_100);
}

#[test]
fn regions_have_converged_when_all_that_was_acknowledged_before_was_seen_everywhere() {
    let history = history(("-", 0, 0), held);
    assert_eq!(measure::converged_ms(&history, &WINDOW), Some(1_000));
    assert!(measure::held_back(&history, "fra", &WINDOW) > 50);
    let mut never = history.clone();
    never
        .views
        .retain(|view| view.region == "iad" || view.at < WINDOW.begin);
    assert_eq!(measure::converged_ms(&never, &WINDOW), None);
}

#[test]
fn a_fault_that_nothing_shows_proves_nothing() {
    let history = history(("-", 0, 0), held);
    let shown = round(Kind::KillProvider, "fra", Some("another process"));
    assert_eq!(judge(shown, &history).vacuous, Vec::<String>::new());
    let not_shown = judge(round(Kind::KillProvider, "fra", None), &history);
    assert_eq!(not_shown.vacuous.len(), 1, "{:?}", not_shown.vacuous);
}

#[test]
fn a_cut_that_kept_nothing_from_crossing_proves_nothing() {
    let evidence = Some("bytes lost");
    let cut = judge(
        round(Kind::Cut, "fra", evidence),
        &history(("-", 0, 0), held),
    );
    assert_eq!(cut.vacuous, Vec::<String>::new());
    assert!(cut.held_back > 50);
    let crossing = history(("-", 0, 0), |at| at + 50_000);
    let cut = judge(round(Kind::Cut, "fra", evidence), &crossing);
    assert_eq!(cut.vacuous.len(), 1, "{:?}", cut.vacuous);
}

#[test]
fn a_region_that_was_not_struck_has_to_go_on() {
    let idle = history(("iad", 10 * SECOND, 15 * SECOND), held);
    let elsewhere = judge(
        round(Kind::KillRegion, "fra", Some("other processes")),
        &idle,
    );
    assert_eq!(elsewhere.vacuous.len(), 1, "{:?}", elsewhere.vacuous);
    let itself = judge(
        round(Kind::KillRegion, "iad", Some("other processes")),
        &idle,
    );
    assert_eq!(itself.vacuous, Vec::<String>::new());
    // The hub is nobody's region: everybody has to go on.
    let hub = judge(round(Kind::KillHub, "home", Some("another process")), &idle);
    assert_eq!(hub.vacuous.len(), 1, "{:?}", hub.vacuous);
}

#[test]
fn a_report_names_every_fault_and_shows_what_is_wrong() {
    let asked = Asked {
        seed: 7,
        ..Asked::default()
    };
    let history = Model::run(7, 250);
    let happened = vec![round(Kind::KillValkey, "iad", Some("valkey 1 → <2>"))];
    let report = Report::new(asked.clone(), happened, Ending::default(), &history);
    let page = html::page(&report);
    assert!(page.contains("kill the Valkey of iad"));
    assert!(page.contains("valkey 1 → &lt;2&gt;") && !page.contains("<2>"));
    assert_eq!(page.matches("<svg").count(), 1);
    assert!(page.contains("--seed 7"));
    assert_eq!((report.lost, report.doubled), (0, 0));

    let mut wrong = history;
    for last in wrong.last.iter_mut().filter(|last| last.key == "count/0") {
        last.value = Some("1".to_owned());
    }
    let report = Report::new(asked, Vec::new(), Ending::default(), &wrong);
    assert!(!report.passed && report.lost > 0);
    assert!(html::page(&report).contains("Lost: count/0"));
    assert!(report.vacuous.contains(&"no fault was tried".to_owned()));
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}
