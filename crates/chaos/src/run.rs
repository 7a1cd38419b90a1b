//! A run: a lattice, clients, faults, and the end, when everything has to be the same everywhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fastrand::Rng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::client::{self, Client};
use crate::ending;
use crate::fault::Fault;
use crate::ground::Ground;
use crate::history::{Books, History, Strike};
use crate::measure::Window;
use crate::observer::{observe, Shown, PAUSE as LOOKS};
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::report::{Asked, Report};
use crate::round::{Happened, Struck};
use crate::schedule::{Round, Schedule};
use crate::store::Store;
use crate::strike;
use crate::visitor;

/// Clients of the store in each region that do everything, beside the one that deletes.
const WORKERS: usize = 2;
/// Time between two lines for people.
const TELL: Duration = Duration::from_secs(5);

/// What a run leaves.
#[derive(Debug)]
pub struct Ran {
    /// What the clients saw.
    pub history: History,
    /// What came of it.
    pub report: Report,
}

/// Loads and strikes a lattice, and judges what its clients saw. The lattice stays as it is; [`Ground`] ends it.
///
/// # Errors
///
/// The clients cannot begin. What goes wrong later is in the report.
pub async fn run(plan: &Plan, ground: &Ground) -> anyhow::Result<Ran> {
    let before = ground.visits().await?;
    let attempts = ground.attempts().await;
    let recorder = Arc::new(Recorder::new(ground.stores.keys().cloned().collect()));
    let load = Load::start(&plan.asked, ground, &recorder).await?;
    let teller = AbortOnDropHandle::new(tokio::spawn(tell(Arc::clone(&recorder))));
    let rounds = faults(plan, ground, &recorder).await;
    // When the last round's writes were seen everywhere has to be seen, too.
    let lookers = load.stop().await;
    let (ending, last) = ending::wait(ground, &recorder).await;
    sleep(2 * LOOKS).await;
    drop((lookers, teller));
    let mut history = recorder.take();
    history.last = last;
    history.books = match ground.visits().await {
        Ok(after) => {
            let grown = after.into_iter().zip(before);
            let grown = grown.map(|((region, now), (_, then))| (region, now.saturating_sub(then)));
            Some(Books {
                counted: grown.collect(),
                attempts: ground.attempts().await.saturating_sub(attempts),
            })
        }
        Err(_) => None,
    };
    let report = Report::new(plan.asked.clone(), rounds, ending, &history);
    Ok(Ran { history, report })
}

/// Everybody who does something to the lattice or looks at it. Dropping it ends them.
struct Load {
    over: watch::Sender<bool>,
    clients: JoinSet<()>,
    lookers: JoinSet<()>,
}

impl Load {
    async fn start(
        asked: &Asked,
        ground: &Ground,
        recorder: &Arc<Recorder>,
    ) -> anyhow::Result<Self> {
        let (over, _) = watch::channel(false);
        let shown = Arc::new(Shown::default());
        let (mut clients, mut lookers) = (JoinSet::new(), JoinSet::new());
        let mut rng = Rng::with_seed(asked.seed ^ 0x5eed);
        for (region, ports) in &ground.stores {
            let looking = observe(
                region.clone(),
                ports.valkey,
                Arc::clone(&shown),
                Arc::clone(recorder),
            );
            lookers.spawn(looking);
        }
        for region in &ground.edges {
            let ports = ground
                .stores
                .get(region)
                .context("a region without a store")?;
            for number in 0..=WORKERS {
                let client = Client {
                    name: format!("{region}-{number}"),
                    region: region.clone(),
                    store: Store::connect(ports.nats).await?,
                    rng: rng.fork(),
                    recorder: Arc::clone(recorder),
                    shown: Arc::clone(&shown),
                    values: 0,
                };
                if number < WORKERS {
                    clients.spawn(client.work(over.subscribe()));
                } else {
                    clients.spawn(client.bury(over.subscribe()));
                }
            }
            let prober = Store::connect(ports.nats).await?;
            lookers.spawn(client::probe(region.clone(), prober, Arc::clone(recorder)));
            let url = ground.lattice.url();
            let visiting =
                visitor::visit(url, region.clone(), Arc::clone(recorder), over.subscribe());
            clients.spawn(visiting);
        }
        Ok(Self {
            over,
            clients,
            lookers,
        })
    }

