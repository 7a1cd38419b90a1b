//! The processes a wasmCloud host started: its capability providers.

use std::collections::BTreeMap;
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
    /// Whether it is stopped, as by SIGSTOP.
    pub stopped: bool,
}

impl Provider {
    /// Sends it a signal. One that ended a moment ago is none that can be signalled.
    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.pid) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// The processes of this machine at one moment, by their parents.
#[derive(Debug, Default)]
pub struct ProcessTree {
    children: BTreeMap<u32, Vec<Child>>,
}

#[derive(Debug)]
struct Child {
    pid: u32,
    stopped: bool,
}

impl ProcessTree {
    /// Looks through `/proc`, once; so one tree serves for all hosts.
    #[must_use]
    pub fn scan() -> Self {
        let mut pids: Vec<u32> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        let mut tree = Self::default();
        for pid in pids {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
            if let Some((parent, stopped)) = stat.ok().as_deref().and_then(parse) {
                let siblings = tree.children.entry(parent).or_default();
                siblings.push(Child { pid, stopped });
            }
        }
        tree
    }

    /// The providers that the host with process id `host` runs, by process id.
    #[must_use]
    pub fn providers(&self, host: u32) -> Vec<Provider> {
        let children = self.children.get(&host).into_iter().flatten();
        let provider = |child: &Child| {
            Some(Provider {
                name: name(child.pid)?,
                pid: child.pid,
                stopped: child.stopped,
            })
        };
        children.filter_map(provider).collect()
    }
}

/// The parent and whether the process is stopped, from `/proc/PID/stat`: the fields after the
/// second, which is in parentheses and may hold anything, are the state and the parent.
fn parse(stat: &str) -> Option<(u32, bool)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let stopped = fields.next()? == "T";
    Some((fields.next()?.parse().ok()?, stopped))
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_process_whose_name_looks_like_fields_is_read_right() {
        assert_eq!(parse("7 (a) T 1 (b) S 42 7 7"), Some((42, false)));
        assert_eq!(parse("7 (nats-server) T 42 7 7"), Some((42, true)));
        assert_eq!(parse("7 (nats-server"), None);
    }

    #[test]
    fn a_stopped_child_is_found_stopped_and_running_when_it_goes_on() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = child.id();
        let find = || {
            let found = ProcessTree::scan().providers(std::process::id());
            found.into_iter().find(|found| found.pid == pid)
        };
        let running = find().unwrap();
        for (signal, stopped) in [(Signal::SIGSTOP, true), (Signal::SIGCONT, false)] {
            running.signal(signal);
            let deadline = Instant::now() + Duration::from_secs(10);
            while find().unwrap().stopped != stopped {
                assert!(Instant::now() < deadline, "{:?}", find());
                std::thread::yield_now();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(find(), None);
    }
}
