//! What a store was filled from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::region::{Author, Incarnation, Region};
use crate::vector::VersionVector;

/// The lives of a region's store since it was last empty, and how many numbers each of them took.
///
/// A store that is set back to an old copy looks like any other until somebody is heard who remembers more of its
/// numbers. Whoever was filled from it by then holds what the copy held, deleted and forgotten by all others as it
/// may be. So a store that is filled keeps the lives of those whom it takes from, and theirs, and starts anew when one of
/// them turns out to be such a copy, whether or not that one is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Whose store.
    pub region: Region,
    /// Its lives in their order, and those that it knows of from between them. Only the last one may go on.
    pub lives: Vec<(Incarnation, u64)>,
}

impl Origin {
    /// The origin that a store is to others.
    pub(crate) fn of(lineage: &[Author], vector: &VersionVector) -> Option<Self> {
        let (first, last) = (lineage.first()?, lineage.last()?);
        let own = lineage.iter().map(|author| (author, vector.get(author)));
        let between = |(author, _): &(&Author, u64)| {
            author.region == first.region
                && (first.incarnation..=last.incarnation).contains(&author.incarnation)
        };
        let lives: BTreeMap<Incarnation, u64> = own
            .chain(vector.iter())
            .filter(between)
            .map(|(author, seq)| (author.incarnation, seq))
            .collect();
        Some(Self {
            region: first.region.clone(),
            lives: lives.into_iter().collect(),
        })
    }

    /// Which store, since it was last empty.
    pub(crate) fn store(&self) -> Option<Author> {
        let (incarnation, _) = self.lives.first()?;
        Some(self.author(*incarnation))
    }

    fn author(&self, incarnation: Incarnation) -> Author {
        Author {
            region: self.region.clone(),
            incarnation,
        }
    }

    /// How it lies in a store, beside [`Self::store`]: the lives and their numbers.
    pub(crate) fn kept(&self) -> String {
        let lives = self.lives.iter();
        let lives: Vec<String> = lives.map(|(life, seq)| format!("{life}={seq}")).collect();
        lives.join(",")
    }

    pub(crate) fn from_kept(store: &str, lives: &str) -> Option<Self> {
        let store: Author = store.parse().ok()?;
        let lives = lives.split(',').map(|life| {
            let (incarnation, seq) = life.split_once('=')?;
            Some((incarnation.parse().ok()?, seq.parse().ok()?))
        });
        Some(Self {
            region: store.region,
            lives: lives.collect::<Option<_>>()?,
        })
    }

    fn last(&self) -> Option<Incarnation> {
        self.lives.last().map(|(incarnation, _)| *incarnation)
    }

    /// Whether it tells of a later time than another of the same store.
    pub(crate) fn is_later_than(&self, other: &Self) -> bool {
        self.last() > other.last()
    }

    /// Whether they are of one store in one life, and this one had no more of those before.
    pub(crate) fn is_no_more_than(&self, other: &Self) -> bool {
        let mut earlier = self
            .lives
            .iter()
            .filter(|(life, _)| Some(*life) < self.last());
        self.store() == other.store()
            && self.last() == other.last()
            && earlier.all(|(life, seq)| *seq <= other.taken(*life))
    }

    /// What was taken from a store now and earlier, as one: of each life the least that it had.
    pub(crate) fn with_earlier(mut self, earlier: &Self) -> Self {
        for (life, seq) in &mut self.lives {
            if Some(*life) < earlier.last() {
                *seq = earlier.taken(*life).min(*seq);
            }
        }
        self
    }

    fn taken(&self, incarnation: Incarnation) -> u64 {
        let mut lives = self.lives.iter();
        let life = lives.find(|(life, _)| *life == incarnation);
        life.map_or(0, |(_, seq)| *seq)
    }

    /// Whether there is a life before the last one, of which it may have forgotten something.
    pub(crate) fn may_be_copy(&self) -> bool {
        self.lives.len() > 1
    }

    /// Whether a vector covers all that the store's lives had written, and the first of them something: whoever took from it
    /// has most likely read it to the end.
    pub(crate) fn is_covered_by(&self, vector: &VersionVector) -> bool {
        let wrote = self.lives.first().is_some_and(|(_, seq)| *seq > 0);
        let mut lives = self.lives.iter();
        wrote && lives.all(|(incarnation, seq)| vector.covers(&self.author(*incarnation), *seq))
    }

