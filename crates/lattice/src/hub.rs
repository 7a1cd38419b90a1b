//! The hub: NATS with JetStream, which connects the regions, and wadm, which places the
//! application on their hosts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{self, HUB_DOMAIN};
use crate::error::Error;
use crate::launch::{Launcher, Spec};
use crate::place::fixed;
use crate::port::Ports;
use crate::probe;
use crate::supervise::Supervised;
use crate::workspace::{self, Workspace};

const GRACE: Duration = Duration::from_secs(3);

/// The hub and its connections.
#[derive(Debug)]
pub struct Hub {
    /// The NATS server, process `hub`.
    pub nats: Supervised,
    /// wadm.
    pub wadm: Supervised,
    /// Port for clients.
    pub port: u16,
    /// Port for leaf nodes.
    pub leaf_port: u16,
    /// A connection for this program's own use.
    pub client: async_nats::Client,
}

impl Hub {
    /// Starts the hub with an empty JetStream and waits until wadm answers. What JetStream held
    /// before describes hosts that no longer are; the manifest is deployed anew each time.
    ///
    /// # Errors
    ///
    /// A port or file cannot be had, or a process does not come up.
    pub async fn start(
        ports: &mut Ports,
        launcher: &Launcher,
        workspace: &Workspace,
    ) -> Result<Self, Error> {
        let (port, monitor, leaf_port) = (ports.take()?, ports.take()?, ports.take()?);
        let directory = workspace.directory.join("hub");
        if directory.exists() {
            std::fs::remove_dir_all(&directory)
                .map_err(|source| Error::io("remove", &directory, source))?;
        }
        let conf = directory.join("nats.conf");
        workspace::write(
            &conf,
            &config::hub(port, monitor, leaf_port, &directory.join("jetstream")),
        )?;
        let nats = Supervised::start(
            launcher.clone(),
            fixed(Spec {
                name: "home/hub".into(),
                program: workspace.toolbox.nats_server.clone(),
                args: vec!["-c".into(), conf.into()],
                env: BTreeMap::new(),
                log: workspace.log("home", "hub"),
            }),
        );
        let deadline = Duration::from_secs(15);
        probe::until("the hub", deadline, || probe::accepts(port)).await?;
        let url = format!("nats://127.0.0.1:{port}");
        let client = async_nats::ConnectOptions::new()
            .request_timeout(Some(Duration::from_secs(2)))
            .connect(&url)
            .await
            .map_err(|error| Error::Nats(error.to_string()))?;
        let wadm = Supervised::start(
            launcher.clone(),
            fixed(Spec {
                name: "home/wadm".into(),
                program: workspace.toolbox.platform.clone(),
                args: vec![
                    "wadm".into(),
                    format!("--nats-server=127.0.0.1:{port}").into(),
                    format!("--js-domain={HUB_DOMAIN}").into(),
                    // Three heartbeats of the hosts.
                    "--cleanup-seconds=15".into(),
                ],
                env: BTreeMap::new(),
                log: workspace.log("home", "wadm"),
            }),
        );
        Ok(Self {
            nats,
            wadm,
            port,
            leaf_port,
            client,
        })
    }

    /// Waits until JetStream answers.
    ///
    /// # Errors
    ///
    /// It does not within `deadline`.
    pub async fn jetstream_ready(&self, deadline: Duration) -> Result<(), Error> {
        let subject = format!("$JS.{HUB_DOMAIN}.API.INFO");
        probe::until("the hub's JetStream", deadline, || async {
            let asked = self.client.request(subject.clone(), "".into()).await;
            asked.map(|_| ()).map_err(|error| error.to_string())
        })
        .await
    }

    /// Ends wadm, then the server.
    pub async fn stop(&self) {
        self.wadm.stop(GRACE).await;
        self.nats.stop(GRACE).await;
    }
}
