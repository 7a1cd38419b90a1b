//! One fault after the other, under load through the edge.
//!
//! What every fault has to leave true: each acknowledged visit is counted, and nothing is counted
//! that nobody asked for. What each may cost the visitors is in its test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use e2e::door::Doors;
use e2e::ledger::{Load, Outcome};
use e2e::stage::{Running, Stage};
use e2e::wait::{seconds, until};
use lattice::edge;
use lattice::wan::Direction;

static STAGE: Stage = Stage::new("faults", "iad,fra,sin", 80);

/// How long a request may take where a fault costs no request at all.
const PROMPT: Duration = seconds(2);
/// How long any request may take. The edge answers within its deadline of 1.8 s, which keeps the
/// promise of 2 s; the rest is for two processors that run sixteen processes and all visitors.
const BOUNDED: Duration = Duration::from_millis(2500);
/// How soon a revived region has to serve again.
const REVIVED: Duration = seconds(20);

#[test]
fn a_killed_region_costs_no_visitor_a_request_and_serves_again_within_20_s() {
    STAGE.play(async |running| {
        let load = Load::start(running, 2).await;
        load.pages(5).await;
        running.lattice.kill("iad", None, false).await.unwrap();
        load.pages(15).await;
        assert!(
            !healthy(running, "iad").await,
            "the edge knows that the region is gone"
        );

        let asked = Instant::now();
        running.lattice.revive("iad", None).await.unwrap();
        assert!(
            asked.elapsed() < REVIVED,
            "revived after {:?}",
            asked.elapsed()
        );
        load.served("iad", "iad").await;
        load.pages(5).await;

        let ledger = load.finish(running).await;
        ledger.spotless(PROMPT);
        ledger.balanced();
    });
}

#[test]
fn a_killed_metadata_provider_costs_no_visitor_a_request() {
    STAGE.play(async |running| {
        let load = Load::start(running, 2).await;
        load.pages(5).await;
        let before = running.pid("fra", "kind-metadata").await.unwrap();
        running
            .lattice
            .kill("fra", Some("kind-metadata"), false)
            .await
            .unwrap();
        running.another("fra", "kind-metadata", before).await;
        load.pages(15).await;
        let ledger = load.finish(running).await;
        ledger.spotless(PROMPT);
        ledger.balanced();
    });
}

#[test]
fn a_killed_wadm_costs_no_visitor_a_request() {
    STAGE.play(async |running| {
        let load = Load::start(running, 2).await;
        load.pages(5).await;
        let before = running.pid("home", "wadm").await.unwrap();
        running
            .lattice
            .kill("home", Some("wadm"), false)
            .await
            .unwrap();
        running.another("home", "wadm", before).await;
        load.pages(15).await;
        let ledger = load.finish(running).await;
        ledger.spotless(PROMPT);
        ledger.balanced_by_region();
    });
}

#[test]
fn a_paused_region_is_passed_by_until_it_is_healed() {
    STAGE.play(async |running| {
        let load = Load::start(running, 2).await;
        load.pages(5).await;
        running.lattice.pause("sin", None).await.unwrap();
        load.pages(15).await;
        assert!(
            !healthy(running, "sin").await,
            "the edge knows that the region hangs"
        );
        running.lattice.heal(Some("sin")).await.unwrap();
        load.served("sin", "sin").await;
        load.pages(5).await;
        let ledger = load.finish(running).await;
        ledger.spotless(PROMPT);
        ledger.balanced();
    });
}

#[test]
fn a_killed_store_provider_is_back_by_itself_with_every_count() {
    STAGE.play(async |running| {
        let load = Load::start(running, 2).await;
        load.pages(5).await;
        let before = running.pid("home", "keyvalue-valkey").await.unwrap();
        running
            .lattice
            .kill("home", Some("keyvalue-valkey"), false)
            .await
            .unwrap();
        running.another("home", "keyvalue-valkey", before).await;
        load.pages(10).await;
        let ledger = load.finish(running).await;
        ledger.civil(BOUNDED);
        ledger.balanced_by_region();
    });
}

