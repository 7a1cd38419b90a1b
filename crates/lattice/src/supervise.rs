//! Keeps one process running: restarts with backoff, and faults on demand.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout, Instant};
use tracing::{info, warn};

use crate::launch::{Launcher, Spec};

/// The first pause before a restart; doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A process that lived this long starts again with the first pause.
const STABLE: Duration = Duration::from_secs(10);

/// What a supervised process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has not been started yet, or is about to be again.
    Starting,
    /// It runs.
    Running,
    /// It was stopped with SIGSTOP.
    Paused,
    /// It was killed on demand and stays dead until it is revived.
    Killed,
    /// It was ended for good.
    Stopped,
}

/// A supervised process as seen from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Its process id while it has one.
    pub pid: Option<u32>,
    /// How often it was started.
    pub starts: u32,
    /// When the state began.
    pub since: SystemTime,
    /// How it ended last.
    pub last_exit: Option<String>,
}

enum Order {
    Kill {
        hold: bool,
        done: oneshot::Sender<()>,
    },
    Pause(oneshot::Sender<()>),
    Resume(oneshot::Sender<()>),
    Revive(oneshot::Sender<()>),
    Stop {
        grace: Duration,
        done: oneshot::Sender<()>,
    },
}

/// Makes the [`Spec`] of the next start; the host gets a new identity each time.
pub type MakeSpec = Arc<dyn Fn() -> Spec + Send + Sync>;

/// A process that is started again when it dies. Dropping it kills the process.
#[derive(Debug)]
pub struct Supervised {
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
}

impl Supervised {
    /// Starts the process and its supervision.
    #[must_use]
    pub fn start(launcher: Launcher, make: MakeSpec) -> Self {
        let (orders, inbox) = mpsc::channel(8);
        let (publish, status) = watch::channel(Status {
            state: State::Starting,
            pid: None,
            starts: 0,
            since: SystemTime::now(),
            last_exit: None,
        });
        let task = tokio::spawn(
            Keeper {
                launcher,
                make,
                inbox,
                publish,
                pause: FIRST_PAUSE,
            }
            .run(),
        );
        Self {
            orders,
            status,
            task,
        }
    }

    /// Its state now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Its state as it changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// SIGKILL. It is restarted as after any crash, unless `hold`, then only by [`Self::revive`].
    pub async fn kill(&self, hold: bool) {
        self.order(|done| Order::Kill { hold, done }).await;
    }

    /// SIGSTOP: the process exists, holds its connections and answers nothing.
    pub async fn pause(&self) {
        self.order(Order::Pause).await;
    }

    /// SIGCONT.
    pub async fn resume(&self) {
        self.order(Order::Resume).await;
    }

    /// Starts it again if it was killed with `hold`; continues it if it was paused.
    pub async fn revive(&self) {
        self.order(Order::Revive).await;
    }

