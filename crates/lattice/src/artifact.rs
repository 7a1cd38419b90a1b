//! Makes the artifacts a lattice deploys: signed components and provider archives, as `wash build`
//! would, from what cargo built.
//!
//! What has not changed is left as it is: to pack a provider anew takes seconds.
//!
//! The signing keys are made once and kept beside the artifacts, readable by their owner alone, so
//! that an artifact keeps its identity from build to build. They vouch for nothing beyond this
//! machine: sign what you publish with `wash` and keys of your own.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, Context as _};
use nkeys::{KeyPair, KeyPairType};
use provider_archive::ProviderArchive;
use sha2::{Digest as _, Sha256};

const VENDOR: &str = "resiliency-demo";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Signs the component in `file` and writes `NAME_s.wasm` to `out`.
///
/// # Errors
///
/// A file cannot be read or written, or `file` is no component.
pub fn component(file: &Path, out: &Path) -> anyhow::Result<PathBuf> {
    let source = Source::read(file, out, "_s.wasm", KeyPairType::Module)?;
    if source.is_packed() {
        return Ok(source.artifact);
    }
    let signed = wascap::wasm::sign_buffer_with_claims(
        source.name.clone(),
        &source.content,
        &source.subject,
        &source.issuer,
        None,
        None,
        Vec::new(),
        false,
        Some(0),
        Some(VERSION.to_owned()),
        None,
    )
    .map_err(|error| anyhow!("failed to sign {}: {error}", file.display()))?;
    replace(&source.artifact, &signed)?;
    source.packed()
}

/// Wraps the provider program in `file` into `NAME.par.gz` in `out`, for this machine's target.
///
/// # Errors
///
/// A file cannot be read or written.
pub async fn provider(file: &Path, out: &Path) -> anyhow::Result<PathBuf> {
    let source = Source::read(file, out, ".par.gz", KeyPairType::Service)?;
    if source.is_packed() {
        return Ok(source.artifact);
    }
    let name = &source.name;
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let mut archive = ProviderArchive::new(name, VENDOR, Some(0), Some(VERSION.to_owned()));
    let failed = |error| anyhow!("failed to archive {name}: {error}");
    archive
        .add_library(&target, &source.content)
        .map_err(failed)?;
    // A host may be reading the present one.
    let draft = out.join(format!("{name}.draft.gz"));
    archive
        .write(&draft, &source.issuer, &source.subject, true)
        .await
        .map_err(failed)?;
    std::fs::rename(&draft, &source.artifact)
        .with_context(|| format!("failed to write {}", source.artifact.display()))?;
    source.packed()
}

/// What an artifact is made from, noted beside it.
struct Source {
    name: String,
    content: Vec<u8>,
    /// Who the artifact is, and who says so.
    subject: KeyPair,
    issuer: KeyPair,
    artifact: PathBuf,
}

impl Source {
    fn read(file: &Path, out: &Path, suffix: &str, kind: KeyPairType) -> anyhow::Result<Self> {
        let name = stem(file)?;
        Ok(Self {
            content: std::fs::read(file)
                .with_context(|| format!("failed to read {}", file.display()))?,
            subject: key(out, &name, kind)?,
            issuer: key(out, "issuer", KeyPairType::Account)?,
            artifact: out.join(format!("{name}{suffix}")),
            name,
        })
    }

    /// Whether the artifact was made from this, and nobody else wrote it since, as `wash build` does.
    fn is_packed(&self) -> bool {
        let noted = std::fs::read_to_string(self.note());
        noted.is_ok_and(|noted| self.text().is_ok_and(|text| text == noted))
    }

    /// Notes that the artifact was made from this.
    fn packed(self) -> anyhow::Result<PathBuf> {
        replace(&self.note(), self.text()?.as_bytes())?;
        Ok(self.artifact)
    }

    fn note(&self) -> PathBuf {
        let mut note = self.artifact.clone().into_os_string();
        note.push(".source");
        note.into()
    }

    fn text(&self) -> std::io::Result<String> {
        let source = digest([
            VENDOR.as_bytes(),
            VERSION.as_bytes(),
            self.subject.public_key().as_bytes(),
            self.issuer.public_key().as_bytes(),
            &self.content,
        ]);
        let artifact = digest([&std::fs::read(&self.artifact)?]);
        Ok(format!("{source}\n{artifact}\n"))
    }
}

fn digest<const N: usize>(parts: [&[u8]; N]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    format!("{:x}", hash.finalize())
}

fn stem(file: &Path) -> anyhow::Result<String> {
    let stem = file.file_stem().and_then(|stem| stem.to_str());
    Ok(stem
        .with_context(|| format!("{} has no name", file.display()))?
        .to_owned())
}

fn key(out: &Path, name: &str, kind: KeyPairType) -> anyhow::Result<KeyPair> {
    let directory = out.join("keys");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("failed to create {}", directory.display()))?;
    let path = directory.join(format!("{name}.nk"));
    if let Ok(seed) = std::fs::read_to_string(&path) {
        return KeyPair::from_seed(seed.trim())
            .with_context(|| format!("{} holds no key; remove it", path.display()));
    }
    let key = KeyPair::new(kind);
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("failed to create {}", path.display()))?;
    file.write_all(key.seed()?.as_bytes())?;
    Ok(key)
}

fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("draft");
    std::fs::write(&draft, bytes)
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    /// Which file an artifact is: another one after it was written again.
    async fn packed(program: &Path, out: &Path) -> u64 {
        let artifact = provider(program, out).await.unwrap();
        std::fs::metadata(artifact).unwrap().ino()
    }

    #[tokio::test]
    async fn a_provider_is_packed_again_when_something_changed() {
        let directory = tempfile::tempdir().unwrap();
        let (program, out) = (directory.path().join("program"), directory.path());
        std::fs::write(&program, "one").unwrap();
        let first = packed(&program, out).await;
        assert_eq!(packed(&program, out).await, first);

        std::fs::write(&program, "two").unwrap();
        let second = packed(&program, out).await;
        assert_ne!(second, first, "another program");

        std::fs::remove_file(out.join("keys/issuer.nk")).unwrap();
        let third = packed(&program, out).await;
        assert_ne!(third, second, "another issuer");

        std::fs::write(out.join("program.par.gz"), "of wash").unwrap();
        packed(&program, out).await;
        let archive = ProviderArchive::try_load_file(out.join("program.par.gz"));
        let archive = archive.await.unwrap();
        let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        assert_eq!(archive.target_bytes(&target).unwrap(), b"two");
    }
}
