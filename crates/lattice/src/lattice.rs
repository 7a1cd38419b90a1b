//! The whole local platform: start, orders, status, end.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinHandle;
use tracing::warn;
use wadm_types::api::StatusType;

use crate::application;
use crate::edge::{Edge, EdgeConfig, Upstream};
use crate::error::Error;
use crate::hub::Hub;
use crate::launch::Launcher;
use crate::manifest;
use crate::place::Place;
use crate::port::Ports;
use crate::probe;
use crate::region::{Codes, HOME};
use crate::replication;
use crate::stores::Stores;
use crate::toolbox::Toolbox;
use crate::wan::WanLink;
use crate::warden::Warden;
use crate::workspace::{Claim, Workspace};

/// The port of the edge when it is free and no other is asked for.
const USUAL_PORT: u16 = 8000;
/// How long the application may take to answer in every region after its deployment.
const SERVING_DEADLINE: Duration = Duration::from_secs(120);
/// How long wadm may take to say so, once all serve.
const DEPLOYED_DEADLINE: Duration = Duration::from_secs(10);
/// How often wadm is asked to look at a new host.
const NUDGE_PAUSE: Duration = Duration::from_secs(3);
/// How long the requests under way may take when the lattice ends: longer than the edge's deadline.
const EDGE_GRACE: Duration = Duration::from_secs(2);

/// What a lattice is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The repository: where `.tools` and the manifest's artifacts are.
    pub root: PathBuf,
    /// Where the lattice keeps its files.
    pub state_dir: PathBuf,
    /// The edge regions.
    pub regions: Codes,
    /// Round trip between any two regions.
    pub wan: Duration,
    /// The edge's port; 8000 or, when that is taken, any without.
    pub port: Option<u16>,
    /// Which regions have a Valkey.
    pub stores: Stores,
    /// The application to deploy.
    pub manifest: PathBuf,
    /// Whether to forget what earlier lattices of the directory stored.
    pub fresh: bool,
}

/// A running lattice. [`Lattice::stop`] ends it in good order; dropping it kills its processes.
pub struct Lattice {
    options: Options,
    name: String,
    pub(crate) hub: Hub,
    pub(crate) places: Vec<Place>,
    pub(crate) edge: Edge,
    pub(crate) wadm: wadm_client::Client,
    pub(crate) warden: Warden,
    application: Mutex<Option<String>>,
    /// Held while something is deployed, so that a nudge never brings back what was replaced.
    deploying: tokio::sync::Mutex<()>,
    guards: Mutex<Vec<JoinHandle<()>>>,
    _ports: Ports,
    _claim: Claim,
}

