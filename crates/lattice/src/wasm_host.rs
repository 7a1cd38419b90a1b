//! One wasmCloud host of a region, as a process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use nkeys::KeyPair;
use tracing::warn;

use crate::config::HUB_DOMAIN;
use crate::launch::{Launcher, Spec};
use crate::process_tree::{ProcessTree, Provider};
use crate::supervise::{MakeSpec, Supervised};
use crate::workspace::Workspace;

/// How long a host may take to say good-bye before it is killed.
const GRACE: Duration = Duration::from_secs(6);

/// What a host is started with.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Its region's name.
    pub region: String,
    /// Tells hosts apart that overlap in one region.
    pub slot: u32,
    /// Client port of the region's leaf node.
    pub nats_port: u16,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A supervised wasmCloud host. Each start has a new identity, as the lattice would otherwise
/// believe that the new process still runs what the old one did.
#[derive(Debug)]
pub struct WasmHost {
    process: Supervised,
    id: Arc<Mutex<String>>,
}

impl WasmHost {
    /// Starts a host and its supervision.
    #[must_use]
    pub fn start(launcher: Launcher, workspace: &Workspace, options: HostOptions) -> Self {
        let id = Arc::new(Mutex::new(String::new()));
        let make = make_spec(workspace.clone(), options, Arc::clone(&id));
        Self {
            process: Supervised::start(launcher, make),
            id,
        }
    }

    /// The public key of the running or the next host; empty before the first start.
    #[must_use]
    pub fn id(&self) -> String {
        self.id
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The host's own process.
    #[must_use]
    pub fn process(&self) -> &Supervised {
        &self.process
    }

    /// The provider processes it runs now.
    #[must_use]
    pub fn providers(&self) -> Vec<Provider> {
        self.providers_in(&ProcessTree::scan())
    }

    /// The provider processes it runs, in a tree that others look at, too.
    #[must_use]
    pub fn providers_in(&self, tree: &ProcessTree) -> Vec<Provider> {
        let pid = self.process.status().pid;
        pid.map(|pid| tree.providers(pid)).unwrap_or_default()
    }

    /// SIGKILLs the host and its providers at one stroke, as a lost machine would.
    pub async fn kill(&self, hold: bool) {
        let providers = self.providers();
        self.process.kill(hold).await;
        for provider in providers {
            provider.signal(Signal::SIGKILL);
        }
    }

    /// Stops or continues the host and its providers.
    pub async fn pause(&self, pause: bool) {
        for provider in self.providers() {
            provider.signal(if pause {
                Signal::SIGSTOP
            } else {
                Signal::SIGCONT
            });
        }
        if pause {
            self.process.pause().await;
        } else {
            self.process.resume().await;
        }
    }

    /// Ends the host in good order, then its providers, which would end by themselves soon.
    pub async fn stop(&self) {
        let providers = self.providers();
        self.process.stop(GRACE).await;
        for provider in providers {
            provider.signal(Signal::SIGTERM);
        }
    }
}

fn make_spec(workspace: Workspace, options: HostOptions, id: Arc<Mutex<String>>) -> MakeSpec {
    Arc::new(move || {
        let key = KeyPair::new_server();
        *id.lock().unwrap_or_else(PoisonError::into_inner) = key.public_key();
        let HostOptions {
            region,
            slot,
            nats_port,
            labels,
        } = &options;
        // The host unpacks providers below TMPDIR, once per identity, and never cleans up.
        let scratch = workspace.region(region).join(format!("host-{slot}"));
        if let Err(error) = renew(&scratch) {
            warn!(%error, region, "failed to renew the host's scratch directory");
        }
        let mut args = vec![
            "host".to_owned(),
            format!("--nats-url=nats://127.0.0.1:{nats_port}"),
            format!("--lattice={}", workspace.lattice),
            format!("--js-domain={HUB_DOMAIN}"),
            "--heartbeat-seconds=5".to_owned(),
        ];
        args.extend(
            labels
                .iter()
                .map(|(key, value)| format!("--label={key}={value}")),
        );
        let mut env = BTreeMap::from([
            ("TMPDIR".to_owned(), scratch.display().to_string()),
            // Not an argument, as those are visible to every user of the machine.
            (
                "LATTICE_HOST_SEED".to_owned(),
                key.seed().unwrap_or_default(),
            ),
            (
                "OTEL_RESOURCE_ATTRIBUTES".to_owned(),
                format!("cloud.region={region},host.id={}", key.public_key()),
            ),
        ]);
        if std::env::var_os("RUST_LOG").is_none() {
            env.insert("RUST_LOG".into(), "warn,wasmcloud_host=info,lattice_platform=info,keyvalue_valkey=info,kind_metadata=info,provider_kit=info".into());
        }
        Spec {
            name: format!("{region}/host"),
            program: workspace.toolbox.platform.clone(),
            args: args.into_iter().map(Into::into).collect(),
            env,
            log: workspace.log(region, "host"),
        }
    })
}

fn renew(directory: &std::path::Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::create_dir_all(directory)
}
