//! Version vectors: how much of each author's writes somebody has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::region::Author;

/// Per author, the number up to which every one of its writes has been applied (or superseded).
///
/// An author that is missing stands at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionVector(BTreeMap<Author, u64>);

impl VersionVector {
    /// How much of an author's writes is covered.
    pub fn get(&self, author: &Author) -> u64 {
        self.0.get(author).copied().unwrap_or(0)
    }

    /// Whether a single write is covered. Number 0 stands for no write and always is.
    pub fn covers(&self, author: &Author, seq: u64) -> bool {
        seq <= self.get(author)
    }

    /// Whether everything in `other` is covered.
    pub fn includes(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|(author, seq)| self.covers(author, *seq))
    }

    /// Whether nothing is covered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Covers an author's writes up to `seq`, never less than before.
    pub fn raise(&mut self, author: &Author, seq: u64) {
        if seq > self.get(author) {
            self.0.insert(author.clone(), seq);
        }
    }

    /// Covers what `other` covers, too.
    pub fn merge(&mut self, other: &Self) {
        for (author, seq) in &other.0 {
            self.raise(author, *seq);
        }
    }

    /// How many writes `other` covers that this does not.
    pub fn behind(&self, other: &Self) -> u64 {
        other
            .0
            .iter()
            .map(|(author, seq)| seq.saturating_sub(self.get(author)))
            .fold(0, u64::saturating_add)
    }

    /// Authors with their numbers, in the authors' order.
    pub fn iter(&self) -> impl Iterator<Item = (&Author, u64)> {
        self.0.iter().map(|(author, seq)| (author, *seq))
    }
}

impl FromIterator<(Author, u64)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (Author, u64)>>(pairs: I) -> Self {
        let mut vector = Self::default();
        for (author, seq) in pairs {
            vector.raise(&author, seq);
        }
        vector
    }
}
