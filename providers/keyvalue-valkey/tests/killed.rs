//! Providers that are killed between two steps of a write, of an adoption and of a join: real processes, with a proxy
//! of the test's own before Valkey that stops everything at that point.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/cutter.rs"]
mod cutter;
#[path = "support/site.rs"]
mod site;
mod support;
#[path = "support/wan.rs"]
#[allow(dead_code)] // this binary uses its own part
mod wan;

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use cutter::{Cutter, Point};
use nix::libc::SIGKILL;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use provider_harness::NatsServer;
use redis::AsyncCommands as _;
use site::{digests_agree, in_step, Site, Went};
use support::region::SOON;
use support::{eventually, Server};
use wan::Wan;

/// Digests are compared often.
const OFTEN: (&str, &str) = ("digest_s", "1");
/// No other command contains it.
const KEY: &str = "unlucky";
/// Strings of a store that is adopted or joined: many steps' worth.
const STRINGS: usize = 6_000;
/// Where the steps' names stand among the arguments of their commands.
const ADOPT: &str = "\r\n$5\r\nadopt\r\n";
const COMMIT: &str = "\r\n$6\r\ncommit\r\n";

#[derive(Clone, Copy, Debug)]
enum Write {
    Increment,
    Set,
}

impl Write {
    const ALL: [Self; 2] = [Self::Increment, Self::Set];

