//! Regions that hear each other one way, not at all, through a third one, or again after too long: provider
//! processes, each region with a Valkey and a NATS of its own, and ways in between that the test closes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/site.rs"]
mod site;
mod support;
#[path = "support/wan.rs"]
mod wan;

use std::time::Duration;

use site::{digests_agree, in_step, owned, Site};
use support::eventually;
use support::region::SOON;
use wan::Wan;

/// Digests are compared often.
const OFTEN: (&str, &str) = ("digest_s", "1");

/// Stamps count milliseconds; within one the region's name decides.
async fn a_later_millisecond() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Waits until a region takes another one for gone, or back.
async fn sees(site: &Site, region: &str, what: &str, wanted: bool) {
    eventually(&format!("{region}: {what} is {wanted}"), SOON, || async {
        let status = site.status().await;
        let peers = status["peers"].as_array().cloned().unwrap_or_default();
        peers
            .iter()
            .any(|peer| peer["region"] == region && peer[what] == wanted)
    })
    .await;
}

/// Waits until a region says that another one has been late for such a time, in milliseconds.
async fn lags(site: &Site, region: &str, wanted: std::ops::RangeInclusive<u64>) {
    let what = format!("{region} lags by {wanted:?} ms");
    eventually(&what, SOON, || async {
        let status = site.status().await;
        let peers = status["peers"].as_array().cloned().unwrap_or_default();
        let peer = peers.into_iter().find(|peer| peer["region"] == region);
        let lag = peer.and_then(|peer| peer["behind_ms"].as_u64());
        lag.is_some_and(|lag| wanted.contains(&lag))
    })
    .await;
}

#[tokio::test]
async fn a_region_that_is_not_heard_still_hears_and_after_the_heal_nothing_is_missing() {
    let ([near, far], wan) = Wan::between(["iad", "fra"]).await;
    let iad = Site::start(&near, "iad", &[OFTEN]).await;
    let fra = Site::start(&far, "fra", &[OFTEN]).await;
    iad.count("k", 1).await;
    fra.set("text", "before").await;
    assert_eq!(
        in_step(&[&iad, &fra]).await,
        owned([("k", "1"), ("text", "before")])
    );

    // What iad says does not arrive; what fra says does.
    wan.close("iad", "fra");
    sees(&fra, "iad", "live", false).await;
    iad.count("k", 50).await;
    fra.count("k", 30).await;
    fra.set("text", "fra").await;
    iad.shows("k", "81").await;
    iad.shows("text", "fra").await;
    // It saw fra's value, so this one is the later.
    iad.set("text", "iad").await;
    assert_eq!(fra.get("default", "k").await.as_deref(), Some("31"));
    assert_eq!(fra.get("default", "text").await.as_deref(), Some("fra"));
    let lost = wan.heal();
    assert!(lost > 0, "the cut lost nothing");
    assert_eq!(
        in_step(&[&iad, &fra]).await,
        owned([("k", "81"), ("text", "iad")])
    );

    // Now neither hears the other.
    wan.part("iad", "fra");
    sees(&fra, "iad", "live", false).await;
    sees(&iad, "fra", "live", false).await;
    tokio::join!(iad.count("k", 50), fra.count("k", 50));
    fra.delete("text").await;
    iad.set("only here", "1").await;
    iad.set("clash", "iad").await;
    a_later_millisecond().await;
    fra.set("clash", "fra").await;
    assert_eq!(iad.get("default", "k").await.as_deref(), Some("131"));
    assert_eq!(fra.get("default", "k").await.as_deref(), Some("131"));
    lags(&iad, "fra", 1_000..=u64::MAX).await;
    lags(&fra, "iad", 1_000..=u64::MAX).await;
    let lost = wan.heal();
    assert!(lost > 0, "the cut lost nothing");
    assert_eq!(
        in_step(&[&iad, &fra]).await,
        owned([("clash", "fra"), ("k", "181"), ("only here", "1")])
    );
    digests_agree(&[&iad, &fra]).await;
    resolved(&[&iad, &fra], "clash", "fra", "iad").await;
    lags(&iad, "fra", 0..=0).await;
    lags(&fra, "iad", 0..=0).await;
}

