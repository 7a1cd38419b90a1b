//! One fault after the other, under load through the edge.
//!
//! What every fault has to leave true: each acknowledged visit is counted, and nothing is counted
//! that nobody asked for. What each may cost the visitors is in its test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use e2e::door::Doors;
use e2e::ledger::{Load, BOUND};
use e2e::stage::{Running, Stage};
use e2e::wait::{seconds, until};
use lattice::edge;
use lattice::wan::Direction;

static STAGE: Stage = Stage::new("faults", "iad,fra,sin", 80);

/// How soon a revived region has to serve again.
const REVIVED: Duration = seconds(20);

#[test]
fn a_killed_region_costs_no_visitor_a_request_and_serves_again_within_20_s() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            running.lattice.kill("iad", None, false).await.unwrap();
            load.pages(15).await;
            passed_by(running, "iad").await;

            let asked = Instant::now();
            running.lattice.revive("iad", None).await.unwrap();
            assert!(
                asked.elapsed() < REVIVED,
                "revived after {:?}",
                asked.elapsed()
            );
            load.served("iad", "iad").await;
            load.pages(5).await;
        })
        .await;
        ledger.spotless(BOUND);
        ledger.balanced();
    });
}

#[test]
fn a_killed_metadata_provider_costs_no_visitor_a_request() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            running.crash("fra", "kind-metadata").await;
            load.pages(15).await;
        })
        .await;
        ledger.spotless(BOUND);
        ledger.balanced();
    });
}

#[test]
fn a_killed_wadm_costs_no_visitor_a_request() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            running.crash("home", "wadm").await;
            load.pages(15).await;
        })
        .await;
        ledger.spotless(BOUND);
        ledger.balanced_by_region();
    });
}

#[test]
fn a_paused_region_is_passed_by_until_it_is_healed() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            running.lattice.pause("sin", None).await.unwrap();
            passed_by(running, "sin").await;
            load.pages(15).await;
            running.lattice.heal(Some("sin")).await.unwrap();
            load.served("sin", "sin").await;
            load.pages(5).await;
        })
        .await;
        ledger.spotless(BOUND);
        ledger.balanced();
    });
}

#[test]
fn a_killed_store_provider_costs_no_visitor_a_request() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            running.crash("fra", "keyvalue-valkey").await;
            load.pages(15).await;
            load.served("fra", "fra").await;
        })
        .await;
        ledger.spotless(BOUND);
        ledger.balanced_by_region();
    });
}

#[test]
fn a_killed_store_costs_no_visitor_a_request_and_catches_up() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            // Held: other regions' stores serve, and this one misses what they count.
            let killed = running.lattice.kill("sin", Some("valkey"), true).await;
            killed.unwrap();
            load.pages(20).await;
            until("sin being missed", seconds(30), || async {
                match running.in_step().await {
                    Err(missing) if missing.contains("sin") => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
            let revived = running.lattice.revive("sin", Some("valkey")).await;
            revived.unwrap();
            load.served("sin", "sin").await;
            load.pages(5).await;
        })
        .await;
        ledger.spotless(BOUND);
        ledger.balanced_by_region();

        // And once more as a crash, which nobody mends but the supervision.
        let ledger = Load::during(running, async |load| {
            running.crash("iad", "valkey").await;
            load.pages(15).await;
        })
        .await;
        ledger.spotless(BOUND);
        ledger.balanced_by_region();
    });
}

#[test]
fn a_killed_hub_comes_back_and_what_is_deployed_afterwards_takes_effect() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            let hosts = running.hosts(None);
            running.crash("home", "hub").await;
            load.pages(10).await;
            running.restarted(&hosts).await;
            load.pages(5).await;
        })
        .await;
        ledger.spotless(BOUND);
        // A host that is restarted runs its component before its metadata provider.
        ledger.balanced();

        running.whole().await;
        takes_effect(running, "hub").await;
    });
}

#[test]
fn without_a_hub_every_region_goes_on_alone_and_all_agree_afterwards() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            let hosts = running.hosts(None);
            let killed = running.lattice.kill("home", None, false).await;
            killed.unwrap();
            // Each by itself.
            load.pages(20).await;
            for region in running.regions() {
                load.served(&region, &region).await;
            }
            assert!(running.in_step().await.is_err());
            running.lattice.revive("home", None).await.unwrap();
            load.pages(10).await;
            running.restarted(&hosts).await;
            load.pages(5).await;
        })
        .await;
        ledger.spotless(BOUND);
        ledger.balanced();
    });
}

#[test]
fn a_region_that_was_cut_off_goes_on_and_hears_what_is_deployed_after_the_heal() {
    STAGE.play(async |running| {
        let ledger = Load::during(running, async |load| {
            let host = running.hosts(Some("fra"));
            running.lattice.cut("fra", Direction::Both).unwrap();
            until("fra being missed at home", seconds(30), || async {
                let status = running.status().await;
                let home = status.regions[0].replication.as_ref().ok_or("no status")?;
                let fra = home.peers.iter().find(|peer| peer.region.as_str() == "fra");
                match fra {
                    Some(fra) if !fra.live => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
            load.served("fra", "fra").await;
            load.pages(10).await;
            running.lattice.heal(Some("fra")).await.unwrap();
            running.restarted(&host).await;
            load.served("fra", "fra").await;
        })
        .await;
        ledger.spotless(BOUND);
        ledger.balanced();

        running.whole().await;
        takes_effect(running, "cut").await;
    });
}

/// A change deployed now reaches every host: each edge region opens a new door, and the stores are
/// other databases, in which nothing is counted yet.
async fn takes_effect(running: &Running, name: &str) {
    let kept = running.counts().await.visits;
    assert!(kept > 0);
    let doors = Doors::deploy(running, &format!("{name}-1"), 1).await;
    doors.all_open().await;
    visits_everywhere(running, 0).await;
    // And back: nothing was lost meanwhile.
    let _doors = Doors::deploy(running, &format!("{name}-2"), 0).await;
    visits_everywhere(running, kept).await;
}

/// Waits until every region, for itself, tells this many visits.
async fn visits_everywhere(running: &Running, wanted: u64) {
    until(
        &format!("{wanted} visits everywhere"),
        seconds(60),
        || async {
            for region in running.regions() {
                let visits = running.ask(&region).await?.visits;
                if visits != wanted {
                    return Err(format!("{visits} visits in {region}"));
                }
            }
            Ok(())
        },
    )
    .await;
}

/// Waits until the edge no longer takes a region for healthy.
async fn passed_by(running: &Running, region: &str) {
    until(
        &format!("the edge passing by {region}"),
        seconds(30),
        || async {
            let regions = running.status().await.edge.regions;
            let found = regions.iter().find(|known| known.region == region).unwrap();
            (found.state != edge::RegionState::Healthy)
                .then_some(())
                .ok_or("not yet".to_owned())
        },
    )
    .await;
}
