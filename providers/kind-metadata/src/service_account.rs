//! What Kubernetes puts into every pod.

use std::path::{Path, PathBuf};

use provider_kit::Secret;

use crate::error::Error;

/// Where it is, unless the config says otherwise.
pub const DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The host's name: in a pod without host network, the pod's name.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
/// A token or a bundle of certificates is a few kilobytes.
const MAX_FILE: u64 = 1 << 20;

/// The service account of this pod, read anew for each attempt: tokens are rotated.
#[derive(Debug)]
pub struct ServiceAccount {
    /// Authenticates the pod.
    pub token: Secret,
    /// Certificates, as PEM, to check the API's with.
    pub authority: Vec<u8>,
    /// The namespace of the pod.
    pub namespace: String,
}

/// Whether there is a service account in `directory`.
pub async fn present(directory: &Path) -> bool {
    tokio::fs::try_exists(directory.join("token"))
        .await
        .unwrap_or(false)
}

impl ServiceAccount {
    /// Reads the three files.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read or is not text.
    pub async fn read(directory: &Path) -> Result<Self, Error> {
        let token = text(directory.join("token"), "the token").await?;
        // It becomes a header.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Malformed("the token"));
        }
        Ok(Self {
            token: Secret::new(token),
            authority: bytes(directory.join("ca.crt")).await?,
            namespace: text(directory.join("namespace"), "the namespace").await?,
        })
    }
}

/// This machine's host name.
///
/// # Errors
///
/// When it cannot be read.
pub async fn hostname() -> Result<String, Error> {
    text(PathBuf::from(HOSTNAME), "the host name").await
}

async fn text(path: PathBuf, what: &'static str) -> Result<String, Error> {
    let bytes = bytes(path).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::Malformed(what))?;
    Ok(text.trim().to_owned())
}

async fn bytes(path: PathBuf) -> Result<Vec<u8>, Error> {
    use tokio::io::AsyncReadExt as _;
    let read = async {
        let file = tokio::fs::File::open(&path).await?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).await?;
        Ok(bytes)
    };
    let read: std::io::Result<Vec<u8>> = read.await;
    read.map_err(|source| Error::File { path, source })
}
