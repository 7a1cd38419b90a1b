//! The lattice that the tests of one file play on.
//!
//! Starting a lattice takes as long as most tests, so those of a file share one, and each leaves
//! it as healthy as it was. It lives in the test program: when that ends, however it ends, so do
//! all the lattice's processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lattice::status::{RegionState, Status};
use lattice::supervise::State;
use lattice::{replication, Lattice, Options, Stores};
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::count::Answer;
use crate::tell;
use crate::wait::{seconds, until};

/// How long a lattice may take to be whole again after a fault.
const WHOLE: Duration = seconds(150);
/// How many lines of each log a failed test shows.
const TAIL: usize = 25;

/// A lattice that is started when the first test needs it.
#[derive(Debug)]
pub struct Stage {
    name: &'static str,
    regions: &'static str,
    wan: Duration,
    stores: Stores,
    turn: Mutex<()>,
    runtime: OnceLock<Runtime>,
    running: OnceCell<Result<Running, String>>,
}

impl Stage {
    /// A lattice of these regions with a store each, and `wan_ms` between any two. The name is that
    /// of its directory below `target/e2e`.
    #[must_use]
    pub const fn new(name: &'static str, regions: &'static str, wan_ms: u64) -> Self {
        Self::with(Stores::EveryRegion, name, regions, wan_ms)
    }

    /// The same with one store, at home.
    #[must_use]
    pub const fn single_store(name: &'static str, regions: &'static str, wan_ms: u64) -> Self {
        Self::with(Stores::Home, name, regions, wan_ms)
    }

    const fn with(stores: Stores, name: &'static str, regions: &'static str, wan_ms: u64) -> Self {
        Self {
            name,
            regions,
            wan: Duration::from_millis(wan_ms),
            stores,
            turn: Mutex::new(()),
            runtime: OnceLock::new(),
            running: OnceCell::const_new(),
        }
    }

    /// Plays a test, alone. It finds the lattice whole and has to leave it so.
    ///
    /// # Panics
    ///
    /// The test fails; the ends of the lattice's logs are printed then.
    pub fn play(&self, test: impl AsyncFnOnce(&Running)) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = self
            .runtime
            .get_or_init(|| Runtime::new().expect("a runtime"));
        let _tails = Tails(crate::target().join("e2e").join(self.name));
        runtime.block_on(async {
            let running = self.running.get_or_init(|| self.raise()).await;
            let running = running
                .as_ref()
                .unwrap_or_else(|error| panic!("no lattice: {error}"));
            running.mend().await;
            running.whole().await;
            test(running).await;
            running.whole().await;
        });
    }

    async fn raise(&self) -> Result<Running, String> {
        let directory = crate::emptied(self.name);
        log_to(&directory);
        let options = Options {
            root: crate::root(),
            state_dir: directory.clone(),
            regions: self.regions.parse().expect("regions"),
            wan: self.wan,
            port: None,
            stores: self.stores,
            manifest: crate::root().join(self.stores.manifest()),
            fresh: false,
        };
        let started = Instant::now();
        let stage = |what: &str| eprintln!("{:>6.1} s  {what}", started.elapsed().as_secs_f64());
        let lattice = Lattice::start(options, &stage)
            .await
            .map_err(|error| error.chain())?;
        Ok(Running { lattice, directory })
    }
}

/// What the lattice itself has to say goes where its processes' logs are.
fn log_to(directory: &Path) {
    let path = lattice::workspace::log_path(directory, "home", "lattice");
    std::fs::create_dir_all(path.parent().expect("a directory of logs")).expect("a directory");
    let file = std::fs::File::create(path).expect("a log");
    let filter = tracing_subscriber::EnvFilter::new("warn,lattice=info");
    // A file of tests has one stage, so nobody else has set one.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .try_init();
}

/// A running lattice.
#[derive(Debug)]
pub struct Running {
    /// The lattice itself.
    pub lattice: Arc<Lattice>,
    /// Where it keeps its files.
    pub directory: PathBuf,
}

impl Running {
    /// How it is now.
    pub async fn status(&self) -> Status {
        self.lattice.status().await
    }

