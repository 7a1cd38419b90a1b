//! The servers of the regions: processes that end with this one, each on ports of its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lattice::launch::{Launcher, Spec};
use lattice::port::Ports;
use lattice::supervise::Supervised;
use lattice::toolbox::Toolbox;
use lattice::{config, probe};
use tempfile::TempDir;

const UP: Duration = Duration::from_secs(15);

/// What servers are started with.
#[derive(Debug)]
pub struct Yard {
    launcher: Launcher,
    toolbox: Toolbox,
    ports: Ports,
    directory: TempDir,
}

/// A running server. Ends with this value.
#[derive(Debug)]
pub struct Server {
    process: Supervised,
    /// For clients.
    pub port: u16,
}

impl Server {
    pub fn pid(&self) -> Option<u32> {
        self.process.status().pid
    }
}

/// The server that joins the regions' leaf nodes.
#[derive(Debug)]
pub struct Hub {
    pub server: Server,
    /// For leaf nodes.
    pub leaf_port: u16,
    /// For questions about what it carries.
    pub monitor: u16,
}

impl Yard {
    /// A yard in a directory of its own, which goes with it.
    pub fn new(root: &Path) -> anyhow::Result<Self> {
        let toolbox = Toolbox::find(root)?;
        Ok(Self {
            launcher: Launcher::new(toolbox.platform.clone())?,
            toolbox,
            ports: Ports::new()?,
            directory: tempfile::tempdir().context("failed to make a directory for the servers")?,
        })
    }

    /// The hub as every lattice has it.
    pub async fn hub(&mut self) -> anyhow::Result<Hub> {
        let (port, monitor) = (self.ports.take()?, self.ports.take()?);
        let leaf_port = self.ports.take()?;
        let store = self.directory("hub")?.join("jetstream");
        let text = config::hub(port, monitor, leaf_port, &store);
        let server = self.nats("hub", port, &text).await?;
        probe::until("the hub", UP, || probe::accepts(leaf_port)).await?;
        Ok(Hub {
            server,
            leaf_port,
            monitor,
        })
    }

    /// The leaf node of a region, which reaches the hub at `remote_port`.
    pub async fn leaf(&mut self, region: &str, remote_port: u16) -> anyhow::Result<Server> {
        let (port, monitor) = (self.ports.take()?, self.ports.take()?);
        let text = config::leaf(region, port, monitor, remote_port);
        self.nats(region, port, &text).await
    }

    /// A Valkey as every region of a lattice has it.
    pub async fn valkey(&mut self, name: &str) -> anyhow::Result<Server> {
        let port = self.ports.take()?;
        let name = format!("{name}-valkey");
        let directory = self.directory(&name)?;
        let conf = directory.join("valkey.conf");
        write(&conf, &config::valkey(port, &directory))?;
        let program = self.toolbox.valkey_server.clone();
        self.start(&name, program, vec![conf.into()], port).await
    }

    async fn nats(&mut self, name: &str, port: u16, text: &str) -> anyhow::Result<Server> {
        let conf = self.directory(name)?.join("nats.conf");
        write(&conf, text)?;
        let program = self.toolbox.nats_server.clone();
        self.start(name, program, vec!["-c".into(), conf.into()], port)
            .await
    }

    async fn start(
        &mut self,
        name: &str,
        program: PathBuf,
        args: Vec<OsString>,
        port: u16,
    ) -> anyhow::Result<Server> {
        let spec = Spec {
            name: name.to_owned(),
            program,
            args,
            env: BTreeMap::new(),
            log: self.directory.path().join(format!("{name}.log")),
        };
        let process = Supervised::start(self.launcher.clone(), Arc::new(move || spec.clone()));
        let server = Server { process, port };
        probe::until(name, UP, || probe::accepts(port)).await?;
        Ok(server)
    }

    fn directory(&self, name: &str) -> anyhow::Result<PathBuf> {
        let directory = self.directory.path().join(name);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        Ok(directory)
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}