/// Waits until one of them lists the conflict of two regions' writes of a key, and with which of them it went on.
/// Whoever heard of it first tells: what it then passes on has seen both. Its status is as old as a second.
async fn resolved(sites: &[&Site], key: &str, winner: &str, loser: &str) {
    eventually(&format!("a conflict of {key} is listed"), SOON, || async {
        let told = futures::future::join_all(sites.iter().map(|site| site.status())).await;
        let Some(conflict) = told.iter().find_map(|status| listed(status, key)) else {
            return false;
        };
        for (stamp, region) in [("winner", winner), ("loser", loser)] {
            let stamp = &conflict[stamp];
            assert_eq!(stamp["author"]["region"], region, "{conflict}");
            assert!(stamp["at"]["wall_ms"].as_u64() > Some(0), "{conflict}");
        }
        true
    })
    .await;
}

/// A key's conflict in a status, which counts it.
fn listed<'a>(status: &'a serde_json::Value, key: &str) -> Option<&'a serde_json::Value> {
    let conflicts = status["conflicts"].as_array()?;
    let conflict = conflicts.iter().find(|conflict| conflict["key"] == key)?;
    assert!(status["conflict_count"].as_u64() >= Some(1), "{status}");
    Some(conflict)
}

#[tokio::test]
async fn a_value_that_was_changed_past_the_provider_is_noticed_and_repaired() {
    let ([near, far], _wan) = Wan::between(["iad", "fra"]).await;
    let iad = Site::start(&near, "iad", &[OFTEN]).await;
    let fra = Site::start(&far, "fra", &[OFTEN]).await;
    iad.set("text", "sound").await;
    let sound = owned([("text", "sound")]);
    assert_eq!(in_step(&[&iad, &fra]).await, sound);
    digests_agree(&[&iad, &fra]).await;

    let mut admin = iad.valkey.admin().await;
    let () = redis::cmd("SET")
        .arg("text")
        .arg("damaged")
        .query_async(&mut admin)
        .await
        .unwrap();
    eventually("it is noticed", SOON, || async {
        let log = iad.log() + &fra.log();
        log.contains("do not hold the same and send each other everything")
    })
    .await;
    iad.shows("text", "sound").await;
    // Whoever noticed it looks again.
    eventually("it is repaired", SOON, || async {
        let log = iad.log() + &fra.log();
        log.contains("both regions hold the same again")
    })
    .await;
    assert_eq!(in_step(&[&iad, &fra]).await, sound);
}

#[tokio::test]
async fn regions_that_see_each_other_only_through_a_third_one_are_in_step() {
    let ([one, two, three], wan) = Wan::between(["iad", "fra", "sin"]).await;
    wan.part("iad", "sin");
    let iad = Site::start(&one, "iad", &[OFTEN]).await;
    let fra = Site::start(&two, "fra", &[OFTEN]).await;
    let sin = Site::start(&three, "sin", &[OFTEN]).await;
    let (left, right) = (iad.count("k", 100), sin.count("k", 100));
    tokio::join!(left, right, fra.count("k", 100));
    iad.set("from iad", "1").await;
    sin.shows("from iad", "1").await;
    // A write that has seen another region's wins over it there, too.
    sin.set("from iad", "seen in sin").await;
    iad.shows("from iad", "seen in sin").await;
    iad.delete("from iad").await;
    let wanted = owned([("k", "300")]);
    assert_eq!(in_step(&[&iad, &fra, &sin]).await, wanted);
    for (site, other) in [(&iad, "sin"), (&sin, "iad")] {
        sees(site, "fra", "live", true).await;
        eventually("who is heard, and who is not", SOON, || async {
            let status = site.status().await;
            let heard = |peer: &serde_json::Value| peer["region"] == other && peer["live"] == true;
            let peers = status["peers"].as_array();
            peers.is_some_and(|peers| !peers.is_empty() && !peers.iter().any(heard))
        })
        .await;
    }
    assert!(wan.heal() > 0, "the cut lost nothing");
    iad.count("k", 1).await;
    assert_eq!(in_step(&[&iad, &fra, &sin]).await["k"], "301");
    digests_agree(&[&iad, &fra, &sin]).await;
}

