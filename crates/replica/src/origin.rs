//! What a store was filled from.

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
    /// Its lives in their order. Only the last one may go on.
    pub lives: Vec<(Incarnation, u64)>,
}

impl Origin {
    /// The origin that a store is to others.
    pub(crate) fn of(lineage: &[Author], vector: &VersionVector) -> Option<Self> {
        let region = lineage.first()?.region.clone();
        let lives = lineage
            .iter()
            .map(|author| (author.incarnation, vector.get(author)));
        Some(Self {
            region,
            lives: lives.collect(),
        })
    }

    /// Which store, since it was last empty.
    pub(crate) fn store(&self) -> Option<Author> {
        let (incarnation, _) = self.lives.first()?;
        Some(Author {
            region: self.region.clone(),
            incarnation: *incarnation,
        })
    }

    fn last(&self) -> Option<Incarnation> {
        self.lives.last().map(|(incarnation, _)| *incarnation)
    }

    /// Whether it tells of a later time than another of the same store.
    pub(crate) fn is_later_than(&self, other: &Self) -> bool {
        self.last() > other.last()
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
        let taken = |incarnation: Incarnation| {
            let life = self.lives.iter().find(|(life, _)| *life == incarnation);
            life.map_or(0, |(_, seq)| *seq)
        };
        remembered.iter().any(|(author, seq)| {
            author.region == self.region
                && (began..last).contains(&author.incarnation)
                && seq > taken(author.incarnation)
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
        assert!(!store.forgot(&remembered(&[("fra/3", 1), ("fra/4", 11), ("fra/5", 1)])));
    }
}
