//! Starting processes that cannot outlive this one.
//!
//! The kernel's parent death signal is tied to the *thread* that forked, so all processes are
//! started from one thread that lives as long as the [`Launcher`] does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::workspace::open_log;

/// What to run.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Name for people, for example `iad/host`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables added to this process's environment.
    pub env: BTreeMap<String, String>,
    /// File that takes its output, appended to.
    pub log: PathBuf,
}

type Answer = oneshot::Sender<io::Result<Child>>;

/// Starts processes through `lattice-platform leash`.
#[derive(Clone, Debug)]
pub struct Launcher {
    requests: mpsc::Sender<(Spec, Answer)>,
}

impl Launcher {
    /// Starts the launching thread. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn new(leash: PathBuf) -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<(Spec, Answer)>();
        let runtime = Handle::current();
        thread::Builder::new()
            .name("launcher".into())
            .spawn(move || {
                let _entered = runtime.enter();
                for (spec, answer) in inbox {
                    // A caller that went away drops the child, which kills it.
                    let _ = answer.send(spawn(&leash, &spec));
                }
            })?;
        Ok(Self { requests })
    }

    /// Starts a process.
    ///
    /// # Errors
    ///
    /// Its log file cannot be opened or it cannot be forked. A program that is missing shows as a
    /// process that ends at once, with the reason in its log.
    pub async fn spawn(&self, spec: &Spec) -> io::Result<Child> {
        let (answer, result) = oneshot::channel();
        self.requests
            .send((spec.clone(), answer))
            .map_err(|_| io::Error::other("the launching thread is gone"))?;
        result
            .await
            .map_err(|_| io::Error::other("the launching thread is gone"))?
    }
}

fn spawn(leash: &PathBuf, spec: &Spec) -> io::Result<Child> {
    let log = open_log(&spec.log)?;
    Command::new(leash)
        .arg("leash")
        .arg("--parent")
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(&spec.program)
        .args(&spec.args)
        .envs(&spec.env)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in the terminal is for lattice alone: it ends the rest in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}
