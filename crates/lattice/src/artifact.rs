//! Makes the artifacts a lattice deploys: signed components and provider archives, as `wash build`
//! would, from what cargo built.
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

const VENDOR: &str = "resiliency-demo";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Signs the component in `file` and writes `NAME_s.wasm` to `out`.
///
/// # Errors
///
/// A file cannot be read or written, or `file` is no component.
pub fn component(file: &Path, out: &Path) -> anyhow::Result<PathBuf> {
    let name = stem(file)?;
    let wasm = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    let signed = wascap::wasm::sign_buffer_with_claims(
        name.clone(),
        wasm,
        &key(out, &name, KeyPairType::Module)?,
        &key(out, "issuer", KeyPairType::Account)?,
        None,
        None,
        Vec::new(),
        false,
        Some(0),
        Some(VERSION.to_owned()),
        None,
    )
    .map_err(|error| anyhow!("failed to sign {}: {error}", file.display()))?;
    let path = out.join(format!("{name}_s.wasm"));
    replace(&path, &signed)?;
    Ok(path)
}

/// Wraps the provider program in `file` into `NAME.par.gz` in `out`, for this machine's target.
///
/// # Errors
///
/// A file cannot be read or written.
pub async fn provider(file: &Path, out: &Path) -> anyhow::Result<PathBuf> {
    let name = stem(file)?;
    let program =
        std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let mut archive = ProviderArchive::new(&name, VENDOR, Some(0), Some(VERSION.to_owned()));
    let failed = |error| anyhow!("failed to archive {name}: {error}");
    archive.add_library(&target, &program).map_err(failed)?;
    let path = out.join(format!("{name}.par.gz"));
    // A host may be reading the present one.
    let draft = out.join(format!("{name}.draft.gz"));
    archive
        .write(
            &draft,
            &key(out, "issuer", KeyPairType::Account)?,
            &key(out, &name, KeyPairType::Service)?,
            true,
        )
        .await
        .map_err(failed)?;
    std::fs::rename(&draft, &path)
        .with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
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
