//! The `lattice` command line, as a person uses it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use lattice::launch::{Launcher, Spec};
use lattice::status::Status;
use lattice::toolbox::Toolbox;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::wait::{seconds, until};

/// How long any command may take.
const DEADLINE: std::time::Duration = seconds(150);

/// What a command did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether it ended with success.
    pub success: bool,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Outcome {
    /// The output of a command that succeeded.
    ///
    /// # Panics
    ///
    /// It did not.
    pub fn well(self) -> String {
        assert!(self.success, "{self:#?}");
        self.out
    }

    /// The error message of a command that failed.
    ///
    /// # Panics
    ///
    /// It did not, or said nothing.
    #[must_use]
    pub fn refused(self) -> String {
        assert!(!self.success && !self.err.is_empty(), "{self:#?}");
        self.err
    }
}

/// `lattice` in a state directory of its own, run from the root of the repository.
#[derive(Clone, Debug)]
pub struct Program {
    /// The state directory.
    pub directory: PathBuf,
}

impl Program {
    /// In a directory below `target/e2e`, which is emptied.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            directory: crate::emptied(name),
        }
    }

    /// Runs a command line to its end.
    ///
    /// # Panics
    ///
    /// It does not end.
    pub async fn run(&self, arguments: &[&str]) -> Outcome {
        let output = Command::new(program())
            .arg("--state-dir")
            .arg(&self.directory)
            .args(arguments)
            .current_dir(crate::root())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(DEADLINE, output).await;
        let output = output.unwrap_or_else(|_| panic!("lattice {arguments:?} does not end"));
        let output = output.expect("lattice can be run");
        Outcome {
            success: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// `lattice up` in the foreground, as in a terminal, until it is up.
    ///
    /// # Panics
    ///
    /// It does not come up.
    pub async fn up(&self, arguments: &[&str]) -> Foreground {
        let mut foreground = self.start(arguments).await;
        let log = foreground.log.clone();
        let up = async {
            until("lattice up", DEADLINE, || async {
                self.status().await.map(|_| ()).ok_or(read(&log))
            })
            .await;
        };
        tokio::select! {
            () = up => {}
            ended = foreground.child.wait() => panic!("lattice up ended: {ended:?}\n{}", read(&log)),
        }
        foreground
    }

    /// `lattice up` in the foreground, which has only begun.
    ///
    /// # Panics
    ///
    /// It cannot be run.
    pub async fn start(&self, arguments: &[&str]) -> Foreground {
        let toolbox = Toolbox::find(&crate::root()).unwrap_or_else(|error| panic!("{error}"));
        // On a leash, so that a test that is killed leaves nothing behind either.
        let launcher = Launcher::new(toolbox.platform).expect("a launching thread");
        let log = self.directory.join("up.log");
        // What an earlier one printed is not this one's.
        let _ = std::fs::remove_file(&log);
        let mut args = vec![
            "--state-dir".into(),
            self.directory.clone().into(),
            "up".into(),
        ];
        args.extend(arguments.iter().map(Into::into));
        args.push("--manifest".into());
        args.push(crate::root().join("local.wadm.yaml").into());
        let spec = Spec {
            name: "lattice".into(),
            program: program(),
            args,
            env: BTreeMap::new(),
            log: log.clone(),
        };
        let child = launcher.spawn(&spec).await.expect("lattice can be run");
        Foreground {
            child,
            log,
            _launcher: launcher,
        }
    }

    /// Runs a command line that goes on until it is dropped, as `logs -f` does.
    ///
    /// # Panics
    ///
    /// It cannot be run.
    #[must_use]
    pub fn follow(&self, arguments: &[&str]) -> Following {
        let mut child = Command::new(program())
            .arg("--state-dir")
            .arg(&self.directory)
            .args(arguments)
            .current_dir(crate::root())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("lattice can be run");
        let output = child.stdout.take().expect("its output");
        Following {
            _child: child,
            lines: BufReader::new(output).lines(),
        }
    }

    /// `lattice status --json`, when one runs.
    pub async fn status(&self) -> Option<Status> {
        let outcome = self.run(&["status", "--json"]).await;
        outcome
            .success
            .then(|| serde_json::from_str(&outcome.out).expect("a status"))
    }

    /// `lattice status --json`.
    ///
    /// # Panics
    ///
    /// None runs.
    pub async fn running(&self) -> Status {
        self.status().await.expect("a lattice runs")
    }
}

/// A `lattice up` in the foreground. Dropping it kills it.
#[derive(Debug)]
pub struct Foreground {
    child: Child,
    log: PathBuf,
    _launcher: Launcher,
}

impl Foreground {
    /// What it has printed.
    #[must_use]
    pub fn output(&self) -> String {
        read(&self.log)
    }

    /// Waits until it has printed this.
    ///
    /// # Panics
    ///
    /// It does not within half a minute.
    pub async fn reached(&self, stage: &str) {
        until(stage, seconds(30), || async {
            let output = self.output();
            output.contains(stage).then_some(()).ok_or(output)
        })
        .await;
    }

    /// It and every process below it.
    ///
    /// # Panics
    ///
    /// It has ended.
    #[must_use]
    pub fn family(&self) -> Vec<u32> {
        let processes = processes();
        let mut family = vec![self.child.id().expect("it runs")];
        let mut next = 0;
        while let Some(parent) = family.get(next).copied() {
            let children = processes.iter().filter(|(_, of)| *of == parent);
            family.extend(children.map(|(pid, _)| *pid));
            next += 1;
        }
        family
    }

    /// Sends it a signal and waits until it has ended.
    ///
    /// # Panics
    ///
    /// It does not end within 30 s.
    pub async fn end(self, signal: Signal) -> ExitStatus {
        send(self.child.id().expect("it runs"), signal);
        self.ended().await
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    ///
    /// It does not within 30 s.
    pub async fn ended(mut self) -> ExitStatus {
        let ended = timeout(seconds(30), self.child.wait()).await;
        ended
            .expect("lattice does not end")
            .expect("its exit status")
    }
}

/// A command that goes on. Dropping it kills it.
#[derive(Debug)]
pub struct Following {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    /// Reads on until a line holds this; any line holds `""`.
    ///
    /// # Panics
    ///
    /// None comes within 30 s.
    pub async fn line(&mut self, part: &str) -> String {
        let found = async {
            while let Some(line) = self.lines.next_line().await.expect("text") {
                if line.contains(part) {
                    return line;
                }
            }
            panic!("it ended before `{part}`");
        };
        let found = timeout(seconds(30), found).await;
        found.unwrap_or_else(|_| panic!("no line with `{part}`"))
    }
}

/// Every process of a lattice, itself included.
#[must_use]
pub fn pids(status: &Status) -> Vec<u32> {
    let processes = status.regions.iter().flat_map(|region| &region.processes);
    std::iter::once(status.pid)
        .chain(processes.filter_map(|process| process.pid))
        .collect()
}

/// Waits until none of these processes exists.
///
/// # Panics
///
/// One still does after 30 s.
pub async fn gone(pids: &[u32]) {
    until("the end of every process", seconds(30), || async {
        let alive: Vec<String> = pids.iter().filter_map(|pid| command(*pid)).collect();
        alive.is_empty().then_some(()).ok_or(format!("{alive:#?}"))
    })
    .await;
}

/// The command line of a process that runs.
fn command(pid: u32) -> Option<String> {
    let (state, _) = state_and_parent(pid)?;
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    // A zombie has ended; only its parent has not looked yet.
    (!matches!(state.as_str(), "Z" | "X")).then(|| format!("{pid} {}", line.replace('\0', " ")))
}

/// Every process of this machine, with its parent.
fn processes() -> Vec<(u32, u32)> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, state_and_parent(pid)?.1)))
        .collect()
}

fn state_and_parent(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// Sends a signal to a process.
///
/// # Panics
///
/// There is no such process.
pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().expect("a process id")), signal).expect("a process");
}

/// `lattice`, beside the tests as cargo builds it.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its program");
    let program = own.ancestors().nth(2).expect("a directory").join("lattice");
    assert!(
        program.is_file(),
        "{} is missing: run `make build`",
        program.display()
    );
    program
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
