//! The first topology, `--single-store`: all data in one Valkey at home, behind the hub.
//!
//! What it promises when that is away: a clear refusal, soon, and every acknowledged count
//! afterwards. What else may fail is in `faults.rs`, where it costs nobody a request.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use e2e::ledger::{Load, Outcome, BOUND};
use e2e::stage::{Running, Stage};
use e2e::wait::{seconds, until};
use lattice::wan::Direction;

static STAGE: Stage = Stage::single_store("single-store", "iad,fra", 80);

#[test]
fn a_killed_store_provider_is_back_by_itself_with_every_count() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            running.crash("home", "keyvalue-valkey").await;
            load.pages(10).await;
        })
        .await;
        ledger.civil(BOUND);
        ledger.balanced_by_region();
    });
}

#[test]
fn a_killed_store_means_503_until_it_is_back_by_itself_with_every_count() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            // Held, so that visitors see what it is to be without a store.
            running
                .lattice
                .kill("home", Some("valkey"), true)
                .await
                .unwrap();
            refused(load).await;
            unavailable(running).await;
            running
                .lattice
                .revive("home", Some("valkey"))
                .await
                .unwrap();
            load.pages(10).await;
        })
        .await;
        ledger.civil(BOUND);
        ledger.balanced_by_region();

        // And once more as a crash, which nobody mends but the supervision.
        let ledger = Load::during(running, async |load| {
            running.crash("home", "valkey").await;
            load.pages(10).await;
        })
        .await;
        ledger.civil(BOUND);
        ledger.balanced_by_region();
    });
}

#[test]
fn a_hub_that_stays_dead_means_503_until_it_is_revived_with_every_count() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            let hosts = running.hosts(None);
            // In this topology the way to the store leads through the hub.
            running
                .lattice
                .kill("home", Some("hub"), true)
                .await
                .unwrap();
            refused(load).await;
            unavailable(running).await;
            load.answers(60).await;
            unavailable(running).await;
            running.lattice.revive("home", Some("hub")).await.unwrap();
            load.pages(10).await;
            running.restarted(&hosts).await;
            load.pages(5).await;
        })
        .await;
        ledger.civil(BOUND);
        ledger.balanced_by_region();
    });
}

#[test]
fn a_crashed_hub_means_503_until_it_is_back_by_itself_with_every_count() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            let hosts = running.hosts(None);
            running.crash("home", "hub").await;
            load.pages(10).await;
            running.restarted(&hosts).await;
            load.pages(5).await;
        })
        .await;
        ledger.civil(BOUND);
        // A host that is restarted runs its component before its metadata provider.
        ledger.balanced();
    });
}

#[test]
fn what_holds_no_data_may_die_and_costs_no_visitor_a_request() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            running.lattice.kill("fra", None, false).await.unwrap();
            load.served("fra", "iad").await;
            load.pages(10).await;
            running.lattice.revive("fra", None).await.unwrap();
            load.served("fra", "fra").await;
            running.crash("iad", "kind-metadata").await;
            load.pages(10).await;
            running.crash("home", "wadm").await;
            load.pages(10).await;
        })
        .await;
        ledger.spotless(BOUND);
        ledger.balanced();
    });
}

#[test]
fn a_region_that_was_cut_off_costs_no_visitor_a_request_and_serves_again_after_the_heal() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            let host = running.hosts(Some("fra"));
            running.lattice.cut("fra", Direction::Both).unwrap();
            // Its own visitors are answered by the other region.
            load.served("fra", "iad").await;
            load.pages(10).await;
            running.lattice.heal(Some("fra")).await.unwrap();
            running.restarted(&host).await;
            load.served("fra", "fra").await;
            load.pages(5).await;
        })
        .await;
        ledger.spotless(BOUND);
        ledger.balanced();
    });
}

#[test]
fn only_home_has_a_store_and_nothing_replicates() {
    STAGE.play(async |running| {
        let status = running.status().await;
        for region in &status.regions {
            assert_eq!(region.valkey_port.is_some(), region.name == "home");
            assert_eq!(region.replication, None, "{}", region.name);
        }
        let told = reqwest::get(format!("{}/api/replication", running.lattice.url())).await;
        let told: serde_json::Value = told.unwrap().json().await.unwrap();
        assert_eq!(told["mode"], "plain", "{told}");
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

/// The edge says in a page of its own that there is no store, and when to come back.
async fn unavailable(running: &Running) {
    let page = reqwest::get(running.lattice.url()).await.unwrap();
    assert_eq!(page.status(), 503);
    assert_eq!(page.headers()["x-served-by"], "edge");
    assert!(page.headers().contains_key("retry-after"));
    assert!(
        page.text().await.unwrap().contains("<html"),
        "the refusal is a page too"
    );
}