    /// The codes of its edge regions.
    #[must_use]
    pub fn regions(&self) -> Vec<String> {
        self.lattice
            .options()
            .regions
            .as_slice()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// The address of a region's own page, past the edge.
    #[must_use]
    pub fn url_of(&self, region: &str) -> String {
        let place = self
            .lattice
            .place(region)
            .expect("a region of this lattice");
        format!(
            "http://127.0.0.1:{}",
            place.ports.http.expect("a region with a page")
        )
    }

    /// Where the stores listen, home's first.
    #[must_use]
    pub fn store_ports(&self) -> Vec<u16> {
        let places = self.lattice.places().iter();
        places.filter_map(|place| place.ports.valkey).collect()
    }

    /// Whether the stores are known to hold the same.
    ///
    /// # Errors
    ///
    /// They are not; the text says which is behind.
    pub async fn in_step(&self) -> Result<(), String> {
        match self.lattice.options().stores {
            Stores::Home => Ok(()),
            Stores::EveryRegion => replication::converged(&self.status().await),
        }
    }

    /// What a region answers to `/api/regions`, asked past the edge.
    ///
    /// # Errors
    ///
    /// It does not answer with 200 and the data.
    pub async fn ask(&self, region: &str) -> Result<Answer, String> {
        self.get(region, "/api/regions").await
    }

    /// [`Self::ask`] until it answers: past the edge nobody makes up for a call that is lost
    /// (docs/performance.md).
    ///
    /// # Panics
    ///
    /// It does not within 30 s.
    pub async fn told(&self, region: &str) -> Answer {
        until(&format!("the counts of {region}"), seconds(30), || {
            self.ask(region)
        })
        .await
    }

    /// What a region answers in JSON, asked past the edge.
    ///
    /// # Errors
    ///
    /// It does not answer with 200 and such a document.
    pub async fn get<T: DeserializeOwned>(&self, region: &str, path: &str) -> Result<T, String> {
        let port = self
            .lattice
            .place(region)
            .map_err(|error| error.chain())?
            .ports
            .http;
        let port = port.ok_or("it has no page")?;
        let (status, body) = lattice::probe::get(port, path, seconds(5)).await?;
        if status != 200 {
            return Err(format!("{region} answers {status}"));
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }

    /// Visits the page as a visitor from this region, through the edge.
    ///
    /// # Panics
    ///
    /// The answer is not the page.
    pub async fn visit(&self, home: &str, agent: &str) -> Page {
        self.page(Some(home), agent).await
    }

    /// Visits the page, from `home` or without saying from where, until this region serves it. The
    /// edge asks another one when a call is lost, or when the region is slow for a moment.
    ///
    /// # Panics
    ///
    /// It does not within 30 s, or an answer is not the page.
    pub async fn visit_at(&self, region: &str, home: Option<&str>) -> Page {
        let what = format!("a page of {region} for a visitor from {home:?}");
        until(&what, seconds(30), || async {
            let page = self.page(home, "curl/8").await;
            if page.region == region {
                return Ok(page);
            }
            let astray = format!("{} served it, attempt {}", page.region, page.attempts);
            tell(&format!("not {what}: {astray}"));
            Err(astray)
        })
        .await
    }

    async fn page(&self, home: Option<&str>, agent: &str) -> Page {
        let client = reqwest::Client::builder()
            .timeout(seconds(20))
            .build()
            .expect("a client");
        let mut request = client.get(self.lattice.url()).header("user-agent", agent);
        if let Some(home) = home {
            request = request.header("x-home-region", home);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{response:?}");
        let header = |name| response.headers()[name].to_str().expect("text").to_owned();
        let (region, attempts) = (header("x-served-by"), header("x-edge-attempts"));
        Page {
            region,
            attempts: attempts.parse().expect("a number of attempts"),
            html: response.text().await.expect("the whole page"),
        }
    }

    /// The visits counted so far, once every region tells the same.
    ///
    /// # Panics
    ///
    /// They do not within 30 s.
    pub async fn counts(&self) -> Answer {
        until("the same counts everywhere", seconds(30), || async {
            // Before asking: what is counted afterwards may still be on its way.
            self.in_step().await?;
            let mut told = Vec::new();
            for region in self.regions() {
                told.push(self.ask(&region).await?);
            }
            let first = told.pop().ok_or("no region")?;
            match told
                .iter()
                .find(|other| other.by_region() != first.by_region())
            {
                Some(other) => Err(format!("{first:?} and {other:?}")),
                None => Ok(first),
            }
        })
        .await
    }

    /// The process id of a process, once it runs.
    pub async fn pid(&self, region: &str, process: &str) -> Option<u32> {
        let status = self.status().await;
        let region = status
            .regions
            .into_iter()
            .find(|known| known.name == region)?;
        let found = region
            .processes
            .into_iter()
            .find(|known| known.name == process)?;
        found.pid.filter(|_| found.state == State::Running)
    }

    /// Waits until a process runs that is not `before`.
    ///
    /// # Panics
    ///
    /// It does not within 30 s.
    pub async fn another(&self, region: &str, process: &str, before: u32) -> u32 {
        until(
            &format!("another {process} in {region}"),
            seconds(30),
            || async {
                let now = self.pid(region, process).await;
                now.filter(|pid| *pid != before)
                    .ok_or(format!("{now:?} runs"))
            },
        )
        .await
    }

    /// Kills a process and waits until another one is in its place.
    ///
    /// # Panics
    ///
    /// It does not run, or no other one does within 30 s.
    pub async fn crash(&self, region: &str, process: &str) {
        let before = self.pid(region, process).await;
        let before = before.unwrap_or_else(|| panic!("{region} has no {process}"));
        let killed = self.lattice.kill(region, Some(process), false).await;
        killed.unwrap_or_else(|error| panic!("{}", error.chain()));
        self.another(region, process, before).await;
    }

    /// The id of each region's wasmCloud host, home's included, or of one region's.
    #[must_use]
    pub fn hosts(&self, region: Option<&str>) -> BTreeMap<String, String> {
        let places = self.lattice.places().iter();
        places
            .filter(|place| region.is_none_or(|region| place.name == region))
            .filter_map(|place| Some((place.name.clone(), place.host()?.id())))
            .collect()
    }

    /// Waits until each of these hosts, of before the fault, has another one in its place and the
    /// supervision restarts none. To wait for its begin is to miss one that was quick.
    ///
    /// # Panics
    ///
    /// That is not so within two and a half minutes.
    pub async fn restarted(&self, before: &BTreeMap<String, String>) {
        until("the end of the rolling restart", WHOLE, || async {
            // Before asking what is being done: of the last one, until it serves.
            let now = self.hosts(None);
            let same = before
                .iter()
                .find(|(region, host)| now.get(*region) == Some(*host));
            match (same, self.status().await.healing) {
                (Some((region, _)), healing) => {
                    Err(format!("{region} has the same host; {healing:?}"))
                }
                (None, Some(healing)) => Err(healing),
                (None, None) => Ok(()),
            }
        })
        .await;
    }

    /// Undoes the faults that a failed test before this one may have left.
    async fn mend(&self) {
        let mut dead = Vec::new();
        for region in self.status().await.regions {
            if region.state == RegionState::Killed {
                dead.push(region.name);
            }
        }
        let healed = self.lattice.heal(None).await;
        healed.expect("healing every region is always possible");
        for region in dead {
            let revived = self.lattice.revive(&region, None).await;
            revived.unwrap_or_else(|error| panic!("{}", error.chain()));
        }
    }

    /// Waits until everything is as after the start: all processes run, every region answers in
    /// its own name, the supervision has nothing to do and wadm is content.
    ///
    /// # Panics
    ///
    /// That is not so within two and a half minutes.
    pub async fn whole(&self) {
        until("a whole lattice", WHOLE, || async {
            let status = self.status().await;
            status.whole()?;
            for region in &status.regions {
                let keeps = self.lattice.options().stores.has(&region.name);
                let provided = [
                    ("kind-metadata", region.name != "home"),
                    ("keyvalue-valkey", keeps),
                ];
                for (provider, _) in provided.into_iter().filter(|(_, wanted)| *wanted) {
                    if region
                        .processes
                        .iter()
                        .all(|process| process.name != provider)
                    {
                        return Err(format!("{} has no {provider}", region.name));
                    }
                }
            }
            self.in_step().await?;
            if status.application != "resiliency-demo deployed" {
                return Err(status.application);
            }
            for region in self.regions() {
                let answer = self.ask(&region).await?;
                if answer.serving.region != region {
                    return Err(format!("{region} says it is {}", answer.serving.region));
                }
            }
            Ok(())
        })
        .await;
    }
}

/// The page as a visitor got it.
#[derive(Clone, Debug)]
pub struct Page {
    /// Who served it.
    pub region: String,
    /// How often the edge asked a region for it. The visit is counted at least once and at most
    /// this often: an answer may come too late, or its way back through the lattice may be lost
    /// (docs/failure-model.md).
    pub attempts: u64,
    /// The page.
    pub html: String,
}

impl Page {
    /// Whether the counts grew by this one visit.
    #[must_use]
    pub fn explains(&self, growth: u64) -> bool {
        (1..=self.attempts).contains(&growth)
    }
}

/// Prints the ends of a lattice's logs when a test fails.
#[derive(Debug)]
pub struct Tails(pub PathBuf);

impl Drop for Tails {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let logs = std::fs::read_dir(self.0.join("logs"))
            .into_iter()
            .flatten()
            .flatten();
        let mut logs: Vec<PathBuf> = logs.map(|entry| entry.path()).collect();
        logs.sort();
        for log in logs {
            let text =
                String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("==> {} <==", log.display());
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                eprintln!("{line}");
            }
        }
    }
}
