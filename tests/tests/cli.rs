//! The `lattice` program, as a person uses it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use e2e::door::versioned;
use e2e::program::{gone, pids, send, Foreground, Program};
use e2e::stage::Tails;
use e2e::wait::{seconds, until};
use lattice::status::{RegionState, Status};
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

/// One lattice that runs in the foreground while all of these tests do.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static SHARED: OnceCell<(Program, Foreground)> = OnceCell::const_new();
static TURN: Mutex<()> = Mutex::new(());

fn play(test: impl AsyncFnOnce(&Program)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = RUNTIME.get_or_init(|| Runtime::new().unwrap());
    let _tails = Tails(e2e::target().join("e2e/cli"));
    runtime.block_on(async {
        let start = || async {
            let program = Program::new("cli");
            let foreground = program
                .up(&["--regions", "iad,fra", "--wan-ms", "20"])
                .await;
            (program, foreground)
        };
        let (program, _) = SHARED.get_or_init(start).await;
        test(program).await;
    });
}

#[test]
fn up_prints_what_it_reached_and_a_table() {
    play(async |_| {
        let output = SHARED.get().unwrap().1.output();
        for part in [
            "hub: NATS",
            "wadm",
            "every region answers",
            "REGION",
            "keyvalue-valkey",
            "open http://",
        ] {
            assert!(output.contains(part), "{part} in {output}");
        }
    });
}

#[test]
fn status_shows_every_region_to_people_and_to_programs() {
    play(async |program| {
        let table = program.run(&["status"]).await.well();
        for part in ["home", "iad", "fra", "serving", "kind-metadata", "valkey"] {
            assert!(table.contains(part), "{part} in {table}");
        }
        let status = program.running().await;
        assert_eq!(status.wan_ms, 20);
        assert_eq!(status.serving(), (2, 2));
        assert!(pids(&status).len() >= 12, "{status:?}");
        let page = reqwest::get(&status.url).await.unwrap();
        assert_eq!(page.status(), 200);
    });
}

#[test]
fn a_second_up_says_what_runs() {
    play(async |program| {
        let again = program
            .run(&["up", "--regions", "iad,fra", "--wan-ms", "20"])
            .await
            .well();
        assert!(
            again.contains("already running") && again.contains("keyvalue-valkey"),
            "{again}"
        );
        let other = program.run(&["up", "--regions", "iad,sin"]).await;
        assert!(other.out.contains("already running"), "{other:?}");
        let refusal = other.refused();
        assert!(
            refusal.contains("iad,fra") && refusal.contains("iad,sin"),
            "{refusal}"
        );
    });
}

#[test]
fn what_does_not_exist_is_refused_by_name() {
    play(async |program| {
        for (arguments, named) in [
            (&["kill", "nowhere"][..], ["nowhere", "home, iad, fra"]),
            (&["kill", "iad", "valkey"], ["`valkey`", "kind-metadata"]),
            (&["kill", "fra", "nobody", "--hold"], ["`nobody`", "host"]),
            (&["pause", "nowhere"], ["nowhere", "iad"]),
            (&["cut", "nowhere"], ["nowhere", "iad"]),
            (&["heal", "nowhere"], ["nowhere", "iad"]),
            (&["revive", "nowhere"], ["nowhere", "iad"]),
            (&["logs", "nowhere"], ["nowhere", "iad"]),
            (&["logs", "iad", "nobody"], ["nobody", "host"]),
            (&["deploy", "nowhere.yaml"], ["nowhere.yaml", "read"]),
        ] {
            let refusal = program.run(arguments).await.refused();
            for name in named {
                assert!(refusal.contains(name), "{arguments:?}: {refusal}");
            }
        }
        assert_eq!(program.running().await.serving(), (2, 2));
    });
}

