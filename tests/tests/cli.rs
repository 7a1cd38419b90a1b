//! The `lattice` program, as a person uses it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use e2e::count::Answer;
use e2e::door::versioned;
use e2e::program::{gone, pids, send, Foreground, Program};
use e2e::stage::Tails;
use e2e::wait::{seconds, until};
use lattice::port::Ports;
use lattice::replication;
use lattice::status::{ProcessStatus, RegionState, RegionStatus, Status};
use lattice::supervise::State;
use lattice::wan::Direction;
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

/// One lattice that runs in the foreground while all of these tests do.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static SHARED: OnceCell<Shared> = OnceCell::const_new();
static TURN: Mutex<()> = Mutex::new(());

struct Shared {
    program: Program,
    foreground: Foreground,
    port: u16,
}

fn play(test: impl AsyncFnOnce(&Program)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = RUNTIME.get_or_init(|| Runtime::new().unwrap());
    let _tails = Tails(e2e::target().join("e2e/cli"));
    runtime.block_on(async {
        let start = || async {
            let program = Program::new("cli");
            let port = Ports::new().unwrap().take().unwrap();
            let number = port.to_string();
            let foreground = program
                .up(&["--regions", "iad,fra", "--wan-ms", "20", "--port", &number])
                .await;
            Shared {
                program,
                foreground,
                port,
            }
        };
        let shared = SHARED.get_or_init(start).await;
        test(&shared.program).await;
    });
}

#[test]
fn up_prints_what_it_reached_and_a_table() {
    play(async |_| {
        // It answers `lattice status` before it has printed the table.
        for part in [
            "hub: NATS",
            "wadm",
            "every region answers",
            "every store is in step",
            "REGION",
            "keyvalue-valkey",
            "open http://",
        ] {
            SHARED.get().unwrap().foreground.reached(part).await;
        }
    });
}

#[test]
fn status_shows_every_region_to_people_and_to_programs() {
    play(async |program| {
        // A region may be down for a moment, and a store slow to say how it is.
        let status = until("every process of both regions", seconds(30), || async {
            let status = program.running().await;
            match (status.serving(), pids(&status).len()) {
                ((2, 2), 16..) => Ok(status),
                (_, processes) => Err(format!("{processes} processes; {}", status.line())),
            }
        })
        .await;
        assert_eq!(status.wan_ms, 20);
        until("every store in step", seconds(30), || async {
            replication::converged(&program.running().await)
        })
        .await;
        until("the whole table", seconds(30), || async {
            let table = program.run(&["status"]).await.well();
            let parts = ["home", "iad", "fra", "serving", "kind-metadata", "valkey"];
            let stores = ["STORE", "IN STEP", "MEMBERS"];
            let mut missing = parts.iter().chain(&stores);
            match missing.find(|part| !table.contains(**part)) {
                Some(part) => Err(format!("no {part} in {table}")),
                None => Ok(()),
            }
        })
        .await;
        let page = reqwest::get(&status.url).await.unwrap();
        assert_eq!(page.status(), 200);
    });
}

#[test]
fn the_page_is_on_the_port_asked_for_and_one_in_use_is_refused() {
    play(async |program| {
        let port = SHARED.get().unwrap().port;
        let url = format!("http://127.0.0.1:{port}");
        assert_eq!(program.running().await.url, url);
        assert_eq!(reqwest::get(&url).await.unwrap().status(), 200);

        let other = Program::new("taken");
        let number = port.to_string();
        let asked = ["up", "--regions", "sin", "--port", &number];
        let refusal = other.run(&asked).await.refused();
        assert!(
            refusal.contains(&number) && refusal.contains("in use"),
            "{refusal}"
        );
        assert!(other.status().await.is_none());
    });
}

