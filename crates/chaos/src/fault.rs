//! What goes wrong.

use std::fmt;

use lattice::region::HOME;
use lattice::wan::Direction;
use serde::{Deserialize, Serialize};

/// The name of the store's provider in a lattice.
pub const PROVIDER: &str = "keyvalue-valkey";

/// Something that goes wrong in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Everything in it gets SIGKILL, and stays dead until the fault ends.
    KillRegion,
    /// The store's provider gets SIGKILL; its host starts another one.
    KillProvider,
    /// Valkey gets SIGKILL, and stays dead until the fault ends.
    KillValkey,
    /// Valkey gets SIGKILL and is started again at once.
    CrashValkey,
    /// The hub's NATS gets SIGKILL, and stays dead until the fault ends.
    KillHub,
    /// The hub's NATS gets SIGKILL and is started again at once.
    CrashHub,
    /// The host gets SIGKILL, with its providers, and is started again at once.
    CrashHost,
    /// The region's NATS server gets SIGKILL and is started again at once.
    CrashNats,
    /// Everything in it is stopped with SIGSTOP.
    PauseRegion,
    /// The store's provider is stopped with SIGSTOP.
    PauseProvider,
    /// Valkey is stopped with SIGSTOP.
    PauseValkey,
    /// Nothing passes between the region and the hub.
    Cut,
    /// Nothing passes from the region to the hub.
    CutOut,
    /// Nothing passes from the hub to the region.
    CutIn,
}

impl Kind {
    /// Those that every run begins with.
    pub const FIRST: [Self; 6] = [
        Self::KillRegion,
        Self::KillProvider,
        Self::KillValkey,
        Self::KillHub,
        Self::PauseRegion,
        Self::Cut,
    ];
    /// Those that come after them.
    pub const THEN: [Self; 8] = [
        Self::CrashValkey,
        Self::CrashHub,
        Self::CrashHost,
        Self::CrashNats,
        Self::PauseProvider,
        Self::PauseValkey,
        Self::CutOut,
        Self::CutIn,
    ];

    /// Whether it strikes the hub, which is nobody's region.
    #[must_use]
    pub fn is_of_the_hub(self) -> bool {
        matches!(self, Self::KillHub | Self::CrashHub)
    }

    /// The process that gets the signal; none for whole regions and for the WAN.
    #[must_use]
    pub fn process(self) -> Option<&'static str> {
        match self {
            Self::KillProvider | Self::PauseProvider => Some(PROVIDER),
            Self::KillValkey | Self::CrashValkey | Self::PauseValkey => Some("valkey"),
            Self::KillHub | Self::CrashHub => Some("hub"),
            Self::CrashHost => Some("host"),
            Self::CrashNats => Some("nats"),
            Self::KillRegion | Self::PauseRegion | Self::Cut | Self::CutOut | Self::CutIn => None,
        }
    }

    /// Whether processes are stopped, not killed.
    #[must_use]
    pub fn is_pause(self) -> bool {
        matches!(
            self,
            Self::PauseRegion | Self::PauseProvider | Self::PauseValkey
        )
    }

    /// Which way nothing passes, if the fault is of the WAN.
    #[must_use]
    pub fn direction(self) -> Option<Direction> {
        match self {
            Self::Cut => Some(Direction::Both),
            Self::CutOut => Some(Direction::ToHub),
            Self::CutIn => Some(Direction::FromHub),
            _ => None,
        }
    }

    /// Whether the region's clients have everything that they need, so that the fault must not cost them more
    /// than a moment.
    #[must_use]
    pub fn leaves_the_region_whole(self) -> bool {
        self.is_of_the_hub() || self.direction().is_some()
    }

    fn verb(self) -> &'static str {
        match self {
            Self::KillRegion => "kill",
            Self::KillProvider => "kill the provider of",
            Self::KillValkey => "kill the Valkey of",
            Self::CrashValkey => "crash the Valkey of",
            Self::KillHub => "kill",
            Self::CrashHub => "crash",
            Self::CrashHost => "crash the host of",
            Self::CrashNats => "crash the NATS of",
            Self::PauseRegion => "pause",
            Self::PauseProvider => "pause the provider of",
            Self::PauseValkey => "pause the Valkey of",
            Self::Cut => "cut off",
            Self::CutOut => "mute",
            Self::CutIn => "deafen",
        }
    }
}

/// A fault of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// Where; `home` for the hub.
    pub region: String,
}

impl Fault {
    /// Whether it takes from the clients of a region something that they need, so that another region may answer them.
    #[must_use]
    pub fn harms(&self, region: &str) -> bool {
        self.region == region && !self.kind.leaves_the_region_whole()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_the_hub = self.kind.is_of_the_hub() && self.region == HOME;
        let whom = if of_the_hub { "the hub" } else { &self.region };
        write!(f, "{} {whom}", self.kind.verb())
    }
}