    /// SIGTERM, then SIGKILL after `grace`; it stays down.
    pub async fn stop(&self, grace: Duration) {
        self.order(|done| Order::Stop { grace, done }).await;
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let (done, wait) = oneshot::channel();
        if self.orders.send(order(done)).await.is_ok() {
            // An error means that the supervision ended, and the process with it.
            let _ = wait.await;
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Keeper {
    launcher: Launcher,
    make: MakeSpec,
    inbox: mpsc::Receiver<Order>,
    publish: watch::Sender<Status>,
    pause: Duration,
}

/// What to do after a process ended or was ended.
enum Next {
    Restart,
    Hold,
    End,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let spec = (self.make)();
            let next = match self.launcher.spawn(&spec).await {
                Ok(child) => self.watch_over(&spec.name, child).await,
                Err(error) => {
                    warn!(process = spec.name, %error, "failed to start");
                    self.publish
                        .send_modify(|status| status.last_exit = Some(error.to_string()));
                    Next::Restart
                }
            };
            let go_on = match next {
                Next::Restart => self.back_off().await,
                Next::Hold => self.held().await,
                Next::End => false,
            };
            if !go_on {
                self.state(State::Stopped, None);
                return;
            }
        }
    }

    fn state(&self, state: State, pid: Option<u32>) {
        self.publish.send_modify(|status| {
            status.state = state;
            status.pid = pid;
            status.since = SystemTime::now();
        });
    }

    async fn watch_over(&mut self, name: &str, mut child: Child) -> Next {
        let Some(pid) = child.id() else {
            return Next::Restart;
        };
        let started = Instant::now();
        self.publish.send_modify(|status| {
            status.state = State::Running;
            status.pid = Some(pid);
            status.starts += 1;
            status.since = SystemTime::now();
        });
        info!(process = name, pid, "started");
        loop {
            tokio::select! {
                exit = child.wait() => {
                    let exit = exit.map_or_else(|error| error.to_string(), |exit| exit.to_string());
                    warn!(process = name, pid, exit, "ended");
                    self.publish.send_modify(|status| status.last_exit = Some(exit));
                    if started.elapsed() >= STABLE {
                        self.pause = FIRST_PAUSE;
                    }
                    return Next::Restart;
                }
                order = self.inbox.recv() => match order {
                    None => return Next::End,
                    Some(Order::Kill { hold, done }) => {
                        kill_and_reap(&mut child).await;
                        info!(process = name, pid, hold, "killed on demand");
                        self.publish.send_modify(|status| status.last_exit = Some("killed on demand".into()));
                        self.state(if hold { State::Killed } else { State::Starting }, None);
                        let _ = done.send(());
                        return if hold { Next::Hold } else { Next::Restart };
                    }
                    Some(Order::Pause(done)) => {
                        send(pid, Signal::SIGSTOP);
                        self.state(State::Paused, Some(pid));
                        let _ = done.send(());
                    }
                    Some(Order::Resume(done) | Order::Revive(done)) => {
                        if self.publish.borrow().state == State::Paused {
                            send(pid, Signal::SIGCONT);
                            self.state(State::Running, Some(pid));
                        }
                        let _ = done.send(());
                    }
                    Some(Order::Stop { grace, done }) => {
                        send(pid, Signal::SIGCONT);
                        send(pid, Signal::SIGTERM);
                        if timeout(grace, child.wait()).await.is_err() {
                            kill_and_reap(&mut child).await;
                        }
                        self.state(State::Stopped, None);
                        let _ = done.send(());
                        return Next::End;
                    }
                },
            }
        }
    }

    /// Waits before a restart; false when the process is to stay down for good.
    async fn back_off(&mut self) -> bool {
        self.state(State::Starting, None);
        let until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        loop {
            tokio::select! {
                () = sleep(until.saturating_duration_since(Instant::now())) => return true,
                order = self.inbox.recv() => match order {
                    None => return false,
                    Some(Order::Stop { done, .. }) => { let _ = done.send(()); return false; }
                    Some(Order::Kill { hold: true, done }) => {
                        let _ = done.send(());
                        return self.held().await;
                    }
                    Some(Order::Kill { done, .. } | Order::Pause(done) | Order::Resume(done) | Order::Revive(done)) => {
                        let _ = done.send(());
                    }
                },
            }
        }
    }

    /// Stays down until revived; false when for good.
    async fn held(&mut self) -> bool {
        self.state(State::Killed, None);
        while let Some(order) = self.inbox.recv().await {
            match order {
                Order::Revive(done) => {
                    self.pause = FIRST_PAUSE;
                    let _ = done.send(());
                    return true;
                }
                Order::Stop { done, .. } => {
                    let _ = done.send(());
                    return false;
                }
                Order::Kill { done, .. } | Order::Pause(done) | Order::Resume(done) => {
                    let _ = done.send(());
                }
            }
        }
        false
    }
}

fn send(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have ended a moment ago; then there is nothing to signal.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

async fn kill_and_reap(child: &mut Child) {
    if let Err(error) = child.kill().await {
        warn!(%error, "failed to kill a process");
    }
}