    /// Writes; where nobody was there to ask (as when Valkey was late with a PING), again.
    async fn of(self, site: &Site) -> Went {
        let give_up = Instant::now() + SOON;
        loop {
            let went = self.once(site).await;
            if went != Went::Nobody || Instant::now() > give_up {
                return went;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn once(self, site: &Site) -> Went {
        match self {
            Self::Increment => site.increment(KEY).await,
            Self::Set => site.set_once(KEY, self.value()).await,
        }
    }

    /// What is there when it was carried out once.
    fn value(self) -> &'static str {
        match self {
            Self::Increment => "1",
            Self::Set => "set",
        }
    }
}

/// Two regions, one of them behind a cutter, which are in step.
struct Pair {
    iad: Site,
    fra: Site,
    cutter: Cutter,
    /// What carries between them, too.
    wan: Wan,
    _nats: [NatsServer; 2],
}

impl Pair {
    async fn start() -> Self {
        let (nats, wan) = Wan::between(["iad", "fra"]).await;
        let valkey = Server::start();
        let cutter = Cutter::before(valkey.port).await;
        let url = cutter.url();
        // The caller loses its patience first, whatever stands still.
        let patient = ("timeout_ms", "10000");
        let iad = Site::start_over(
            valkey,
            &nats[0],
            "iad",
            &[("url", url.as_str()), patient, OFTEN],
        )
        .await;
        iad.serves().await;
        let fra = Site::start(&nats[1], "fra", &[OFTEN]).await;
        iad.set("of iad", "1").await;
        fra.set("of fra", "1").await;
        in_step(&[&iad, &fra]).await;
        Self {
            iad,
            fra,
            cutter,
            wan,
            _nats: nats,
        }
    }

    /// Another instance goes on; in the end both regions show this, and nothing else that was not there before.
    async fn goes_on(mut self, wanted: Option<&str>) {
        killed(&mut self.iad).await;
        self.cutter.open();
        self.iad.add_provider().await;
        let (iad, fra) = (&self.iad, &self.fra);
        digests_agree(&[iad, fra]).await;
        let mut shown = in_step(&[iad, fra]).await;
        assert_eq!(shown.remove(KEY).as_deref(), wanted);
        assert_eq!(shown, site::owned([("of fra", "1"), ("of iad", "1")]));
    }
}

/// A SIGKILL for the region's only instance.
fn strike(site: &Site) {
    let pid = site.providers[0].id().unwrap();
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
}

/// Waits until the instance has ended, by the signal.
async fn killed(site: &mut Site) {
    let ended = site.providers[0].ended(SOON).await.unwrap();
    assert_eq!(ended.signal(), Some(SIGKILL), "{ended}");
}

/// What a region's store has at the key, read past the provider.
async fn stored(site: &Site) -> Option<String> {
    site.valkey.admin().await.get(KEY).await.unwrap()
}

/// Entries of a region's store.
async fn entries(valkey: &Server) -> usize {
    let mut admin = valkey.admin().await;
    redis::cmd("HLEN")
        .arg("@kv/r/meta")
        .query_async(&mut admin)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_write_that_has_not_reached_the_store_when_its_provider_is_killed_is_nowhere() {
    for write in Write::ALL {
        let pair = Pair::start().await;
        pair.cutter.stop_at(KEY, 1, Point::Command);
        let (went, ()) = tokio::join!(write.of(&pair.iad), async {
            pair.cutter.stopped().await;
            strike(&pair.iad);
        });
        assert_eq!(went, Went::Unanswered, "{write:?}");
        assert_eq!(pair.cutter.seen(), 1, "{write:?}");
        assert_eq!(stored(&pair.iad).await, None, "{write:?}");
        pair.goes_on(None).await;
    }
}

#[tokio::test]
async fn a_write_in_the_store_whose_provider_is_killed_before_it_knows_is_everywhere_once() {
    for write in Write::ALL {
        let pair = Pair::start().await;
        pair.cutter.stop_at(KEY, 1, Point::Reply);
        let (went, ()) = tokio::join!(write.of(&pair.iad), async {
            pair.cutter.stopped().await;
            eventually("Valkey has carried it out", SOON, || async {
                stored(&pair.iad).await.is_some()
            })
            .await;
            strike(&pair.iad);
        });
        assert_eq!(went, Went::Unanswered, "{write:?}");
        assert_eq!(pair.cutter.seen(), 1, "{write:?}");
        // Nobody else was told.
        assert_eq!(stored(&pair.fra).await, None, "{write:?}");
        pair.goes_on(Some(write.value())).await;
    }
}

#[tokio::test]
async fn an_acknowledged_write_that_nobody_was_told_of_when_its_provider_is_killed_is_everywhere_once(
) {
    for write in Write::ALL {
        let pair = Pair::start().await;
        pair.cutter.count(KEY);
        pair.wan.part("iad", "fra");
        assert_eq!(write.of(&pair.iad).await, Went::Well(1));
        strike(&pair.iad);
        // Whatever was on its way is lost by the time that fra misses it.
        eventually("fra takes iad for gone", SOON, || async {
            let status = pair.fra.status().await;
            let gone = |peer: &serde_json::Value| peer["region"] == "iad" && peer["live"] == false;
            status["peers"]
                .as_array()
                .is_some_and(|peers| peers.iter().any(gone))
        })
        .await;
        assert_eq!(pair.cutter.seen(), 1, "{write:?}");
        assert_eq!(stored(&pair.fra).await, None, "{write:?}");
        assert!(pair.wan.heal() > 0, "the cut lost nothing");
        pair.goes_on(Some(write.value())).await;
    }
}

#[tokio::test]
async fn a_write_that_others_were_told_of_when_its_provider_is_killed_is_everywhere_once() {
    for write in Write::ALL {
        let pair = Pair::start().await;
        pair.cutter.count(KEY);
        let (went, ()) = tokio::join!(write.of(&pair.iad), async {
            eventually("the other region has it", SOON, || async {
                stored(&pair.fra).await.is_some()
            })
            .await;
            strike(&pair.iad);
        });
        // Whether its caller heard of it is a matter of microseconds.
        assert!(
            matches!(went, Went::Well(1) | Went::Unanswered),
            "{write:?}: {went:?}"
        );
        assert_eq!(pair.cutter.seen(), 1, "{write:?}");
        pair.goes_on(Some(write.value())).await;
    }
}

/// A Valkey that plain links have used.
async fn filled() -> Server {
    let valkey = Server::start();
    let mut admin = valkey.admin().await;
    let pairs: Vec<_> = (0..STRINGS).map(|n| (format!("text/{n}"), "v")).collect();
    let () = admin.mset(&pairs).await.unwrap();
    valkey
}

#[tokio::test]
async fn an_adoption_whose_provider_is_killed_after_its_first_step_is_completed_by_the_next() {
    let nats = NatsServer::start().await.unwrap();
    let valkey = filled().await;
    let cutter = Cutter::before(valkey.port).await;
    // With the second step on its way the reply to the first has passed.
    cutter.stop_at(ADOPT, 2, Point::Command);
    let url = cutter.url();
    let mut iad = Site::start_over(valkey, &nats, "iad", &[("url", url.as_str()), OFTEN]).await;
    cutter.stopped().await;
    strike(&iad);
    killed(&mut iad).await;
    assert_eq!(cutter.seen(), 2);
    let held = entries(&iad.valkey).await;
    assert!(held > 0 && held < STRINGS, "{held} are adopted");

    cutter.open();
    iad.add_provider().await;
    let fra = Site::start(&nats, "fra", &[OFTEN]).await;
    complete(&iad, &fra).await;
}

#[tokio::test]
async fn a_join_whose_provider_is_killed_after_its_first_commits_is_completed_by_the_next() {
    let nats = NatsServer::start().await.unwrap();
    let iad = Site::start_over(filled().await, &nats, "iad", &[OFTEN]).await;
    eventually("all is adopted", SOON, || async {
        entries(&iad.valkey).await == STRINGS
    })
    .await;
    let valkey = Server::start();
    let cutter = Cutter::before(valkey.port).await;
    // The first may carry no entries. With the third on its way the replies to both before have passed.
    cutter.stop_at(COMMIT, 3, Point::Command);
    let url = cutter.url();
    let mut fra = Site::start_over(valkey, &nats, "fra", &[("url", url.as_str()), OFTEN]).await;
    cutter.stopped().await;
    strike(&fra);
    killed(&mut fra).await;
    assert_eq!(cutter.seen(), 3);
    let held = entries(&fra.valkey).await;
    assert!(held > 0 && held < STRINGS, "{held} have come");

    cutter.open();
    fra.add_provider().await;
    complete(&iad, &fra).await;
}

/// Waits until both regions have all strings, and know it.
async fn complete(iad: &Site, fra: &Site) {
    for site in [iad, fra] {
        eventually("all entries are there", SOON, || async {
            entries(&site.valkey).await == STRINGS
        })
        .await;
    }
    let shown = in_step(&[iad, fra]).await;
    assert_eq!(shown.len(), STRINGS);
    assert!(shown.values().all(|value| value == "v"));
    digests_agree(&[iad, fra]).await;
}