#[test]
fn a_killed_store_means_503_until_it_is_back_by_itself_with_every_count() {
    STAGE.play(async |running| {
        let load = Load::start(running, 2).await;
        load.pages(5).await;
        // Held, so that visitors see what it is to be without a store.
        running
            .lattice
            .kill("home", Some("valkey"), true)
            .await
            .unwrap();
        refused(&load).await;
        let page = reqwest::get(running.lattice.url()).await.unwrap();
        assert_eq!(page.status(), 503);
        assert!(page.headers().contains_key("retry-after"));
        assert!(
            page.text().await.unwrap().contains("<html"),
            "the refusal is a page too"
        );
        running
            .lattice
            .revive("home", Some("valkey"))
            .await
            .unwrap();
        load.pages(10).await;
        let ledger = load.finish(running).await;
        ledger.civil(BOUNDED);
        ledger.balanced_by_region();

        // And once more as a crash, which nobody mends but the supervision.
        let load = Load::start(running, 2).await;
        load.pages(5).await;
        let before = running.pid("home", "valkey").await.unwrap();
        running
            .lattice
            .kill("home", Some("valkey"), false)
            .await
            .unwrap();
        running.another("home", "valkey", before).await;
        load.pages(10).await;
        let ledger = load.finish(running).await;
        ledger.civil(BOUNDED);
        ledger.balanced_by_region();
    });
}

#[test]
fn a_killed_hub_comes_back_and_what_is_deployed_afterwards_takes_effect() {
    STAGE.play(async |running| {
        let load = Load::start(running, 2).await;
        load.pages(5).await;
        let before = running.pid("home", "hub").await.unwrap();
        running
            .lattice
            .kill("home", Some("hub"), false)
            .await
            .unwrap();
        running.another("home", "hub", before).await;
        load.pages(10).await;
        healed(running).await;
        load.pages(5).await;
        let ledger = load.finish(running).await;
        ledger.civil(BOUNDED);
        ledger.balanced_by_region();

        running.whole().await;
        takes_effect(running, "hub").await;
    });
}

#[test]
fn a_region_that_was_cut_off_is_passed_by_and_hears_what_is_deployed_after_the_heal() {
    STAGE.play(async |running| {
        let load = Load::start(running, 2).await;
        load.pages(5).await;
        running.lattice.cut("fra", Direction::Both).unwrap();
        // Its own host goes on, but it cannot reach the store: others serve its visitors.
        load.served("fra", "iad").await;
        load.pages(10).await;
        running.lattice.heal(Some("fra")).await.unwrap();
        healed(running).await;
        load.served("fra", "fra").await;
        let ledger = load.finish(running).await;
        ledger.civil(BOUNDED);
        ledger.balanced();

        running.whole().await;
        takes_effect(running, "cut").await;
    });
}

/// Waits until visitors are refused.
async fn refused(load: &Load) {
    let from = load.entries().len();
    until("a refusal", seconds(30), || async {
        let refused = |entry: &e2e::ledger::Entry| matches!(entry.outcome, Outcome::Refused { .. });
        let entries = load.entries();
        entries[from..]
            .iter()
            .any(refused)
            .then_some(())
            .ok_or("pages only".to_owned())
    })
    .await;
}

/// Waits until the supervision has begun to restart hosts, and has finished.
async fn healed(running: &Running) {
    let doing = || async { running.status().await.healing };
    until("the begin of the rolling restart", seconds(30), || async {
        doing()
            .await
            .map(|_| ())
            .ok_or("nothing is restarted".to_owned())
    })
    .await;
    until("the end of the rolling restart", seconds(120), || async {
        doing().await.map_or(Ok(()), Err)
    })
    .await;
}

/// A change deployed now reaches every host: each edge region opens a new door, and home looks at
/// another database, in which nothing is counted yet.
async fn takes_effect(running: &Running, name: &str) {
    let kept = running.counts().await.visits;
    assert!(kept > 0);
    let doors = Doors::deploy(running, &format!("{name}-1"), 1).await;
    doors.all_open().await;
    until("another database at home", seconds(60), || async {
        let visits = running.counts().await.visits;
        (visits == 0)
            .then_some(())
            .ok_or(format!("{visits} visits"))
    })
    .await;
    // And back: nothing was lost meanwhile.
    let _doors = Doors::deploy(running, &format!("{name}-2"), 0).await;
    until("the first database at home", seconds(60), || async {
        let visits = running.counts().await.visits;
        (visits == kept)
            .then_some(())
            .ok_or(format!("{visits} visits instead of {kept}"))
    })
    .await;
}

async fn healthy(running: &Running, region: &str) -> bool {
    let regions = running.status().await.edge.regions;
    let found = regions.iter().find(|known| known.region == region).unwrap();
    found.state == edge::RegionState::Healthy
}