#[test]
fn bad_options_of_up_are_refused_before_anything_starts() {
    let runtime = RUNTIME.get_or_init(|| Runtime::new().unwrap());
    runtime.block_on(async {
        let program = Program::new("bad");
        for (arguments, named) in [
            (&["up", "--regions", "iad,moon"][..], "`moon`"),
            (&["up", "--regions", "iad,iad"], "twice"),
            (&["up", "--regions", ""], "``"),
            (&["up", "--wan-ms", "9999"], "9999"),
            (&["up", "--port", "0"], "--port"),
            (&["up", "--manifest", "nowhere.yaml"], "nowhere.yaml"),
        ] {
            let refusal = program.run(arguments).await.refused();
            assert!(refusal.contains(named), "{arguments:?}: {refusal}");
        }
        for arguments in [&["status"][..], &["down"], &["kill", "iad"]] {
            let refusal = program.run(arguments).await.refused();
            assert!(
                refusal.contains("no lattice is running"),
                "{arguments:?}: {refusal}"
            );
        }
    });
}

#[test]
fn logs_are_those_of_the_region_or_the_process() {
    play(async |program| {
        let all = program.run(&["logs", "iad"]).await.well();
        assert!(
            all.contains("iad-host.log") && all.contains("iad-nats.log"),
            "{all}"
        );
        let host = program
            .run(&["logs", "iad", "host", "-n", "5"])
            .await
            .well();
        assert_eq!(host.lines().count(), 5, "{host}");
        let store = program
            .run(&["logs", "home", "keyvalue-valkey"])
            .await
            .well();
        assert!(!store.is_empty(), "a provider writes to its host's log");
    });
}

#[test]
fn a_killed_region_is_dead_until_it_is_revived_and_serves_within_20_s() {
    play(async |program| {
        program.run(&["kill", "fra"]).await.well();
        assert_eq!(state(&program.running().await, "fra"), RegionState::Killed);
        let asked = Instant::now();
        let said = program.run(&["revive", "fra"]).await.well();
        assert!(
            asked.elapsed() < seconds(20),
            "{:?}: {said}",
            asked.elapsed()
        );
        let client = reqwest::Client::new();
        let visit = client
            .get(program.running().await.url)
            .header("x-home-region", "fra");
        assert_eq!(visit.send().await.unwrap().headers()["x-served-by"], "fra");
        serving(program).await;
    });
}

#[test]
fn a_paused_region_goes_on_when_it_is_healed() {
    play(async |program| {
        program.run(&["pause", "iad"]).await.well();
        assert_eq!(state(&program.running().await, "iad"), RegionState::Paused);
        program.run(&["heal", "iad"]).await.well();
        serving(program).await;
    });
}

#[test]
fn a_process_that_was_killed_is_restarted_unless_it_is_held() {
    play(async |program| {
        program.run(&["kill", "iad", "nats"]).await.well();
        until("another start", seconds(20), || async {
            let status = program.running().await;
            let region = status
                .regions
                .iter()
                .find(|region| region.name == "iad")
                .unwrap();
            let nats = region
                .processes
                .iter()
                .find(|process| process.name == "nats")
                .unwrap();
            (nats.starts == 2 && nats.pid.is_some())
                .then_some(())
                .ok_or(format!("{nats:?}"))
        })
        .await;
        serving(program).await;
        program
            .run(&["kill", "home", "valkey", "--hold"])
            .await
            .well();
        assert_eq!(
            state(&program.running().await, "home"),
            RegionState::Degraded
        );
        program.run(&["revive", "home", "valkey"]).await.well();
        serving(program).await;
    });
}