impl std::fmt::Debug for Lattice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lattice")
            .field("options", &self.options)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl Lattice {
    /// Starts everything, deploys the application and waits until every region answers;
    /// `stage` is told what has been reached.
    ///
    /// # Errors
    ///
    /// Another lattice runs in the state directory, something is missing, or something does not
    /// become ready in time. What was started is killed then.
    pub async fn start(
        options: Options,
        stage: &(dyn Fn(&str) + Sync),
    ) -> Result<Arc<Self>, Error> {
        let claim = claim(&options.state_dir)?;
        Self::start_claimed(claim, options, stage).await
    }

    /// [`Self::start`] for who has claimed the state directory.
    pub(crate) async fn start_claimed(
        claim: Claim,
        options: Options,
        stage: &(dyn Fn(&str) + Sync),
    ) -> Result<Arc<Self>, Error> {
        if options.fresh {
            remove(&options.state_dir.join("regions"))?;
        }
        let workspace = Workspace {
            directory: options.state_dir.clone(),
            toolbox: Toolbox::find(&options.root)?,
            lattice: application::LATTICE.into(),
        };
        manifest::check_images(
            &options.manifest,
            &manifest::render(&options.manifest, &[])?,
        )?;
        let mut ports = Ports::new()?;
        let edge_port = edge_port(&mut ports, options.port)?;
        if options.port.is_none() && edge_port != USUAL_PORT {
            stage(&format!(
                "port {USUAL_PORT} is in use: the page is at port {edge_port}"
            ));
        }
        let launcher =
            Launcher::new(workspace.toolbox.platform.clone()).map_err(|source| Error::Spawn {
                name: "the launching thread".into(),
                source,
            })?;

        let hub = Hub::start(&mut ports, &launcher, &workspace).await?;
        stage("hub: NATS with JetStream");
        let mut places = Vec::new();
        let codes = options
            .regions
            .as_slice()
            .iter()
            .map(crate::region::Code::as_str);
        for name in std::iter::once(HOME).chain(codes) {
            // Between two regions are two links, each crossed once each way.
            let link = WanLink::bind(probe::loopback(hub.leaf_port), options.wan / 4)
                .await
                .map_err(|source| Error::Spawn {
                    name: format!("the WAN link of {name}"),
                    source,
                })?;
            let place = Place::start(
                name,
                options.stores.has(name),
                &mut ports,
                link,
                launcher.clone(),
                &workspace,
            )
            .await?;
            places.push(place);
        }
        for ready in join_all(places.iter().map(Place::servers_ready)).await {
            ready?;
        }
        for ready in join_all(places.iter().map(leaf_ready)).await {
            ready?;
        }
        stage(match options.stores {
            Stores::EveryRegion => "regions: a NATS leaf node and a Valkey each",
            Stores::Home => "regions: a NATS leaf node each, Valkey at home",
        });
        let wadm = application::client(&hub.client, &workspace.lattice);
        application::ready(&wadm, Duration::from_secs(30)).await?;
        stage("wadm");

        let upstreams = places
            .iter()
            .filter_map(|place| {
                Some(Upstream {
                    region: place.name.clone(),
                    addr: probe::loopback(place.ports.http?),
                })
            })
            .collect();
        let config = EdgeConfig::new(probe::loopback(edge_port), upstreams);
        let edge = Edge::bind(config).await?;
        let lattice = Arc::new(Self {
            name: workspace.lattice.clone(),
            options,
            hub,
            places,
            edge,
            wadm,
            warden: Warden::default(),
            application: Mutex::new(None),
            deploying: tokio::sync::Mutex::new(()),
            guards: Mutex::new(Vec::new()),
            _ports: ports,
            _claim: claim,
        });

        for place in &lattice.places {
            place.start_host();
        }
        for ready in join_all(lattice.places.iter().map(|place| lattice.host_ready(place))).await {
            ready?;
        }
        stage("wasmCloud hosts");
        let manifest = lattice.options.manifest.clone();
        let deployed = lattice.deploy(&manifest).await?;
        stage(&deployed);
        let serving = lattice
            .places
            .iter()
            .map(|place| lattice.serves(place, SERVING_DEADLINE));
        tokio::select! {
            serving = join_all(serving) => serving.into_iter().collect::<Result<(), Error>>()?,
            never = lattice.nudge_wadm(NUDGE_PAUSE) => match never {},
        }
        stage("every region answers");
        if lattice.options.stores == Stores::EveryRegion {
            lattice.stores_converged(SERVING_DEADLINE).await?;
            stage("every store is in step");
        }
        tokio::select! {
            deployed = lattice.deployed() => if let Err(error) = deployed {
                warn!(error = error.chain(), "wadm does not call it deployed yet");
            },
            never = lattice.nudge_wadm(NUDGE_PAUSE) => match never {},
        }
        let guard = crate::warden::watch(Arc::downgrade(&lattice), &lattice);
        lattice.guards().push(guard);
        Ok(lattice)
    }

    /// The options it was started with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The edge's address, as a visitor would type it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.edge.addr())
    }

    /// Every region of this lattice, home first.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// A region of this lattice, `home` included.
    ///
    /// # Errors
    ///
    /// It has no region of that name.
    pub fn place(&self, name: &str) -> Result<&Place, Error> {
        self.places
            .iter()
            .find(|place| place.name == name)
            .ok_or_else(|| Error::Unknown {
                kind: "region",
                name: name.to_owned(),
                known: self.places.iter().map(|place| place.name.clone()).collect(),
            })
    }

    /// The application that was deployed last from here.
    pub(crate) fn application(&self) -> Option<String> {
        self.application
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn guards(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the lattice knows the region's host.
    pub(crate) async fn host_ready(&self, place: &Place) -> Result<(), Error> {
        let what = format!("the wasmCloud host of {}", place.name);
        probe::until(&what, Duration::from_secs(60), || async {
            let host = place.host().ok_or("not started")?;
            let subject = format!("wasmbus.ctl.v1.{}.host.get.{}", self.name, host.id());
            let asked = self.hub.client.request(subject, "".into()).await;
            asked.map(|_| ()).map_err(|error| error.to_string())
        })
        .await
    }

    /// Waits until the region answers with its page's data, itself and not through the edge.
    pub(crate) async fn serves(&self, place: &Place, deadline: Duration) -> Result<(), Error> {
        let what = format!("region {}", place.name);
        let seen = probe::until(&what, deadline, || async {
            // Home is asked through any region that has a page.
            let page = std::iter::once(place)
                .chain(self.places.iter().filter(|other| !other.killed()))
                .find_map(|place| place.ports.http);
            if let Some(port) = page {
                let asked = probe::get(port, "/api/regions", Duration::from_secs(2)).await;
                match asked? {
                    (200, _) => {}
                    (status, _) => return Err(format!("GET /api/regions answers {status}")),
                }
            }
            // Other regions' providers may have helped. Last, as it looks through all of `/proc`.
            if place.providers().is_empty() {
                return Err("no provider runs".to_owned());
            }
            self.known_healthy(place)
        });
        seen.await.map_err(|error| match error {
            Error::NotReady {
                what,
                seconds,
                last,
            } => Error::NotReady {
                what,
                seconds,
                last: format!("{last}; see `lattice logs {} host`", place.name),
            },
            other => other,
        })
    }

    /// Waits until the stores hold the same.
    async fn stores_converged(&self, deadline: Duration) -> Result<(), Error> {
        probe::until("the replication", deadline, || async {
            let stores = self.replication().await;
            let stores = self.places.iter().zip(&stores);
            let stores = stores.filter(|(place, _)| place.ports.valkey.is_some());
            replication::agree(stores.map(|(place, store)| (&*place.name, store.as_ref())))
        })
        .await
    }

    /// Whether the edge, which looks once a second, sends visitors to the region.
    pub(crate) fn known_healthy(&self, place: &Place) -> Result<(), String> {
        let regions = self.edge.status().regions;
        let known = regions.iter().find(|region| region.region == place.name);
        match known {
            Some(region) if !region.healthy => Err("the edge has not found it healthy yet".into()),
            _ => Ok(()),
        }
    }

    /// Waits until a region with a new host serves, and has wadm look at it meanwhile: left to
    /// itself, wadm first waits for what it expected of the old host, for half a minute and more.
    pub(crate) async fn serves_again(
        &self,
        place: &Place,
        deadline: Duration,
    ) -> Result<(), Error> {
        tokio::select! {
            served = self.serves(place, deadline) => served,
            never = self.nudge_wadm(Duration::ZERO) => match never {},
        }
    }

    /// Waits until wadm calls the application deployed. A host that was told twice to start a provider, which may be on a busy
    /// machine, makes it say that it failed, although it serves.
    async fn deployed(&self) -> Result<(), Error> {
        let Some(name) = self.application() else {
            return Ok(());
        };
        probe::until("the application", DEPLOYED_DEADLINE, || async {
            match application::status(&self.wadm, &name).await {
                Ok((StatusType::Deployed, _)) => Ok(()),
                Ok((kind, message)) => Err(format!("{kind:?}: {message}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Has wadm look at its hosts, after `first` and then regularly.
    async fn nudge_wadm(&self, first: Duration) -> std::convert::Infallible {
        tokio::time::sleep(first).await;
        loop {
            self.deploy_again().await;
            tokio::time::sleep(NUDGE_PAUSE).await;
        }
    }

    /// Has wadm look at its hosts now: the deployed version once more changes nothing else.
    async fn deploy_again(&self) {
        let _deploying = self.deploying.lock().await;
        if let Err(error) = application::deploy_again(&self.wadm).await {
            warn!(error = error.chain(), "wadm does not look at the hosts yet");
        }
    }

    /// Has wadm look again at an application that is not as its manifest says and about which
    /// wadm has nothing new to say. It may wait for ever: a link whose config does not exist yet is
    /// refused by the hosts, and wadm, which asks for both at once, does not look at the answer.
    ///
    /// Gives what wadm says now, for the next time.
    pub(crate) async fn urge_wadm(&self, before: Option<String>) -> Option<String> {
        let name = self.application()?;
        let status =
            tokio::time::timeout(NUDGE_PAUSE, application::status(&self.wadm, &name)).await;
        let Ok(Ok((kind, message))) = status else {
            return None;
        };
        if kind == StatusType::Deployed {
            return None;
        }
        let now = Some(format!("{kind:?}: {message}"));
        if now == before {
            self.deploy_again().await;
        }
        now
    }

    /// The manifest as rendered for the regions and ports of this lattice.
    ///
    /// # Errors
    ///
    /// It cannot be read or is no manifest.
    pub fn manifest(&self, file: Option<&Path>) -> Result<String, Error> {
        let regions: Vec<(String, u16)> = self
            .places
            .iter()
            .filter_map(|place| Some((place.name.clone(), place.ports.http?)))
            .collect();
        manifest::render(file.unwrap_or(&self.options.manifest), &regions)
    }

    /// Renders a manifest, and deploys it through wadm.
    ///
    /// # Errors
    ///
    /// It cannot be rendered or wadm refuses it.
    pub async fn deploy(&self, file: &Path) -> Result<String, Error> {
        let manifest = self.manifest(Some(file))?;
        manifest::check_images(file, &manifest)?;
        let _deploying = self.deploying.lock().await;
        let (name, version) = application::deploy(&self.wadm, &manifest).await?;
        *self
            .application
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(name.clone());
        Ok(format!("{name} {version} deployed through wadm"))
    }

    /// Ends everything in good order: the edge first, so that no visitor is sent to a region that is
    /// going.
    pub async fn stop(&self) {
        for guard in self.guards().drain(..) {
            guard.abort();
        }
        self.edge.stop(EDGE_GRACE).await;
        join_all(self.places.iter().map(Place::stop)).await;
        self.hub.stop().await;
    }
}

/// Waits until the hub's JetStream answers through the region's leaf node.
pub(crate) async fn leaf_ready(place: &Place) -> Result<(), Error> {
    let what = format!("the leaf node of {}", place.name);
    let subject = format!("$JS.{}.API.INFO", crate::config::HUB_DOMAIN);
    let url = format!("nats://127.0.0.1:{}", place.ports.nats);
    let client = async_nats::ConnectOptions::new()
        .request_timeout(Some(Duration::from_secs(2)))
        .connect(url)
        .await
        .map_err(|error| Error::Nats(error.to_string()))?;
    probe::until(&what, Duration::from_secs(20), || async {
        let asked = client.request(subject.clone(), "".into()).await;
        asked.map(|_| ()).map_err(|error| error.to_string())
    })
    .await
}

/// Claims the directory for a lattice of this process.
pub(crate) fn claim(directory: &Path) -> Result<Claim, Error> {
    Workspace::claim(directory)?.ok_or_else(|| {
        let directory = directory.display();
        Error::Refused(format!("a lattice is already running in {directory}"))
    })
}

fn remove(directory: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(directory) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", directory, source))
        }
        _ => Ok(()),
    }
}

fn edge_port(ports: &mut Ports, asked: Option<u16>) -> Result<u16, Error> {
    match asked {
        Some(port) if ports.claim(port) => Ok(port),
        Some(port) => Err(Error::PortTaken(port)),
        None if ports.claim(USUAL_PORT) => Ok(USUAL_PORT),
        None => ports.take(),
    }
}
