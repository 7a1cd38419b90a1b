//! What can go wrong, in words for the person at the terminal.

use std::path::{Path, PathBuf};

/// An error of the local platform.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be used.
    #[error("failed to {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// No port is left in the range that lattices use.
    #[error("no free port between 15000 and 32000 on 127.0.0.1")]
    NoFreePort,
    /// The port asked for is in use.
    #[error("port {0} of 127.0.0.1 is in use; choose another with --port, or leave it out")]
    PortTaken(u16),
    /// A program or artifact of the platform is missing.
    #[error("{what} not found ({}); run `make {fix}`", looked.join(", "))]
    Missing {
        /// What is missing.
        what: String,
        /// Where it was looked for.
        looked: Vec<String>,
        /// The target of the Makefile that brings it.
        fix: &'static str,
    },
    /// The list of regions cannot be used.
    #[error("{0}")]
    Regions(String),
    /// A region or process was named that this lattice does not have.
    #[error("no {kind} `{name}`; there is {}", known.join(", "))]
    Unknown {
        /// `region` or `process`.
        kind: &'static str,
        /// The name given.
        name: String,
        /// The names it could have been.
        known: Vec<String>,
    },
    /// What was asked makes no sense in the present state.
    #[error("{0}")]
    Refused(String),
    /// A process could not be started.
    #[error("failed to start {name}")]
    Spawn {
        /// The process.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// The edge could not be started.
    #[error("failed to start the edge")]
    Edge(#[from] crate::edge::EdgeError),
    /// Something did not become ready in time.
    #[error("{what} did not become ready within {seconds} s{}", detail(.last))]
    NotReady {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What was seen last, and where to look.
        last: String,
    },
    /// The manifest cannot be used.
    #[error("manifest {}: {reason}", path.display())]
    Manifest {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// wadm refused or failed.
    #[error("wadm: {0}")]
    Wadm(String),
    /// NATS failed.
    #[error("NATS: {0}")]
    Nats(String),
    /// No lattice runs in the state directory.
    #[error("no lattice is running in {} (start one with `lattice up`, or name the directory of one that runs with `--state-dir`)", .0.display())]
    NotRunning(PathBuf),
    /// The state directory has no log of any process.
    #[error("no lattice has run in {} (go where `lattice up` was run, or name its directory with `--state-dir`)", .0.display())]
    NeverRan(PathBuf),
    /// A running lattice answered with an error.
    #[error("{0}")]
    Remote(String),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// The message with those of its sources, on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}

fn detail(last: &str) -> String {
    if last.is_empty() {
        String::new()
    } else {
        format!(": {last}")
    }
}