#[test]
fn a_changed_manifest_is_deployed_and_the_same_version_twice_is_refused() {
    play(async |program| {
        let rendered = program.run(&["manifest"]).await.well();
        assert!(
            rendered.contains("http-server-fra") && !rendered.contains("http-server-sin"),
            "{rendered}"
        );
        let mut changed = versioned(&rendered, "cli-1");
        let hello = &mut changed["spec"]["components"][0];
        assert_eq!(hello["name"], "cloud-hello");
        hello["traits"][0]["properties"]["instances"] = 7.into();
        let file = program.directory.join("changed.yaml");
        std::fs::write(&file, serde_yaml::to_string(&changed).unwrap()).unwrap();
        let file = file.to_str().unwrap();
        let said = program.run(&["deploy", file]).await.well();
        assert!(said.contains("cli-1"), "{said}");
        until("seven instances in every region", seconds(60), || async {
            let status = program.running().await;
            let nats = async_nats::connect(&status.hub)
                .await
                .map_err(|error| error.to_string())?;
            for region in status.regions.iter().filter(|region| region.url.is_some()) {
                let subject = format!("wasmbus.ctl.v1.default.host.get.{}", region.host_id);
                let answer = nats
                    .request(subject, "".into())
                    .await
                    .map_err(|error| error.to_string())?;
                let inventory: serde_json::Value =
                    serde_json::from_slice(&answer.payload).map_err(|error| error.to_string())?;
                let most = &inventory["response"]["components"][0]["max_instances"];
                if *most != 7 {
                    return Err(format!("{}: {inventory}", region.name));
                }
            }
            Ok(())
        })
        .await;
        let refusal = program.run(&["deploy", file]).await.refused();
        assert!(
            refusal.contains("cli-1") || refusal.contains("version"),
            "{refusal}"
        );
        serving(program).await;
    });
}

#[test]
fn a_detached_lattice_runs_beside_another_until_down_leaves_nothing_of_it() {
    play(async |shared| {
        let program = Program::new("detached");
        let said = program
            .run(&["up", "--detach", "--regions", "sin"])
            .await
            .well();
        assert!(
            said.contains("every region answers") && said.contains("lattice down"),
            "{said}"
        );
        let status = program.running().await;
        let _killed_at_last = Background(status.pid);
        assert_eq!(status.serving(), (1, 1));
        let other = shared.running().await;
        assert_ne!(status.url, other.url);
        assert_eq!(other.serving(), (2, 2), "the other one is as it was");
        let page = reqwest::get(&status.url).await.unwrap();
        assert_eq!(page.headers()["x-served-by"], "sin");

        let pids = pids(&status);
        program.run(&["down"]).await.well();
        gone(&pids).await;
        assert!(program.status().await.is_none());
        serving(shared).await;
    });
}

#[test]
fn neither_sigkill_nor_ctrl_c_leaves_an_orphan_and_the_counts_survive_both() {
    play(async |_| {
        let program = Program::new("orphans");
        let foreground = program.up(&["--regions", "iad"]).await;
        let status = program.running().await;
        for _ in 0..5 {
            let page = reqwest::get(&status.url).await.unwrap();
            assert_eq!(page.status(), 200);
        }
        let before = pids(&status);
        foreground.end(Signal::SIGKILL).await;
        gone(&before).await;

        let foreground = program.up(&["--regions", "iad"]).await;
        let status = program.running().await;
        let answer = reqwest::get(format!("{}/api/regions", status.url))
            .await
            .unwrap();
        let answer: e2e::count::Answer = answer.json().await.unwrap();
        assert!(answer.of("iad") >= 5, "{answer:?}");
        let after = pids(&status);
        let exit = foreground.end(Signal::SIGINT).await;
        assert!(exit.success(), "{exit}");
        gone(&after).await;
    });
}

/// A lattice in the background, which must not outlive a test that fails.
struct Background(u32);

impl Drop for Background {
    fn drop(&mut self) {
        if std::thread::panicking() {
            send(self.0, Signal::SIGTERM);
        }
    }
}

/// Waits until all is as after the start.
async fn serving(program: &Program) {
    until("both regions serving", seconds(60), || async {
        let status = program.running().await;
        let all = status
            .regions
            .iter()
            .all(|region| region.state == RegionState::Serving);
        let calm =
            all && status.healing.is_none() && status.application == "resiliency-demo deployed";
        calm.then_some(())
            .ok_or(format!("{} · {}", status.line(), status.application))
    })
    .await;
}

fn state(status: &Status, region: &str) -> RegionState {
    status
        .regions
        .iter()
        .find(|known| known.name == region)
        .unwrap()
        .state
}
