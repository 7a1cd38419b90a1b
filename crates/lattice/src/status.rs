//! What a lattice looks like from outside, for people and for programs.

use std::fmt::Write as _;

use replica::Status as Replication;
use serde::{Deserialize, Serialize};

use crate::edge::EdgeStatus;
use crate::replication;
use crate::stores::Stores;
use crate::supervise::State;
use crate::wan::CutStatus;

/// The whole lattice at one moment; the shape of `lattice status --json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Process id of the `lattice` that runs it.
    pub pid: u32,
    /// Where visitors go.
    pub url: String,
    /// How the edge finds the regions, and what it did for visitors.
    pub edge: EdgeStatus,
    /// Client address of the hub's NATS, for `wash --ctl-port` and the like.
    pub hub: String,
    /// Round trip between any two regions, in milliseconds.
    pub wan_ms: u64,
    /// Which regions have a Valkey.
    pub stores: Stores,
    /// What wadm says of the application, or why it says nothing.
    pub application: String,
    /// Every region, home first.
    pub regions: Vec<RegionStatus>,
    /// What the supervision is doing about the hosts, if anything.
    pub healing: Option<String>,
}

/// One region.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RegionStatus {
    /// `home` or its code.
    pub name: String,
    /// Its page, past the edge; none at home.
    pub url: Option<String>,
    /// Public key of its wasmCloud host.
    pub host_id: String,
    /// In one word.
    pub state: RegionState,
    /// Which way nothing passes on its link to the hub, and since when, if it is cut.
    pub cut: Option<CutStatus>,
    /// Its processes, with the providers of its host.
    pub processes: Vec<ProcessStatus>,
    /// Port of its Valkey, where there is one.
    pub valkey_port: Option<u16>,
    /// How its store replicates; none while nobody leads that, or where it does not.
    pub replication: Option<Replication>,
    /// Client port of its NATS leaf node.
    pub nats_port: u16,
}

/// A region in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionState {
    /// The edge finds it healthy; at home: all processes run.
    Serving,
    /// It is coming up, or some of it is missing.
    Degraded,
    /// Something in it is stopped with SIGSTOP.
    Paused,
    /// Its link to the hub is cut.
    Cut,
    /// It was killed.
    Killed,
}

/// One process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its name, as `kill` and `logs` take it.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// Its process id while it has one.
    pub pid: Option<u32>,
    /// How often it was started; 1 for one that never died. Unknown, 0, for providers, which
    /// their host starts.
    pub starts: u32,
}

impl Status {
    /// The regions that serve visitors and those that could, for example `2 of 3`.
    #[must_use]
    pub fn serving(&self) -> (usize, usize) {
        let pages = || self.regions.iter().filter(|region| region.url.is_some());
        let serving = pages()
            .filter(|region| region.state == RegionState::Serving)
            .count();
        (serving, pages().count())
    }

    /// The port of the page.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let (_, port) = self.url.rsplit_once(':')?;
        port.parse().ok()
    }

    /// Whether every region serves and the supervision has nothing to do.
    ///
    /// # Errors
    ///
    /// That is not so; the text says what is missing.
    pub fn whole(&self) -> Result<(), String> {
        if let Some(healing) = &self.healing {
            return Err(healing.clone());
        }
        let missing = |region: &&RegionStatus| region.state != RegionState::Serving;
        match self.regions.iter().find(missing) {
            Some(region) => Err(format!("{} is {:?}", region.name, region.state)),
            None => Ok(()),
        }
    }

    /// One line for a terminal.
    #[must_use]
    pub fn line(&self) -> String {
        let (serving, all) = self.serving();
        let mut line = format!("{serving} of {all} regions serve");
        for region in &self.regions {
            if region.state != RegionState::Serving {
                let _ = write!(line, " · {} {}", region.name, word(region.state));
            }
            if let Some(store) = region.replication.as_ref().filter(|store| !store.in_step()) {
                let _ = write!(
                    line,
                    " · store of {} {}",
                    region.name,
                    replication::word(store)
                );
            }
        }
        let _ = write!(
            line,
            " · {} requests, {} attempts, {} failed",
            self.edge.requests, self.edge.attempts_total, self.edge.unavailable
        );
        if let Some(healing) = &self.healing {
            let _ = write!(line, " · {healing}");
        }
        line
    }

    /// A table for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut rows = vec![["REGION", "STATE", "URL", "HOST", "PROCESSES"].map(str::to_owned)];
        for region in &self.regions {
            let processes: Vec<String> = region.processes.iter().map(describe).collect();
            rows.push([
                region.name.clone(),
                word(region.state).to_owned(),
                region.url.clone().unwrap_or_else(|| "-".into()),
                region.host_id.get(..8).unwrap_or("-").to_owned(),
                processes.join(", "),
            ]);
        }
        let mut table = columns(&rows);
        let stores = self.regions.iter();
        let stores = stores.filter(|region| region.valkey_port.is_some());
        let stores = stores.map(|region| (region.name.as_str(), region.replication.as_ref()));
        let stores = replication::table(stores);
        if !stores.is_empty() {
            let _ = write!(table, "\n{stores}");
        }
        let _ = write!(
            table,
            "\nopen {}    hub nats://{}    {} ms between regions    application {}\n",
            self.url, self.hub, self.wan_ms, self.application
        );
        if let Some(healing) = &self.healing {
            let _ = writeln!(table, "{healing}");
        }
        table
    }
}

/// Rows of cells, each column as wide as its widest cell.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for row in rows {
        let cells = row.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        table.push_str(cells.join("  ").trim_end());
        table.push('\n');
    }
    table
}

fn word(state: RegionState) -> &'static str {
    match state {
        RegionState::Serving => "serving",
        RegionState::Degraded => "degraded",
        RegionState::Paused => "paused",
        RegionState::Cut => "cut off",
        RegionState::Killed => "killed",
    }
}

fn describe(process: &ProcessStatus) -> String {
    let mut text = process.name.clone();
    match process.state {
        State::Running => {}
        State::Starting => text.push_str(" (starting)"),
        State::Paused => text.push_str(" (paused)"),
        State::Killed => text.push_str(" (killed)"),
        State::Stopped => text.push_str(" (stopped)"),
    }
    if process.starts > 1 {
        let _ = write!(text, " ×{}", process.starts);
    }
    text
}
