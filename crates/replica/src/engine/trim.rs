//! Keeping the change log short.
//!
//! What all members have read is dropped, so that a store at rest has none. Whoever asks for what is no longer there is given
//! all keys (`src/store/script.lua`), so nothing depends on what is known here of the others: it only costs more.

use super::{Engine, Task};
use crate::store::Op;

/// Positions from here on are in a list of all keys, and not in the log.
const ALL_KEYS: u64 = 1 << 51;

/// How much more a log may hold for one who is in the middle of reading it.
const PATIENCE: usize = 100;

/// How far a peer has read the change log here.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// From where it asked last.
    last: Option<u64>,
    /// From where it asked since the last look, at the least: pages that it could not put in place it asks for again.
    least: Option<u64>,
    /// The same at the last look.
    before: Option<u64>,
    /// Whether the part that it was given last was not the end.
    in_the_middle: bool,
}

impl Reading {
    /// From where it asked last: what is before that is in its store, or on its way there.
    pub(super) fn last(&self) -> Option<u64> {
        self.last
    }

    /// It asks for what comes after this position.
    pub(super) fn asks(&mut self, after: u64) {
        self.last = Some(after);
        self.least = Some(self.least.map_or(after, |least| least.min(after)));
    }

    /// It is given a part.
    pub(super) fn given(&mut self, is_last: bool) {
        self.in_the_middle = !is_last;
    }

    /// Up to where of the log nothing is needed for it any more, and whether it is on its way through.
    fn look(&mut self) -> (u64, bool) {
        let in_log = |after: Option<u64>| after.filter(|after| *after < ALL_KEYS).unwrap_or(0);
        // What it had at the last look is in its store by now: after a crash it goes on from there.
        let needed = in_log(self.before).min(in_log(self.least));
        let moves = self.in_the_middle && self.least != self.before;
        self.before = self.least;
        self.least = self.last;
        (needed, moves)
    }
}

impl Engine {
    pub(super) fn tick_trim(&mut self) {
        let now = self.now.mono_ms;
        if !self.phase.takes_in() || now < self.trim_at {
            return;
        }
        self.trim_at = now.saturating_add(self.config.trim_ms);
        let members = self.peers.values_mut().filter(|peer| !peer.evicted);
        let looks: Vec<(u64, bool)> = members.map(|peer| peer.reading.look()).collect();
        // With no member nobody reads it.
        let all_read = looks.iter().map(|(read, _)| *read).min();
        // Who falls behind the log in the middle of it has to begin anew.
        let patience = if looks.iter().any(|(_, moves)| *moves) {
            PATIENCE
        } else {
            1
        };
        let op = Op::Trim {
            upto: all_read.unwrap_or(u64::MAX),
            spare: self.config.log.saturating_mul(patience),
        };
        self.store(Task::Trim, op);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What three looks in turn find.
    fn looks(reading: &mut Reading) -> [u64; 3] {
        [0; 3].map(|_| reading.look().0)
    }

    #[test]
    fn what_a_peer_asked_for_at_the_last_look_is_kept_no_more() {
        let mut reading = Reading::default();
        assert_eq!(reading.look().0, 0);
        for after in [10, 20, 30] {
            reading.asks(after);
        }
        assert_eq!(looks(&mut reading), [0, 10, 30]);
        // It lost its disk.
        reading.asks(0);
        assert_eq!(reading.look().0, 0);
    }

    #[test]
    fn what_a_peer_asks_for_again_and_again_is_kept() {
        let mut reading = Reading::default();
        for after in [10, 20, 10, 20, 10, 20] {
            reading.asks(after);
            assert!(reading.look().0 <= 10);
        }
    }

    #[test]
    fn for_who_reads_all_keys_nothing_of_the_log_is_dropped() {
        let mut reading = Reading::default();
        reading.asks(10);
        reading.asks(ALL_KEYS + 5);
        assert_eq!(looks(&mut reading), [0, 0, 0]);
        reading.asks(40);
        assert_eq!(looks(&mut reading), [0, 40, 40]);
    }

    #[test]
    fn who_asks_for_the_same_part_again_and_again_is_not_on_its_way() {
        let mut reading = Reading::default();
        for look in 0..5 {
            for after in [ALL_KEYS, ALL_KEYS + 4] {
                reading.asks(after);
                reading.given(false);
            }
            assert_eq!(reading.look().1, look == 0);
        }
        for after in [ALL_KEYS + 8, ALL_KEYS + 12, 7] {
            reading.asks(after);
            reading.given(false);
            assert!(reading.look().1);
        }
        reading.asks(9);
        reading.given(true);
        assert!(!reading.look().1);
    }
}