#[tokio::test]
async fn a_member_away_for_too_long_is_evicted_and_comes_back_with_what_it_wrote() {
    let ([one, two, three], wan) = Wan::between(["iad", "fra", "sin"]).await;
    let short = [OFTEN, ("retention_s", "10"), ("tombstone_s", "1")];
    let iad = Site::start(&one, "iad", &short).await;
    let fra = Site::start(&two, "fra", &short).await;
    let sin = Site::start(&three, "sin", &short).await;
    for key in ["deleted while away", "deleted, and set there", "stays"] {
        iad.set(key, "old").await;
    }
    tokio::join!(iad.count("k", 10), sin.count("k", 10));
    assert_eq!(in_step(&[&iad, &fra, &sin]).await["k"], "20");

    wan.isolate("sin");
    sees(&iad, "sin", "live", false).await;
    // Older than the delete of it, of which sin cannot know.
    sin.set("deleted while away", "changed in sin").await;
    a_later_millisecond().await;
    iad.delete("deleted while away").await;
    iad.delete("deleted, and set there").await;
    fra.delete("k").await;
    iad.count("k", 5).await;
    sin.count("k", 7).await;
    sin.set("of sin alone", "1").await;
    for site in [&iad, &fra] {
        sees(site, "sin", "evicted", true).await;
        assert!(site.log().contains("was silent for too long"));
        // The health is told after the status.
        eventually("the health says so", SOON, || async {
            site.health().await.contains("sin was silent for too long")
        })
        .await;
    }
    // The others go on without it, and clear away what they need not keep.
    iad.set("short-lived", "1").await;
    iad.delete("short-lived").await;
    // Later than the delete of it.
    sin.set("deleted, and set there", "new").await;
    let without = owned([("k", "5"), ("stays", "old")]);
    assert_eq!(in_step(&[&iad, &fra]).await, without);

    wan.heal();
    // The delete had seen 20 of the counts; 5 and 7 it had not seen.
    let wanted = owned([
        ("deleted, and set there", "new"),
        ("k", "12"),
        ("of sin alone", "1"),
        ("stays", "old"),
    ]);
    for site in [&iad, &fra] {
        sees(site, "sin", "evicted", false).await;
    }
    assert_eq!(in_step(&[&iad, &fra, &sin]).await, wanted);
    digests_agree(&[&iad, &fra, &sin]).await;
    tombstones_go(&[&iad, &fra, &sin]).await;
    assert_eq!(in_step(&[&iad, &fra, &sin]).await, wanted);
    sin.count("k", 1).await;
    assert_eq!(in_step(&[&iad, &fra, &sin]).await["k"], "13");
}

/// Waits until nobody remembers a delete any more.
async fn tombstones_go(sites: &[&Site]) {
    let start = std::time::Instant::now();
    for site in sites {
        eventually("tombstones are collected", SOON, || async {
            let mut admin = site.valkey.admin().await;
            let held: u64 = redis::cmd("HLEN")
                .arg("@kv/r/meta")
                .query_async(&mut admin)
                .await
                .unwrap();
            // What is visible has metadata, and nothing else has.
            held == u64::try_from(site.visible().await.len()).unwrap()
        })
        .await;
    }
    println!("tombstones are gone after {:?}", start.elapsed());
}
