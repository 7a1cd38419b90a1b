//! The application on the lattice, through wadm.

use std::time::Duration;

use wadm_client::{error::ClientError, Client};
use wadm_types::api::StatusType;

use crate::error::Error;
use crate::probe;

/// The name of the application in this repository's manifests.
pub const NAME: &str = "resiliency-demo";

/// The id that wadm gives a component or provider of that application when the manifest has none.
#[must_use]
pub fn component_id(component: &str) -> String {
    let plain = |name: &str| name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("{}-{}", plain(NAME), plain(component))
}

/// The lattice that the hosts form.
pub const LATTICE: &str = "default";

/// Where calls of a provider of that application go, as wRPC has it.
#[must_use]
pub fn target(provider: &str) -> String {
    format!("{LATTICE}.{}", component_id(provider))
}

/// A client of the wadm that the NATS connection reaches.
#[must_use]
pub fn client(nats: &async_nats::Client, lattice: &str) -> Client {
    Client::from_nats_client(lattice, None, nats.clone())
}

/// Waits until wadm answers.
///
/// # Errors
///
/// It does not within `deadline`.
pub async fn ready(wadm: &Client, deadline: Duration) -> Result<(), Error> {
    probe::until("wadm", deadline, || async {
        let listed = wadm.list_manifests().await;
        listed.map(|_| ()).map_err(|error| error.to_string())
    })
    .await
}

/// Puts a manifest and deploys that version; gives its name and version.
///
/// # Errors
///
/// wadm refuses it, for example as its version exists already.
pub async fn deploy(wadm: &Client, manifest: &str) -> Result<(String, String), Error> {
    let wrong = |error: ClientError| {
        let text = error.to_string();
        Error::Wadm(if text.contains("already exists") {
            format!("{text}; raise the `version` in the manifest's annotations to deploy a change")
        } else {
            text
        })
    };
    wadm.put_and_deploy_manifest(manifest.as_bytes())
        .await
        .map_err(wrong)
}

/// Deploys again, unchanged, every application in the version that is deployed: wadm then looks at
/// its hosts at once instead of waiting for what it expected before.
///
/// # Errors
///
/// wadm does not answer or refuses.
pub async fn deploy_again(wadm: &Client) -> Result<(), Error> {
    let wrong = |error: ClientError| Error::Wadm(error.to_string());
    for application in wadm.list_manifests().await.map_err(wrong)? {
        if let Some(version) = application.deployed_version {
            wadm.deploy_manifest(&application.name, Some(&version))
                .await
                .map_err(wrong)?;
        }
    }
    Ok(())
}

/// What wadm says of an application, in a word, with its reason when that is not `deployed`.
///
/// # Errors
///
/// wadm does not answer or does not know the application.
pub async fn status(wadm: &Client, name: &str) -> Result<(StatusType, String), Error> {
    let status = wadm
        .get_manifest_status(name)
        .await
        .map_err(|error| Error::Wadm(error.to_string()))?;
    Ok((status.info.status_type, status.info.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_wadm() {
        assert_eq!(
            component_id("keyvalue-valkey"),
            "resiliency_demo-keyvalue_valkey"
        );
    }
}
