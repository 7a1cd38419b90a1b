//! Ports that no other lattice on this machine takes.
//!
//! A port is chosen below the range from which the kernel takes ports for outgoing connections,
//! so none of those can slip in between the choice and the server that binds it, and is held by a
//! file lock for as long as the [`Ports`] live, so that two lattices starting at once never choose
//! the same one.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};

use crate::error::Error;

const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// The ports held by this process; dropping it frees them.
#[derive(Debug)]
pub struct Ports {
    directory: PathBuf,
    next: u16,
    held: Vec<Flock<File>>,
}

impl Ports {
    /// Starts with no port held.
    ///
    /// # Errors
    ///
    /// The directory of the lock files cannot be made.
    pub fn new() -> Result<Self, Error> {
        // One per user, as nobody else may write there; ports in use are found by binding, too.
        let directory =
            std::env::temp_dir().join(format!("lattice-ports-{}", nix::unistd::getuid()));
        std::fs::create_dir_all(&directory)
            .map_err(|source| Error::io("create", &directory, source))?;
        // Starting at a place of its own spares two lattices most of each other's locks.
        let width = u32::from(RANGE.end - RANGE.start);
        let offset = std::process::id().wrapping_mul(97) % width;
        let next = RANGE.start + u16::try_from(offset).unwrap_or_default();
        Ok(Self {
            directory,
            next,
            held: Vec::new(),
        })
    }

    /// Takes any free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// Every port of the range is taken.
    pub fn take(&mut self) -> Result<u16, Error> {
        for _ in RANGE {
            let port = self.next;
            self.next = if port + 1 < RANGE.end {
                port + 1
            } else {
                RANGE.start
            };
            if self.claim(port) {
                return Ok(port);
            }
        }
        Err(Error::NoFreePort)
    }

    /// Takes `port` if it is free.
    pub fn claim(&mut self, port: u16) -> bool {
        let path = self.directory.join(port.to_string());
        let Ok(file) = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
        else {
            return false;
        };
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            return false;
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            return false;
        }
        self.held.push(lock);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lattices_never_take_the_same_port() {
        let mut one = Ports::new().unwrap();
        let mut two = Ports::new().unwrap();
        let mut taken: Vec<u16> = Vec::new();
        for _ in 0..20 {
            taken.push(one.take().unwrap());
            taken.push(two.take().unwrap());
        }
        let count = taken.len();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), count);
    }

    #[test]
    fn a_port_in_use_is_not_claimed_and_a_freed_one_is() {
        // Keeps every other lattice off the port; those under test lock elsewhere.
        let mut holder = Ports::new().unwrap();
        let port = holder.take().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut ports = Ports {
            directory: directory.path().to_owned(),
            next: RANGE.start,
            held: Vec::new(),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(!ports.claim(port));
        drop(listener);
        assert!(ports.claim(port));
    }
}
