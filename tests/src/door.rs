//! A manifest whose effect can be seen from outside: every region gets a second door to the page,
//! on a port of its own, and the stores may be other databases. A region whose host
//! no longer hears what is deployed opens no door.

use lattice::port::Ports;
use serde_yaml::{Mapping, Value};

use crate::stage::Running;
use crate::wait::{seconds, until};

/// The doors of one deployment.
#[derive(Debug)]
pub struct Doors {
    ports: Vec<(String, u16)>,
    _held: Ports,
}

impl Doors {
    /// Deploys the application with a door for every region and `database` of the store.
    ///
    /// # Panics
    ///
    /// wadm refuses it.
    pub async fn deploy(running: &Running, version: &str, database: u8) -> Self {
        let mut held = Ports::new().expect("ports");
        let regions = running.regions().into_iter();
        let ports: Vec<_> = regions
            .map(|region| (region, held.take().expect("a port")))
            .collect();
        let rendered = running.lattice.manifest(None).expect("the manifest");
        let mut manifest = versioned(&rendered, version);
        let components = manifest["spec"]["components"]
            .as_sequence_mut()
            .expect("components");
        for component in components.iter_mut() {
            use_database(component, version, database);
        }
        for (region, port) in &ports {
            components.push(door(region, *port, version));
        }
        let file = running.directory.join(format!("{version}.yaml"));
        std::fs::write(&file, serde_yaml::to_string(&manifest).expect("YAML")).expect("a file");
        let deployed = running.lattice.deploy(&file).await;
        deployed.unwrap_or_else(|error| panic!("{}", error.chain()));
        Self { ports, _held: held }
    }

    /// Waits until a region's door opens, by which the deployment took effect there.
    ///
    /// # Panics
    ///
    /// It does not within a minute.
    pub async fn open(&self, region: &str) {
        let (_, port) = self
            .ports
            .iter()
            .find(|(known, _)| known == region)
            .expect("a door");
        until(
            &format!("the new door of {region}"),
            seconds(60),
            || async {
                match lattice::probe::get(*port, "/health", seconds(2)).await? {
                    (200, _) => Ok(()),
                    (status, _) => Err(format!("it answers {status}")),
                }
            },
        )
        .await;
    }

    /// Waits until every region's door opens.
    ///
    /// # Panics
    ///
    /// One does not within a minute.
    pub async fn all_open(&self) {
        for (region, _) in &self.ports {
            self.open(region).await;
        }
    }
}

/// A manifest with another version; wadm refuses one it knows.
///
/// # Panics
///
/// It is no manifest.
#[must_use]
pub fn versioned(manifest: &str, version: &str) -> Value {
    let mut manifest: Value = serde_yaml::from_str(manifest).expect("YAML");
    manifest["metadata"]["annotations"]["version"] = version.into();
    manifest
}

/// A link's config is fixed once it is deployed, so a change needs a new name.
fn use_database(component: &mut Value, version: &str, database: u8) {
    let traits = component.get_mut("traits").and_then(Value::as_sequence_mut);
    for property in traits
        .into_iter()
        .flatten()
        .map(|each| &mut each["properties"])
    {
        if property["target"]["name"].as_str() == Some("keyvalue-valkey") {
            let config = &mut property["target"]["config"][0];
            config["name"] = format!("store-{version}").into();
            let properties = &mut config["properties"];
            properties["url"] = format!("redis://{{label:valkey}}/{database}").into();
            // Two databases of a region are no two members of one group.
            if database > 0 && properties["mode"].as_str() == Some("replicated") {
                properties["group"] = format!("database-{database}").into();
            }
        }
    }
}

fn door(region: &str, port: u16, version: &str) -> Value {
    let text = format!(
        "
name: door-{region}-{version}
type: capability
properties: {{ image: 'wasmcloud+builtin://http-server' }}
traits:
  - type: daemonscaler
    properties: {{ instances: 1, spread: [{{ name: {region}, requirements: {{ region: {region} }} }}] }}
  - type: link
    properties:
      target: {{ name: cloud-hello }}
      namespace: wasi
      package: http
      interfaces: [incoming-handler]
      source: {{ config: [{{ name: door-{region}-{version}, properties: {{ address: '127.0.0.1:{port}' }} }}] }}
"
    );
    Value::Mapping(serde_yaml::from_str::<Mapping>(&text).expect("YAML"))
}
