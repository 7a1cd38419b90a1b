//! Finds the programs and artifacts that a lattice is made of.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// The programs that a lattice runs.
#[derive(Clone, Debug)]
pub struct Toolbox {
    /// `nats-server`.
    pub nats_server: PathBuf,
    /// `valkey-server`.
    pub valkey_server: PathBuf,
    /// `lattice-platform`: the wasmCloud host, wadm and the leash.
    pub platform: PathBuf,
}

impl Toolbox {
    /// Looks for each program in its environment variable (`NATS_SERVER`, `VALKEY_SERVER`,
    /// `LATTICE_PLATFORM`), then in `.tools/bin` of `root` or a directory above it, beside this
    /// program, and on the PATH.
    ///
    /// # Errors
    ///
    /// One of them is missing; the error names the Makefile target that brings it.
    pub fn find(root: &Path) -> Result<Self, Error> {
        Ok(Self {
            nats_server: find("nats-server", "NATS_SERVER", root, "setup")?,
            valkey_server: find("valkey-server", "VALKEY_SERVER", root, "setup")?,
            platform: find("lattice-platform", "LATTICE_PLATFORM", root, "build")?,
        })
    }
}

fn find(program: &str, variable: &str, root: &Path, fix: &'static str) -> Result<PathBuf, Error> {
    let mut candidates = Vec::new();
    if let Some(path) = std::env::var_os(variable) {
        // A person who names a program wants that one or an error.
        candidates.push(PathBuf::from(path));
    } else {
        let tools = |directory: &Path| directory.join(".tools/bin").join(program);
        candidates.extend(root.ancestors().map(tools));
        if let Ok(own) = std::env::current_exe() {
            // Tests run one directory below the programs.
            candidates.extend(own.ancestors().skip(1).take(2).map(|dir| dir.join(program)));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        candidates.extend(std::env::split_paths(&path).map(|dir| dir.join(program)));
    }
    if let Some(found) = candidates.iter().find(|path| path.is_file()) {
        return Ok(found.clone());
    }
    Err(Error::Missing {
        what: program.to_owned(),
        looked: candidates
            .iter()
            .take(3)
            .map(|path| path.display().to_string())
            .chain([format!("${variable}"), "PATH".to_owned()])
            .collect(),
        fix,
    })
}
