//! A NATS server of the test's own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{bail, Context as _};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::eventually;

/// Who hangs is dropped as fast as in a deployment, and not after minutes.
const PINGS: &str = "ping_interval: \"2s\", ping_max: 2\n";

/// A real `nats-server` on a free port of the loopback. Ends with this value.
#[derive(Debug)]
pub struct NatsServer {
    _process: Child,
    _directory: TempDir,
    address: String,
}

impl NatsServer {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// When there is no `nats-server`, or it does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with("").await
    }

    /// Starts the server that joins the leaves of [`NatsServer::start_leaf`], on this port of the loopback.
    ///
    /// # Errors
    ///
    /// As [`NatsServer::start`].
    pub async fn start_hub(leaf_port: u16) -> anyhow::Result<Self> {
        Self::start_with(&format!(
            "{PINGS}leafnodes {{ listen: \"127.0.0.1:{leaf_port}\" }}"
        ))
        .await
    }

    /// Starts a leaf of the hub that takes leaves on this port, whether it is there or not.
    ///
    /// # Errors
    ///
    /// As [`NatsServer::start`].
    pub async fn start_leaf(hub_port: u16) -> anyhow::Result<Self> {
        Self::start_with(&format!(
            "{PINGS}leafnodes {{ reconnect: 1, remotes: [ {{ url: \"nats-leaf://127.0.0.1:{hub_port}\" }} ] }}"
        ))
        .await
    }

    async fn start_with(config: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("nats.conf");
        tokio::fs::write(&file, config).await?;
        let mut command = Command::new(binary()?);
        command
            .arg("--config")
            .arg(file)
            .args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let process = command.spawn().context("failed to start nats-server")?;
        let pid = process.id().context("nats-server ended at once")?;
        let ports = directory.path().join(format!("nats-server_{pid}.ports"));
        let address = eventually(Duration::from_secs(10), || read_address(&ports)).await?;
        Ok(Self {
            _process: process,
            _directory: directory,
            address,
        })
    }

    /// The address for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// A connection.
    ///
    /// # Errors
    ///
    /// When the server does not let it in.
    pub async fn client(&self) -> anyhow::Result<async_nats::Client> {
        Ok(async_nats::connect(self.url()).await?)
    }
}

async fn read_address(ports: &Path) -> anyhow::Result<String> {
    let text = tokio::fs::read(ports)
        .await
        .context("nats-server has not told its port")?;
    let ports: serde_json::Value = serde_json::from_slice(&text)?;
    let address = ports
        .pointer("/nats/0")
        .and_then(serde_json::Value::as_str)
        .context("nats-server tells no port")?;
    Ok(address.trim_start_matches("nats://").to_owned())
}

fn binary() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os("NATS_SERVER") {
        return Ok(given.into());
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    for directory in std::iter::once(tools).chain(std::env::split_paths(&path)) {
        let candidate = directory.join("nats-server");
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!("no nats-server in NATS_SERVER, .tools/bin or PATH: run `make setup`")
}
