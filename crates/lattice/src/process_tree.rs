//! The processes a wasmCloud host started: its capability providers.

use std::fs;

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// The capability providers of this repository.
pub const PROVIDERS: [&str; 3] = ["fly-io-metadata", "kind-metadata", "keyvalue-valkey"];

/// A capability provider's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// Its program's name, for example `keyvalue-valkey`.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

impl Provider {
    /// Sends it a signal. One that ended a moment ago is none that can be signalled.
    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.pid) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// The providers that the host with process id `host` runs, by process id.
#[must_use]
pub fn providers(host: u32) -> Vec<Provider> {
    let mut found: Vec<Provider> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| parent(*pid) == Some(host))
        .filter_map(|pid| {
            Some(Provider {
                name: name(pid)?,
                pid,
            })
        })
        .collect();
    found.sort_by_key(|provider| provider.pid);
    found
}

/// The parent's process id, the fourth field of `/proc/PID/stat`; the second is in parentheses
/// and may hold anything.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// The host unpacks a provider to a file named after the archive's whole path, with all
/// punctuation made `_`.
fn name(pid: u32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let file = path.file_name()?.to_str()?;
    let known = PROVIDERS
        .iter()
        .find(|provider| file.contains(&provider.replace('-', "_")));
    Some(known.map_or(file, |provider| *provider).to_owned())
}
