//! One region: its NATS leaf node, its WAN link to the hub, its wasmCloud host, and its Valkey if
//! it has one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::config;
use crate::error::Error;
use crate::launch::{Launcher, Spec};
use crate::port::Ports;
use crate::probe;
use crate::process_tree::Provider;
use crate::region::HOME;
use crate::supervise::{State, Supervised};
use crate::wan::WanLink;
use crate::wasm_host::{HostOptions, WasmHost};
use crate::workspace::{self, Workspace};

const GRACE: Duration = Duration::from_secs(3);

/// The ports of a region, all on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct PlacePorts {
    /// The leaf node's clients.
    pub nats: u16,
    /// The leaf node's monitoring.
    pub monitor: u16,
    /// The page; none at home, which serves no visitors.
    pub http: Option<u16>,
    /// Valkey, where there is one.
    pub valkey: Option<u16>,
}

impl PlacePorts {
    fn take(ports: &mut Ports, name: &str, valkey: bool) -> Result<Self, Error> {
        Ok(Self {
            nats: ports.take()?,
            monitor: ports.take()?,
            http: (name != HOME).then(|| ports.take()).transpose()?,
            valkey: valkey.then(|| ports.take()).transpose()?,
        })
    }
}

/// A region as this lattice runs it.
#[derive(Debug)]
pub struct Place {
    /// `home` or the region's code.
    pub name: String,
    /// Its ports.
    pub ports: PlacePorts,
    /// Its link to the hub.
    pub link: WanLink,
    /// Its NATS leaf node.
    pub leaf: Supervised,
    /// Its Valkey.
    pub valkey: Option<Supervised>,
    host: RwLock<Option<Arc<WasmHost>>>,
    hosts_made: AtomicU32,
    killed: AtomicBool,
    launcher: Launcher,
    workspace: Workspace,
}

impl Place {
    /// Starts the region's servers; the host comes later, with [`Self::start_host`].
    ///
    /// # Errors
    ///
    /// A port or file cannot be had, or a server does not come up.
    pub async fn start(
        name: &str,
        valkey: bool,
        ports: &mut Ports,
        link: WanLink,
        launcher: Launcher,
        workspace: &Workspace,
    ) -> Result<Self, Error> {
        let ports = PlacePorts::take(ports, name, valkey)?;
        let directory = workspace.region(name);
        let nats_conf = directory.join("nats.conf");
        workspace::write(
            &nats_conf,
            &config::leaf(name, ports.nats, ports.monitor, link.local_addr().port()),
        )?;
        let leaf = Supervised::start(
            launcher.clone(),
            fixed(Spec {
                name: format!("{name}/nats"),
                program: workspace.toolbox.nats_server.clone(),
                args: vec!["-c".into(), nats_conf.into()],
                env: BTreeMap::new(),
                log: workspace.log(name, "nats"),
            }),
        );
        let valkey = match ports.valkey {
            None => None,
            Some(port) => {
                let data = directory.join("valkey");
                std::fs::create_dir_all(&data)
                    .map_err(|source| Error::io("create", &data, source))?;
                let conf = directory.join("valkey.conf");
                workspace::write(&conf, &config::valkey(port, &data))?;
                Some(Supervised::start(
                    launcher.clone(),
                    fixed(Spec {
                        name: format!("{name}/valkey"),
                        program: workspace.toolbox.valkey_server.clone(),
                        args: vec![conf.into()],
                        env: BTreeMap::new(),
                        log: workspace.log(name, "valkey"),
                    }),
                ))
            }
        };
        Ok(Self {
            name: name.to_owned(),
            ports,
            link,
            leaf,
            valkey,
            host: RwLock::new(None),
            hosts_made: AtomicU32::new(0),
            killed: AtomicBool::new(false),
            launcher,
            workspace: workspace.clone(),
        })
    }

    /// Waits until the region's servers accept connections.
    ///
    /// # Errors
    ///
    /// One does not within 15 s.
    pub async fn servers_ready(&self) -> Result<(), Error> {
        let deadline = Duration::from_secs(15);
        for (what, port) in [
            ("NATS", Some(self.ports.nats)),
            ("Valkey", self.ports.valkey),
        ] {
            if let Some(port) = port {
                let what = format!("{what} of region {}", self.name);
                probe::until(&what, deadline, || probe::accepts(port)).await?;
            }
        }
        Ok(())
    }

    /// The wasmCloud host, once there is one.
    #[must_use]
    pub fn host(&self) -> Option<Arc<WasmHost>> {
        self.host
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Starts a wasmCloud host and makes it the region's; gives back the one before. Does nothing
    /// in a region that was killed.
    pub fn start_host(&self) -> Option<Arc<WasmHost>> {
        // Under the lock, `kill` either finds this host or has been seen here.
        let mut slot = self.host.write().unwrap_or_else(PoisonError::into_inner);
        if self.killed() {
            return None;
        }
        let host = WasmHost::start(
            self.launcher.clone(),
            &self.workspace,
            HostOptions {
                region: self.name.clone(),
                slot: self.hosts_made.fetch_add(1, Ordering::Relaxed),
                nats_port: self.ports.nats,
                labels: self.labels(),
            },
        );
        slot.replace(Arc::new(host))
    }

    /// Makes an earlier host the region's again; the one in its place is killed.
    pub fn reinstate(&self, host: Arc<WasmHost>) {
        *self.host.write().unwrap_or_else(PoisonError::into_inner) = Some(host);
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([("region".to_owned(), self.name.clone())]);
        if self.name == HOME {
            labels.insert("kubernetes".into(), "true".into());
        } else {
            labels.insert("cloud".into(), "fly.io".into());
        }
        if let Some(port) = self.ports.valkey {
            labels.insert("valkey".into(), format!("127.0.0.1:{port}"));
        }
        labels
    }

    /// The capability providers that run here now.
    #[must_use]
    pub fn providers(&self) -> Vec<Provider> {
        self.host().map(|host| host.providers()).unwrap_or_default()
    }

    /// Whether the whole region was killed on demand.
    #[must_use]
    pub fn killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }

    /// SIGKILLs everything in the region; it stays dead until [`Self::revive`].
    pub async fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        let host = async {
            if let Some(host) = self.host() {
                host.kill(true).await;
            }
        };
        let valkey = async {
            if let Some(valkey) = &self.valkey {
                valkey.kill(true).await;
            }
        };
        tokio::join!(host, self.leaf.kill(true), valkey);
    }

    /// Starts again what was killed and continues what was paused. The host waits for its
    /// servers.
    ///
    /// # Errors
    ///
    /// The servers do not come up.
    pub async fn revive(&self) -> Result<(), Error> {
        self.leaf.revive().await;
        if let Some(valkey) = &self.valkey {
            valkey.revive().await;
        }
        self.servers_ready().await?;
        self.killed.store(false, Ordering::SeqCst);
        match self.host() {
            Some(host) if host.process().status().state != State::Stopped => {
                host.pause(false).await;
                host.process().revive().await;
            }
            // It was being replaced when the region was killed.
            _ => {
                self.start_host();
            }
        }
        Ok(())
    }

    /// SIGSTOPs everything in the region, or lets it go on.
    pub async fn pause(&self, pause: bool) {
        if let Some(host) = self.host() {
            host.pause(pause).await;
        }
        for server in std::iter::once(&self.leaf).chain(&self.valkey) {
            if pause {
                server.pause().await;
            } else {
                server.resume().await;
            }
        }
    }

    /// Kills one process of the region; `hold` keeps it dead.
    ///
    /// # Errors
    ///
    /// There is no such process now, or a provider shall be held, which its host starts again.
    pub async fn kill_process(&self, process: &str, hold: bool) -> Result<(), Error> {
        if let Some(host) = self.host().filter(|_| process == "host") {
            host.kill(hold).await;
            return Ok(());
        }
        if let Some(server) = self.server(process) {
            server.kill(hold).await;
            return Ok(());
        }
        let provider = self.provider(process)?;
        if hold {
            let mut allowed = self.own_processes();
            if self.name == HOME {
                allowed.extend(["hub", "wadm"]);
            }
            return Err(Error::Refused(format!(
                "{process} cannot be held: its host starts a provider again within seconds; \
                 --hold is for {}, and without it {process} is killed once",
                allowed.join(", ")
            )));
        }
        provider.signal(Signal::SIGKILL);
        Ok(())
    }

    /// SIGSTOPs one process of the region, or lets it go on.
    ///
    /// # Errors
    ///
    /// There is no such process now.
    pub async fn pause_process(&self, process: &str, pause: bool) -> Result<(), Error> {
        let host = self.host();
        match self.supervised(host.as_deref(), process) {
            Some(server) if pause => server.pause().await,
            Some(server) => server.resume().await,
            None => self.provider(process)?.signal(if pause {
                Signal::SIGSTOP
            } else {
                Signal::SIGCONT
            }),
        }
        Ok(())
    }

    /// Starts again one process that was killed with `hold`.
    ///
    /// # Errors
    ///
    /// There is no such process.
    pub async fn revive_process(&self, process: &str) -> Result<(), Error> {
        let host = self.host();
        match self.supervised(host.as_deref(), process) {
            Some(server) => server.revive().await,
            None => self.provider(process)?.signal(Signal::SIGCONT),
        }
        Ok(())
    }

    /// Whether a process of the region is dead and stays so until it is revived.
    pub fn is_held(&self, process: &str) -> bool {
        let host = self.host();
        self.supervised(host.as_deref(), process)
            .is_some_and(|server| server.status().state == State::Killed)
    }

    /// The supervision of a process: none for providers, which are their host's.
    fn supervised<'a>(
        &'a self,
        host: Option<&'a WasmHost>,
        process: &str,
    ) -> Option<&'a Supervised> {
        match host {
            Some(host) if process == "host" => Some(host.process()),
            _ => self.server(process),
        }
    }

    fn server(&self, process: &str) -> Option<&Supervised> {
        match process {
            "nats" => Some(&self.leaf),
            "valkey" => self.valkey.as_ref(),
            _ => None,
        }
    }

    /// The processes here that lattice itself starts, and can keep dead.
    fn own_processes(&self) -> Vec<&'static str> {
        let mut own = vec!["host", "nats"];
        own.extend(self.valkey.is_some().then_some("valkey"));
        own
    }

    fn provider(&self, name: &str) -> Result<Provider, Error> {
        let providers = self.providers();
        if let Some(found) = providers.iter().find(|provider| provider.name == name) {
            return Ok(found.clone());
        }
        let own = self.own_processes().into_iter();
        let mut known: Vec<String> = own.map(str::to_owned).collect();
        known.extend(providers.into_iter().map(|provider| provider.name));
        Err(Error::Unknown {
            kind: "process",
            name: name.to_owned(),
            known,
        })
    }

    /// Ends everything in the region, in good order.
    pub async fn stop(&self) {
        if let Some(host) = self.host() {
            host.stop().await;
        }
        self.leaf.stop(GRACE).await;
        if let Some(valkey) = &self.valkey {
            valkey.stop(GRACE).await;
        }
    }
}

/// A process that starts the same way each time.
pub(crate) fn fixed(spec: Spec) -> crate::supervise::MakeSpec {
    Arc::new(move || spec.clone())
}
