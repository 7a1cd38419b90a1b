//! What the end-to-end tests share.
//!
//! * [`stage`]: the lattice that the tests of one file play on, and what can be asked of it;
//! * [`ledger`]: visitors who keep the edge busy, and the book they keep of its answers;
//! * [`verdict`]: what they are promised; [`machine`]: when this machine, not the lattice, broke it;
//! * [`count`]: the visits a lattice has counted;
//! * [`door`]: a manifest whose effect can be seen from outside;
//! * [`program`]: the `lattice` command line, as a person uses it;
//! * [`browser`]: headless Chromium;
//! * [`wait`], deadlines.
//!
//! The tests need what `make build` makes; `make e2e` does both.

// This crate is test support: what fails here is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod browser;
pub mod count;
pub mod door;
pub mod ledger;
pub mod machine;
pub mod program;
pub mod stage;
pub mod verdict;
pub mod wait;

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent()
        .expect("tests/ is in the repository")
        .to_owned()
}

/// Cargo's target directory, where this test was built.
#[must_use]
pub fn target() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its program");
    // target/PROFILE/deps/NAME
    own.ancestors()
        .nth(3)
        .expect("a test is built below the target directory")
        .to_owned()
}

/// Says on the terminal what was skipped or excused.
pub fn tell(what: &str) {
    // Not through `eprintln!`, which a passing test keeps to itself.
    let _ = writeln!(std::io::stderr(), "\n{what}\n");
}

/// A directory below the target directory that is empty now. What a test leaves there stays
/// until the next run, for whoever wants to know what went wrong.
///
/// # Panics
///
/// A lattice runs in it.
#[must_use]
pub fn emptied(name: &str) -> PathBuf {
    let directory = target().join("e2e").join(name);
    if directory.exists() {
        let claim = lattice::workspace::Workspace::claim(&directory).expect("a directory to claim");
        assert!(
            claim.is_some(),
            "a lattice of another test run is in {}",
            directory.display()
        );
        std::fs::remove_dir_all(&directory).expect("a directory to empty");
    }
    std::fs::create_dir_all(&directory).expect("a directory to make");
    directory
}