    /// Waits until every client has finished what it does. Who only looks goes on until dropped.
    async fn stop(mut self) -> JoinSet<()> {
        self.over.send_replace(true);
        while self.clients.join_next().await.is_some() {}
        self.lookers
    }
}

/// Strikes as the schedule says, until the time is up. Everything is mended then.
async fn faults(plan: &Plan, ground: &Ground, recorder: &Recorder) -> Vec<Happened> {
    let length = Duration::from_secs_f64(plan.asked.minutes * 60.0);
    let began = Instant::now();
    let mut rounds = Vec::new();
    for (number, round) in (1..).zip(Schedule::new(plan.asked.seed, &plan.asked.regions)) {
        sleep(round.quiet).await;
        if began.elapsed() >= length {
            break;
        }
        let names: Vec<String> = round.faults.iter().map(ToString::to_string).collect();
        say(
            recorder,
            &format!("round {number}: {}", names.join(", and ")),
        );
        let happened = one(ground, recorder, number, &round).await;
        let window = &happened.window;
        let took = window.healed.saturating_sub(window.end) / 1_000;
        say(
            recorder,
            &format!("round {number}: mended, all serve after {took} ms"),
        );
        let stuck = happened.error.clone();
        rounds.push(happened);
        if let Some(error) = stuck {
            say(recorder, &error);
            break;
        }
    }
    rounds
}

async fn one(ground: &Ground, recorder: &Recorder, number: usize, round: &Round) -> Happened {
    let mut happened = Happened {
        number,
        struck: Vec::new(),
        window: Window {
            begin: recorder.now(),
            ..Window::default()
        },
        error: None,
    };
    if let Err(error) = play(ground, recorder, round, &mut happened).await {
        happened.error = Some(format!("{error:#}"));
        // Whatever is left undone is undone as far as it can be.
        for fault in &round.faults {
            let _ = strike::mend(ground, fault).await;
        }
        let _ = ground.whole().await;
    }
    happened.window.healed = recorder.now();
    let window = &mut happened.window;
    if window.end == 0 {
        window.end = window.healed;
    }
    happened
}

async fn play(
    ground: &Ground,
    recorder: &Recorder,
    round: &Round,
    happened: &mut Happened,
) -> anyhow::Result<()> {
    let mut before = Vec::new();
    for fault in &round.faults {
        before.push(strike::before(ground, fault).await?);
        let start = recorder.now();
        happened.struck.push(Struck {
            fault: fault.clone(),
            at: start,
            evidence: None,
        });
        let struck = strike::strike(ground, fault).await;
        recorder.strike(Strike {
            fault: fault.clone(),
            start,
            end: recorder.now(),
        });
        struck?;
    }
    sleep(round.lasts).await;
    for (struck, before) in happened.struck.iter_mut().zip(&before) {
        struck.evidence = strike::during(ground, &struck.fault, before).await;
    }
    happened.window.end = recorder.now();
    // Ways first: what comes back needs them.
    let mut faults: Vec<&Fault> = round.faults.iter().collect();
    faults.sort_by_key(|fault| fault.kind.direction().is_none() && !fault.kind.is_pause());
    for fault in faults {
        let mended = strike::mend(ground, fault).await;
        mended.with_context(|| format!("failed to mend: {fault}"))?;
    }
    ground.whole().await?;
    for (struck, before) in happened.struck.iter_mut().zip(&before) {
        if struck.evidence.is_none() {
            struck.evidence = strike::after(ground, &struck.fault, before).await;
        }
    }
    Ok(())
}

async fn tell(recorder: Arc<Recorder>) {
    loop {
        sleep(TELL).await;
        let progress = recorder.progress();
        let line = format!(
            "{} calls ok, {} failed, {} unknown; {} pages, {} refused",
            progress.ok, progress.failed, progress.unknown, progress.pages, progress.refused
        );
        say(&recorder, &line);
    }
}

/// A line for people.
pub(crate) fn say(recorder: &Recorder, what: &str) {
    let ms = recorder.now() / 1_000;
    eprintln!("{:>6}.{} s  {what}", ms / 1_000, ms % 1_000 / 100);
}