    /// Whether somebody remembers more of the store's earlier lives than it did: it was an old copy.
    ///
    /// What its last life wrote since, and lives after that, it need not have had. Lives from before it was last empty
    /// are others to it.
    pub(crate) fn forgot(&self, remembered: &VersionVector) -> bool {
        let Some((began, last)) = self.store().map(|store| store.incarnation).zip(self.last())
        else {
            return false;
        };
        remembered.iter().any(|(author, seq)| {
            author.region == self.region
                && (began..last).contains(&author.incarnation)
                && seq > self.taken(author.incarnation)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn origin(lives: &[(u64, u64)]) -> Origin {
        let lives = lives
            .iter()
            .map(|(life, seq)| ((*life).try_into().unwrap(), *seq));
        Origin {
            region: "fra".parse().unwrap(),
            lives: lives.collect(),
        }
    }

    fn remembered(writes: &[(&str, u64)]) -> VersionVector {
        let writes = writes
            .iter()
            .map(|(author, seq)| (author.parse().unwrap(), *seq));
        writes.collect()
    }

    #[test]
    fn a_store_forgot_what_others_have_of_its_earlier_lives_and_it_does_not() {
        let store = origin(&[(4, 10), (7, 0), (9, 3)]);
        for forgotten in [("fra/4", 11), ("fra/5", 1), ("fra/7", 1), ("fra/8", 2)] {
            assert!(store.forgot(&remembered(&[forgotten])), "{forgotten:?}");
        }
        let none = [
            ("fra/4", 10), // all of it
            ("fra/9", 99), // it goes on
            ("fra/a", 99), // it goes on in another life
            ("fra/3", 99), // from before it was empty
            ("gru/4", 99), // somebody else
        ];
        assert!(!store.forgot(&remembered(&none)));
        assert!(!origin(&[]).forgot(&remembered(&none)));
    }

    #[test]
    fn a_store_in_its_first_life_forgot_nothing() {
        let store = origin(&[(4, 10)]);
        assert!(!store.may_be_copy());
        assert!(!store.forgot(&remembered(&[("fra/3", 1), ("fra/4", 11), ("fra/5", 1)])));
    }

    #[test]
    fn of_two_that_took_from_one_store_the_one_that_had_no_more_of_it_is_no_witness() {
        let taken = origin(&[(4, 10), (7, 2), (9, 3)]);
        for no_more in [[(4, 10), (7, 2), (9, 8)], [(4, 8), (7, 0), (9, 0)]] {
            assert!(origin(&no_more).is_no_more_than(&taken), "{no_more:?}");
        }
        for more in [[(4, 11), (7, 2), (9, 3)], [(4, 10), (8, 1), (9, 3)]] {
            assert!(!origin(&more).is_no_more_than(&taken), "{more:?}");
        }
        for other in [[(4, 10), (7, 2)], [(5, 10), (9, 3)]] {
            assert!(!origin(&other).is_no_more_than(&taken), "{other:?}");
        }
    }

    #[test]
    fn a_vector_covers_a_store_that_wrote_and_all_of_whose_lives_it_covers() {
        let covering = remembered(&[("fra/4", 10), ("fra/9", 3)]);
        for covered in [origin(&[(4, 10), (9, 3)]), origin(&[(4, 1), (7, 0)])] {
            assert!(covered.is_covered_by(&covering), "{covered:?}");
        }
        let not = [[(4, 11), (9, 3)], [(4, 10), (7, 1)], [(3, 0), (9, 3)]];
        for lives in not {
            assert!(!origin(&lives).is_covered_by(&covering), "{lives:?}");
        }
    }

    #[test]
    fn a_store_names_its_own_lives_and_those_between_that_it_knows_of() {
        let lineage: Vec<Author> = ["fra/4", "fra/9"].map(|a| a.parse().unwrap()).into();
        let vector = remembered(&[
            ("fra/2", 8),
            ("fra/4", 10),
            ("fra/5", 7),
            ("fra/a", 6),
            ("gru/5", 1),
        ]);
        let expected = origin(&[(4, 10), (5, 7), (9, 0)]);
        assert_eq!(Origin::of(&lineage, &vector), Some(expected));
        assert_eq!(Origin::of(&[], &vector), None);
    }

    #[test]
    fn it_lies_in_a_store_as_it_always_did() {
        let kept = "4=10,19f=4503599627370496";
        let lives = [(4, 10), (0x19f, 1 << 52)];
        assert_eq!(origin(&lives).kept(), kept);
        assert_eq!(Origin::from_kept("fra/4", kept), Some(origin(&lives)));
        for nonsense in ["", "4", "4=", "4=-1", "=1", "4=1,", "4=1;5=1"] {
            assert_eq!(Origin::from_kept("fra/4", nonsense), None, "{nonsense}");
        }
        assert_eq!(Origin::from_kept("fra", kept), None);
    }

    #[test]
    fn of_what_was_taken_twice_the_least_of_each_life_counts() {
        // The last life went on after it was taken from, and then the store was set back to before another one.
        let earlier = origin(&[(4, 10), (7, 2), (9, 3)]);
        let later = origin(&[(4, 8), (5, 1), (9, 12), (11, 0)]);
        assert!(later.is_later_than(&earlier) && !earlier.is_later_than(&later));
        let both = later.with_earlier(&earlier);
        assert_eq!(both, origin(&[(4, 8), (5, 0), (9, 12), (11, 0)]));
        assert!(both.forgot(&remembered(&[("fra/7", 1)])));
    }
}
