//! Which faults strike when: all of it follows from a seed.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use lattice::region::HOME;

use crate::fault::{Fault, Kind};

/// Faults that strike together, with what comes before and how long they last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// How long everything is well before.
    pub quiet: Duration,
    /// One fault, or two in different places.
    pub faults: Vec<Fault>,
    /// How long they last, from the last one's begin.
    pub lasts: Duration,
}

/// Rounds without end. The same seed and regions give the same ones.
#[derive(Debug)]
pub struct Schedule {
    rng: Rng,
    regions: Vec<String>,
    deck: VecDeque<Kind>,
    dealt: bool,
    /// Where the last fault was: the next one is somewhere else if it can be.
    last: Option<String>,
}

impl Schedule {
    /// The rounds of a seed, over these edge regions.
    ///
    /// The first six rounds are the faults of [`Kind::FIRST`] in some order, each alone.
    #[must_use]
    pub fn new(seed: u64, regions: &[String]) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            regions: regions.to_vec(),
            deck: VecDeque::new(),
            dealt: false,
            last: None,
        }
    }

    fn deal(&mut self) -> Kind {
        loop {
            if let Some(kind) = self.deck.pop_front() {
                return kind;
            }
            let mut first = Kind::FIRST;
            let mut then = Kind::THEN;
            self.rng.shuffle(&mut first);
            self.rng.shuffle(&mut then);
            self.deck.extend(first);
            self.deck.extend(then);
            if self.dealt {
                self.rng.shuffle(self.deck.make_contiguous());
            }
        }
    }

    fn place(&mut self, kind: Kind, not: Option<&str>) -> String {
        if kind.is_of_the_hub() {
            return HOME.to_owned();
        }
        let others: Vec<&String> = self
            .regions
            .iter()
            .filter(|region| Some(region.as_str()) != not)
            .collect();
        let from = if others.is_empty() {
            self.regions.iter().collect()
        } else {
            others
        };
        let chosen = from.get(self.rng.usize(0..from.len().max(1)));
        chosen.map_or_else(|| HOME.to_owned(), |region| (*region).clone())
    }
}

impl Iterator for Schedule {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        let second_deck = self.dealt;
        let kind = self.deal();
        let last = self.last.take();
        let region = self.place(kind, last.as_deref());
        let mut faults = vec![Fault {
            kind,
            region: region.clone(),
        }];
        // From the seventh round on, one in three comes with another one elsewhere.
        let alone = !second_deck && self.deck.len() >= Kind::THEN.len();
        if self.deck.is_empty() {
            self.dealt = true;
        }
        if !alone && self.regions.len() > 2 && self.rng.u8(0..3) == 0 {
            let candidates = [
                Kind::KillProvider,
                Kind::KillValkey,
                Kind::PauseRegion,
                Kind::Cut,
            ];
            let second = candidates[self.rng.usize(0..candidates.len())];
            if second != kind {
                let region = self.place(second, Some(&region));
                faults.push(Fault {
                    kind: second,
                    region,
                });
            }
        }
        self.last = Some(region);
        Some(Round {
            quiet: Duration::from_millis(self.rng.u64(1_500..4_000)),
            faults,
            lasts: Duration::from_millis(self.rng.u64(3_000..8_000)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn regions() -> Vec<String> {
        ["iad", "fra", "sin"].map(str::to_owned).into()
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_another_one_others() {
        let rounds = |seed| Schedule::new(seed, &regions()).take(40).collect::<Vec<_>>();
        assert_eq!(rounds(7), rounds(7));
        assert_ne!(rounds(7), rounds(8));
    }

    #[test]
    fn the_first_six_rounds_are_the_six_faults_that_every_run_has_each_alone() {
        for seed in 0..100 {
            let rounds: Vec<_> = Schedule::new(seed, &regions()).take(6).collect();
            assert!(rounds.iter().all(|round| round.faults.len() == 1));
            let kinds: BTreeSet<Kind> = rounds.iter().map(|round| round.faults[0].kind).collect();
            assert_eq!(kinds, BTreeSet::from(Kind::FIRST), "seed {seed}");
        }
    }

    #[test]
    fn two_faults_at_a_time_are_in_different_places_and_every_kind_comes() {
        let rounds: Vec<_> = Schedule::new(1, &regions()).take(200).collect();
        let pairs = rounds.iter().filter(|round| round.faults.len() == 2);
        assert!(pairs.clone().count() > 20);
        for round in pairs {
            assert_ne!(round.faults[0].region, round.faults[1].region);
        }
        let all = rounds.iter().flat_map(|round| &round.faults);
        let kinds: BTreeSet<Kind> = all.map(|fault| fault.kind).collect();
        assert_eq!(kinds.len(), Kind::FIRST.len() + Kind::THEN.len());
    }

    #[test]
    fn the_hub_is_struck_at_home_and_nothing_else_is() {
        let rounds = Schedule::new(3, &regions()).take(200);
        for fault in rounds.flat_map(|round| round.faults) {
            assert_eq!(fault.kind.is_of_the_hub(), fault.region == HOME, "{fault}");
        }
    }
}
