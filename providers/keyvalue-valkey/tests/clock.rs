//! Wall clocks that are wrong and jump, under real provider processes (`libfaketime`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/site.rs"]
mod site;
mod support;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use provider_harness::NatsServer;
use site::{digests_agree, in_step, owned, Site, Went};
use support::region::SOON;
use support::{eventually, Server};
use tempfile::TempDir;

const HOUR_MS: i64 = 3_600_000;
const OFTEN: (&str, &str) = ("digest_s", "1");

/// The library that shows processes another time, `$LIBFAKETIME` or as Debian packages it.
fn faketime() -> Option<String> {
    let packaged = || {
        let found = std::fs::read_dir("/usr/lib").ok()?;
        found
            .filter_map(|directory| Some(directory.ok()?.path()))
            .map(|directory| directory.join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.is_file())
    };
    let library = std::env::var_os("LIBFAKETIME")
        .map(PathBuf::from)
        .or_else(packaged)?;
    Some(library.to_str().unwrap().to_owned())
}

/// A wall clock; the monotonic one is the machine's.
struct Clock {
    library: String,
    directory: TempDir,
}

impl Clock {
    fn ahead(library: &str, seconds: i64) -> Self {
        let clock = Self {
            library: library.to_owned(),
            directory: tempfile::tempdir().unwrap(),
        };
        clock.step(seconds);
        clock
    }

    fn file(&self) -> String {
        let file = self.directory.path().join("clock");
        file.to_str().unwrap().to_owned()
    }

    /// From now on it is so far ahead, or behind.
    fn step(&self, seconds: i64) {
        let draft = self.directory.path().join("draft");
        std::fs::write(&draft, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(draft, self.file()).unwrap();
    }

    async fn start_provider(&self, site: &mut Site) {
        site.add_provider_with(&[
            ("LD_PRELOAD", self.library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().as_str()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_NO_CACHE", "1"),
        ])
        .await;
    }
}

/// Waits until a region sees another one's clock so far ahead of its own, within a minute.
async fn sees_clock(site: &Site, region: &str, ahead_ms: i64) {
    eventually(
        &format!("{region} is {ahead_ms} ms ahead"),
        SOON,
        || async {
            let status = site.status().await;
            let peers = status["peers"].as_array().cloned().unwrap_or_default();
            peers
                .iter()
                .filter(|peer| peer["region"] == region && peer["live"] == true)
                .filter_map(|peer| peer["clock_offset_ms"].as_i64())
                .any(|offset| (offset - ahead_ms).abs() < 60_000)
        },
    )
    .await;
}

#[tokio::test]
async fn clocks_hours_apart_that_jump_back_lose_and_double_nothing() {
    let Some(library) = faketime() else {
        // Past the test runner, which keeps what a passing test prints to itself.
        let skipped = "SKIPPED clock: no libfaketime; install the package libfaketime";
        writeln!(std::io::stderr(), "{skipped}").unwrap();
        return;
    };
    let nats = NatsServer::start().await.unwrap();
    let iad = Site::start(&nats, "iad", &[OFTEN]).await;
    let (early, late) = (
        Clock::ahead(&library, 3_600),
        Clock::ahead(&library, -3_600),
    );
    let mut fra = Site::prepare(Server::start(), &nats, "fra", "Vfra", &[OFTEN]).await;
    let mut sin = Site::prepare(Server::start(), &nats, "sin", "Vsin", &[OFTEN]).await;
    early.start_provider(&mut fra).await;
    late.start_provider(&mut sin).await;
    fra.serves().await;
    sin.serves().await;
    sees_clock(&iad, "fra", HOUR_MS).await;
    sees_clock(&iad, "sin", -HOUR_MS).await;
    sees_clock(&sin, "fra", 2 * HOUR_MS).await;
    tokio::join!(iad.count("k", 50), fra.count("k", 50), sin.count("k", 50));
    assert_eq!(in_step(&[&iad, &fra, &sin]).await["k"], "150");

    // Who sees a value can replace it, be it from the future.
    fra.set("text", "from an hour ahead").await;
    iad.shows("text", "from an hour ahead").await;
    eventually("it is listed as ahead", SOON, || async {
        iad.status().await["ahead"] == serde_json::json!(["text"])
    })
    .await;
    iad.set("text", "later").await;
    sin.shows("text", "later").await;
    sin.set("text", "from an hour behind, and last").await;
    fra.shows("text", "from an hour behind, and last").await;
    iad.shows("text", "from an hour behind, and last").await;

    // The clocks change places while everybody writes.
    fra.set("own", "before").await;
    fra.set("gone", "before").await;
    let jump = async {
        early.step(-3_600);
        late.step(3_600);
    };
    tokio::join!(
        iad.count("k", 50),
        fra.count("k", 50),
        sin.count("k", 50),
        jump
    );
    sees_clock(&iad, "fra", -HOUR_MS).await;
    sees_clock(&iad, "sin", HOUR_MS).await;
    fra.set("own", "after").await;
    fra.delete("gone").await;
    let last = "from an hour behind, and last";
    let mut wanted = owned([("k", "300"), ("own", "after"), ("text", last)]);
    assert_eq!(in_step(&[&iad, &fra, &sin]).await, wanted);

    // What the clock showed before is not forgotten with the process.
    fra.providers.pop().unwrap().kill().await.unwrap();
    early.start_provider(&mut fra).await;
    fra.serves().await;
    fra.set("own", "after the restart").await;
    fra.count("k", 1).await;
    wanted.extend(owned([("k", "301"), ("own", "after the restart")]));
    assert_eq!(in_step(&[&iad, &fra, &sin]).await, wanted);
    digests_agree(&[&iad, &fra, &sin]).await;

    // Nor does a jump upset what is timed: a call to a store that hangs ends in its time.
    fra.valkey.pause();
    let start = Instant::now();
    for seconds in [7_200, -7_200, 0] {
        early.step(seconds);
        let asked = Instant::now();
        let went = fra.increment("k").await;
        assert!(!matches!(went, Went::Well(_)));
        // `timeout_ms`, or nobody is there to ask.
        assert!(asked.elapsed() < Duration::from_secs(10), "{went:?}");
    }
    fra.valkey.resume();
    fra.serves().await;
    println!("the hung store serves again after {:?}", start.elapsed());
}
