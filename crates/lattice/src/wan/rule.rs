//! What holds on a link now, and what that means to one connection.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A direction of the link, seen from the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Both ways.
    Both,
    /// From the leaf to the hub.
    ToHub,
    /// From the hub to the leaf.
    FromHub,
}

/// Which way one lane of a connection runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heading {
    ToHub,
    FromHub,
}

#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub target: SocketAddr,
    pub one_way: Duration,
    cut_to_hub: bool,
    cut_from_hub: bool,
    since: Option<SystemTime>,
    /// Calls of `cut` and effective calls of `heal` so far. A connection compares them with what they were when
    /// it was born, so that no cut escapes it however late it looks.
    cuts: u64,
    heals: u64,
}

impl Rules {
    pub fn new(target: SocketAddr, one_way: Duration) -> Self {
        Self {
            target,
            one_way,
            cut_to_hub: false,
            cut_from_hub: false,
            since: None,
            cuts: 0,
            heals: 0,
        }
    }

    pub fn cut(&mut self, direction: Direction, now: SystemTime) {
        self.cut_to_hub |= direction != Direction::FromHub;
        self.cut_from_hub |= direction != Direction::ToHub;
        self.since.get_or_insert(now);
        self.cuts += 1;
    }

    /// Returns whether there was a cut to heal.
    pub fn heal(&mut self) -> bool {
        if !self.is_cut() {
            return false;
        }
        self.cut_to_hub = false;
        self.cut_from_hub = false;
        self.since = None;
        self.heals += 1;
        true
    }

    pub fn is_cut(&self) -> bool {
        self.cut_to_hub || self.cut_from_hub
    }

    pub fn cut_now(&self) -> Option<(Direction, SystemTime)> {
        let direction = match (self.cut_to_hub, self.cut_from_hub) {
            (true, true) => Direction::Both,
            (true, false) => Direction::ToHub,
            (false, true) => Direction::FromHub,
            (false, false) => return None,
        };
        self.since.map(|since| (direction, since))
    }
}

/// The rules' counts when a connection was accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Birth {
    cuts: u64,
    heals: u64,
    in_cut: bool,
}

impl Birth {
    pub fn under(rules: &Rules) -> Self {
        Self {
            cuts: rules.cuts,
            heals: rules.heals,
            in_cut: rules.is_cut(),
        }
    }

    /// A cut touched this connection: from here on neither side may learn of the other's end.
    pub fn is_doomed(self, rules: &Rules) -> bool {
        self.in_cut || rules.cuts > self.cuts
    }

    /// The cut that touched this connection is over: it must be reset.
    pub fn is_healed(self, rules: &Rules) -> bool {
        rules.heals > self.heals
    }

    /// Bytes heading this way are lost. Also between a heal and the reset that follows it, since the stream
    /// would otherwise go on with a hole in it.
    pub fn loses(self, rules: &Rules, heading: Heading) -> bool {
        self.is_healed(rules)
            || match heading {
                Heading::ToHub => rules.cut_to_hub,
                Heading::FromHub => rules.cut_from_hub,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::new(SocketAddr::from(([127, 0, 0, 1], 1)), Duration::ZERO)
    }

    #[test]
    fn a_second_cut_adds_its_direction_and_keeps_the_first_ones_time() {
        let mut rules = rules();
        rules.cut(Direction::ToHub, SystemTime::UNIX_EPOCH);
        rules.cut(Direction::FromHub, SystemTime::now());
        assert_eq!(
            rules.cut_now(),
            Some((Direction::Both, SystemTime::UNIX_EPOCH))
        );
    }

    #[test]
    fn healing_a_whole_link_changes_nothing() {
        let mut rules = rules();
        let birth = Birth::under(&rules);
        assert!(!rules.heal());
        assert!(!birth.is_healed(&rules));
    }

    #[test]
    fn a_connection_that_slept_through_cut_heal_and_cut_is_still_found_healed() {
        let mut rules = rules();
        let birth = Birth::under(&rules);
        rules.cut(Direction::ToHub, SystemTime::now());
        rules.heal();
        rules.cut(Direction::ToHub, SystemTime::now());
        assert!(birth.is_doomed(&rules));
        assert!(birth.is_healed(&rules));
        assert!(birth.loses(&rules, Heading::FromHub));
        let younger = Birth::under(&rules);
        assert!(younger.is_doomed(&rules));
        assert!(!younger.is_healed(&rules));
        assert!(!younger.loses(&rules, Heading::FromHub));
    }
}
