//! The directory that a lattice lives in, and the programs it runs.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::Error;
use crate::toolbox::Toolbox;

/// The longest path of a Unix socket that Linux takes, less the final NUL.
const SOCKET_PATH_LIMIT: usize = 107;

/// Where a lattice keeps its files.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The directory.
    pub directory: PathBuf,
    /// The programs.
    pub toolbox: Toolbox,
    /// The lattice's name, part of every NATS subject.
    pub lattice: String,
}

/// Held by the process that runs the lattice of a directory.
#[derive(Debug)]
pub struct Claim {
    _lock: Flock<File>,
}

impl Workspace {
    /// The directory of a region's files.
    #[must_use]
    pub fn region(&self, region: &str) -> PathBuf {
        self.directory.join("regions").join(region)
    }

    /// The log file of a process.
    #[must_use]
    pub fn log(&self, region: &str, process: &str) -> PathBuf {
        log_path(&self.directory, region, process)
    }

    /// Makes the directory and claims it for this process; `None` when another one has it.
    ///
    /// # Errors
    ///
    /// The directory cannot be made or its path is too long for the control socket.
    pub fn claim(directory: &Path) -> Result<Option<Claim>, Error> {
        for part in ["logs", "regions"] {
            let path = directory.join(part);
            std::fs::create_dir_all(&path).map_err(|source| Error::io("create", &path, source))?;
        }
        let socket = socket_path(directory);
        if socket.as_os_str().len() > SOCKET_PATH_LIMIT {
            return Err(Error::Refused(format!(
                "the path of the control socket, {}, is longer than {SOCKET_PATH_LIMIT} bytes; choose a shorter --state-dir",
                socket.display()
            )));
        }
        let path = directory.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| Error::io("open", &path, source))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Claim { _lock: lock })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(Error::io("lock", &path, errno.into())),
        }
    }
}

/// The control socket of the lattice in `directory`.
#[must_use]
pub fn socket_path(directory: &Path) -> PathBuf {
    directory.join("control.sock")
}

/// The log file of a process of the lattice in `directory`.
#[must_use]
pub fn log_path(directory: &Path, region: &str, process: &str) -> PathBuf {
    directory
        .join("logs")
        .join(format!("{region}-{process}.log"))
}

/// Writes a file the lattice's programs read.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|source| Error::io("create", parent, source))?;
    }
    std::fs::write(path, text).map_err(|source| Error::io("write", path, source))
}
