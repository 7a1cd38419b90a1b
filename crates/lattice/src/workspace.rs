//! The directory that a lattice lives in, and the programs it runs.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::Error;
use crate::toolbox::Toolbox;

/// A log file larger than this is put aside when its process starts again.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;
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

/// Opens a log to be appended to. A large one is put aside first, in place of the one before it, so
/// that logs do not grow with every start.
pub(crate) fn open_log(path: &Path) -> std::io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|log| log.len() > LOG_LIMIT) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// Writes a file the lattice's programs read.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|source| Error::io("create", parent, source))?;
    }
    std::fs::write(path, text).map_err(|source| Error::io("write", path, source))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_large_log_is_put_aside_once_and_a_small_one_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let log = log_path(directory.path(), "iad", "host");
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        open_log(&log).unwrap().write_all(b"first\n").unwrap();
        let mut again = open_log(&log).unwrap();
        again.write_all(b"second\n").unwrap();
        assert_eq!(std::fs::read(&log).unwrap(), b"first\nsecond\n");

        again.set_len(LOG_LIMIT + 1).unwrap();
        open_log(&log).unwrap().write_all(b"third\n").unwrap();
        assert_eq!(std::fs::read(&log).unwrap(), b"third\n");
        let aside = directory.path().join("logs/iad-host.log.1");
        assert_eq!(std::fs::metadata(aside).unwrap().len(), LOG_LIMIT + 1);
    }
}