#[test]
fn a_second_up_says_what_runs() {
    play(async |program| {
        let again = program.run(&["up", "--regions", "iad,fra"]).await.well();
        assert!(
            again.contains("already running") && again.contains("keyvalue-valkey"),
            "{again}"
        );
        for (asked, has) in [
            (
                &["--wan-ms", "30"][..],
                "it has 20 ms between regions, not 30",
            ),
            (&["--wan-ms", "20", "--port", "1"], "not on port 1"),
            (
                &["--wan-ms", "20", "--manifest", "wadm.yaml"],
                "`lattice deploy FILE`",
            ),
            (
                &["--wan-ms", "20", "--fresh"],
                "goes on with what was counted",
            ),
        ] {
            let arguments = [&["up", "--regions", "iad,fra"][..], asked].concat();
            let refusal = program.run(&arguments).await.refused();
            assert!(refusal.contains(has), "{refusal}");
        }
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
            (&["kill", "iad", "wadm"], ["`wadm`", "kind-metadata"]),
            (&["kill", "fra", "nobody", "--hold"], ["`nobody`", "host"]),
            (
                &["kill", "fra", "keyvalue-valkey", "--hold"],
                ["keyvalue-valkey cannot be held", "host, nats, valkey"],
            ),
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
        serving(program).await;
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
            (&["up", "--regions", ""], "a region is missing"),
            (&["up", "--regions", "IAD"], "did you mean `iad`?"),
            (&["up", "--wan-ms", "9999"], "9999"),
            (&["up", "--single-store", "--wan-ms", "501"], "0 to 500"),
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
        let refusal = program.run(&["logs", "iad"]).await.refused();
        assert!(refusal.contains("no lattice has run"), "{refusal}");
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
fn followed_logs_go_on_with_what_is_written_later_in_a_new_file_too() {
    play(async |program| {
        let mut following = program.follow(&["logs", "fra", "nats", "-f", "-n", "1"]);
        let last = following.line("").await;
        assert!(!last.is_empty(), "the last line so far");
        program.run(&["kill", "fra", "nats"]).await.well();
        following.line("Server is ready").await;

        // Large enough to be put aside when its process starts again.
        let log = program.directory.join("logs/fra-nats.log");
        let mut log = OpenOptions::new().append(true).open(log).unwrap();
        log.write_all(&vec![b'\n'; 17 << 20]).unwrap();
        program.run(&["kill", "fra", "nats"]).await.well();
        following.line("Server is ready").await;
        let now = program.run(&["logs", "fra", "nats"]).await.well();
        assert!(now.contains("Starting nats-server"), "{now}");
        assert!(program.directory.join("logs/fra-nats.log.1").exists());
        serving(program).await;
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
        serves_its_own(program, "fra").await;
        serving(program).await;
    });
}

#[test]
fn home_killed_whole_is_not_noticed_and_is_back_once_revived_with_every_count() {
    play(async |program| {
        for _ in 0..3 {
            server_of(program, "fra").await;
        }
        let before = program.running().await;
        let visits = counted(&before, 3).await.visits;

        program.run(&["kill", "home"]).await.well();
        let status = program.running().await;
        assert_eq!(state(&status, "home"), RegionState::Killed);
        let home = region(&before, "home").processes.iter();
        let home: Vec<u32> = home.filter_map(|process| process.pid).collect();
        assert!(home.len() >= 6, "{before:?}");
        gone(&home).await;
        for name in ["iad", "fra"] {
            serves_its_own(program, name).await;
        }
        assert!(replication::converged(&program.running().await).is_err());

        let said = program.run(&["revive", "home"]).await.well();
        assert!(said.contains("home serves again"), "{said}");
        // The other regions' hosts have heard nothing since, and are restarted in turn.
        for name in ["iad", "fra"] {
            another_host(program, &before, name).await;
        }
        serving(program).await;
        until("home catching up", seconds(30), || async {
            replication::converged(&program.running().await)
        })
        .await;
        counted(&program.running().await, visits + 2).await;
        serves_its_own(program, "fra").await;
    });
}

#[test]
fn a_single_store_is_a_flag_that_a_second_up_has_to_know() {
    play(async |_| {
        let single = Program::new("single");
        let asked = ["up", "--regions", "sin", "--single-store", "--detach"];
        single.run(&asked).await.well();
        let status = single.running().await;
        let _killed_at_last = Background(status.pid);
        let stores = status.regions.iter();
        let stores: Vec<_> = stores
            .filter(|region| region.valkey_port.is_some())
            .map(|region| region.name.as_str())
            .collect();
        assert_eq!(stores, ["home"]);
        assert_eq!(reqwest::get(&status.url).await.unwrap().status(), 200);
        single.run(&asked).await.well();
        let refusal = single.run(&["up", "--regions", "sin"]).await.refused();
        assert!(refusal.contains("single store"), "{refusal}");
        single.run(&["down"]).await.well();
    });
}

#[test]
fn a_region_cut_off_one_way_serves_alone_until_it_is_healed() {
    play(async |program| {
        for (option, direction, heal) in [
            ("to-hub", Direction::ToHub, &["heal", "fra"][..]),
            ("from-hub", Direction::FromHub, &["heal"]),
        ] {
            let before = program.running().await;
            program
                .run(&["cut", "fra", "--direction", option])
                .await
                .well();
            let status = program.running().await;
            assert_eq!(state(&status, "fra"), RegionState::Cut);
            let cut = region(&status, "fra").cut.unwrap();
            assert_eq!(cut.direction, direction);
            serves_its_own(program, "fra").await;

            let said = program.run(heal).await.well();
            assert!(said.contains("healed"), "{said}");
            another_host(program, &before, "fra").await;
            serving(program).await;
            serves_its_own(program, "fra").await;
        }
    });
}

#[test]
fn a_paused_provider_is_shown_as_such_until_it_is_healed() {
    play(async |program| {
        program.run(&["pause", "iad", "kind-metadata"]).await.well();
        shown(program, "iad", "kind-metadata", State::Paused).await;
        until("the pause in the table", seconds(20), || async {
            let table = program.run(&["status"]).await.well();
            let paused = table.contains("kind-metadata (paused)");
            paused.then_some(()).ok_or(table)
        })
        .await;
        program.run(&["heal", "iad"]).await.well();
        serving(program).await;
        shown(program, "iad", "kind-metadata", State::Running).await;
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
        let nats = || async {
            let status = program.running().await;
            process(&status, "iad", "nats").cloned().unwrap()
        };
        let before = nats().await.starts;
        program.run(&["kill", "iad", "nats"]).await.well();
        until("another start", seconds(20), || async {
            let nats = nats().await;
            (nats.starts > before && nats.pid.is_some())
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
        serving(&program).await;
        assert_ne!(status.url, shared.running().await.url);
        // The other one is as it was.
        serving(shared).await;
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
fn a_lattice_that_is_still_starting_can_be_ended_and_leaves_nothing() {
    let runtime = RUNTIME.get_or_init(|| Runtime::new().unwrap());
    runtime.block_on(async {
        let program = Program::new("starting");
        for (stage, signal) in [
            ("hub: NATS", Some(Signal::SIGINT)),
            ("wasmCloud hosts", Some(Signal::SIGINT)),
            ("wasmCloud hosts", None),
        ] {
            // With a delay, so that there is time before every region answers.
            let starting = program
                .start(&["--regions", "iad,fra", "--wan-ms", "200"])
                .await;
            starting.reached(stage).await;
            for arguments in [&["status"][..], &["up"], &["kill", "iad"]] {
                let refusal = program.run(arguments).await.refused();
                assert!(refusal.contains("still starting"), "{refusal}");
            }
            let family = starting.family();
            assert!(family.len() > 1, "{family:?}");
            assert!(!starting.output().contains("every region answers"));
            let exit = match signal {
                Some(signal) => starting.end(signal).await,
                None => {
                    program.run(&["down"]).await.well();
                    starting.ended().await
                }
            };
            assert!(!exit.success(), "it did not come up: {exit}");
            gone(&family).await;
            let refusal = program.run(&["down"]).await.refused();
            assert!(refusal.contains("no lattice is running"), "{refusal}");
        }
    });
}

#[test]
fn neither_sigkill_nor_ctrl_c_leaves_an_orphan_and_the_counts_survive_until_up_fresh() {
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
        let answer = counted(&status, 0).await;
        assert!(answer.of("iad") >= 5, "{answer:?}");
        let after = pids(&status);
        let served = Arc::new(AtomicUsize::new(0));
        let visit = || visit_to_the_end(status.url.clone(), Arc::clone(&served));
        let visitors: Vec<_> = (0..4).map(|_| tokio::spawn(visit())).collect();
        until("visitors at work", seconds(20), || async {
            let served = served.load(Ordering::Relaxed);
            (served >= 8).then_some(()).ok_or(format!("{served}"))
        })
        .await;
        let interrupted = Instant::now();
        let exit = foreground.end(Signal::SIGINT).await;
        assert!(exit.success(), "{exit}");
        gone(&after).await;
        for visitor in visitors {
            let refused = visitor.await.unwrap();
            let excused = refused.iter().all(|refusal| refusal.before(interrupted));
            assert!(
                excused && refused.len() <= 1,
                "sent to regions that are going, at {interrupted:?}: {refused:?}"
            );
            if !refused.is_empty() {
                e2e::tell(&format!("EXCUSED, as nobody was going yet: {refused:?}"));
            }
        }

        let foreground = program.up(&["--regions", "iad", "--fresh"]).await;
        let fresh = counted(&program.running().await, 0).await;
        assert_eq!(fresh.visits, 0, "{fresh:?}");
        foreground.end(Signal::SIGINT).await;
    });
}

/// An answer that was not the page.
#[derive(Debug)]
struct Refusal {
    answered: Instant,
    status: u16,
}

impl Refusal {
    /// Whether this 503 has another cause than an end that began then.
    fn before(&self, end: Instant) -> bool {
        self.status == 503 && self.answered < end
    }
}

/// Visits the page until nobody listens there any more; gives the answers that were not the page.
async fn visit_to_the_end(url: String, served: Arc<AtomicUsize>) -> Vec<Refusal> {
    let mut refused = Vec::new();
    loop {
        let Ok(answer) = reqwest::get(&url).await else {
            return refused;
        };
        if answer.status() == 200 {
            served.fetch_add(1, Ordering::Relaxed);
        } else {
            refused.push(Refusal {
                answered: Instant::now(),
                status: answer.status().as_u16(),
            });
        }
    }
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

/// Waits until a region has another wasmCloud host than before.
async fn another_host(program: &Program, before: &Status, name: &str) {
    let what = format!("another host in {name}");
    until(&what, seconds(60), || async {
        let status = program.running().await;
        let host = &region(&status, name).host_id;
        (*host != region(before, name).host_id)
            .then_some(())
            .ok_or(format!("still {host}; {}", status.line()))
    })
    .await;
}

/// Waits until a process is shown in this state: a signal takes a moment to arrive.
async fn shown(program: &Program, region: &str, name: &str, wanted: State) {
    until(&format!("{name} {wanted:?}"), seconds(20), || async {
        let status = program.running().await;
        let state = process(&status, region, name).map(|process| process.state);
        (state == Some(wanted))
            .then_some(())
            .ok_or(format!("{state:?}"))
    })
    .await;
}

/// Waits until a region serves the page to its own visitors. The edge asks another one when a call
/// is lost, or when the region is slow for a moment, as after a restart.
async fn serves_its_own(program: &Program, name: &str) {
    until(&format!("{name} serving {name}"), seconds(30), || async {
        let server = server_of(program, name).await;
        (server == name).then_some(()).ok_or(server)
    })
    .await;
}

/// Who serves the page to a visitor from this region.
async fn server_of(program: &Program, home: &str) -> String {
    let url = program.running().await.url;
    let visit = reqwest::Client::new().get(url);
    let page = visit.header("x-home-region", home).send().await.unwrap();
    assert_eq!(page.status(), 200, "{page:?}");
    page.headers()["x-served-by"].to_str().unwrap().to_owned()
}

/// The visits counted so far, asked through the edge until they are at least so many: of those in
/// another region, the one that answers may not have heard yet.
async fn counted(status: &Status, least: u64) -> Answer {
    until(&format!("{least} visits"), seconds(30), || async {
        let answer = counts(status).await.map_err(|error| error.to_string())?;
        match answer.visits {
            visits if visits >= least => Ok(answer),
            visits => Err(format!("{visits} visits")),
        }
    })
    .await
}

async fn counts(status: &Status) -> reqwest::Result<Answer> {
    let answer = reqwest::get(format!("{}/api/regions", status.url)).await?;
    answer.error_for_status()?.json().await
}

fn state(status: &Status, name: &str) -> RegionState {
    region(status, name).state
}

fn region<'a>(status: &'a Status, name: &str) -> &'a RegionStatus {
    let mut regions = status.regions.iter();
    regions.find(|known| known.name == name).unwrap()
}

fn process<'a>(status: &'a Status, of: &str, name: &str) -> Option<&'a ProcessStatus> {
    let mut processes = region(status, of).processes.iter();
    processes.find(|known| known.name == name)
}
