//! Where a lattice keeps the application's data.

use serde::{Deserialize, Serialize};

use crate::region::HOME;

/// Which regions have a Valkey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stores {
    /// All of them, home included, and keyvalue-valkey replicates between them.
    #[default]
    EveryRegion,
    /// Home alone: the regions reach it through the lattice.
    Home,
}

impl Stores {
    /// Whether the region has one.
    #[must_use]
    pub fn has(self, region: &str) -> bool {
        self == Self::EveryRegion || region == HOME
    }

    /// The manifest of this repository that places keyvalue-valkey accordingly.
    #[must_use]
    pub fn manifest(self) -> &'static str {
        match self {
            Self::EveryRegion => "local.wadm.yaml",
            Self::Home => "local-single-store.wadm.yaml",
        }
    }
}
