//! Waiting for other regions to say that they have a write.

use std::collections::BTreeMap;
use std::sync::Mutex;

use replica::region::{Author, Region};
use tokio::sync::Notify;

use super::shared::lock;

/// Lives of the store whose confirmations are kept; one writes, older ones are still confirmed.
const MAX_AUTHORS: usize = 8;
/// Regions whose confirmations are kept.
const MAX_REGIONS: usize = 256;

type Applied = BTreeMap<Author, BTreeMap<Region, u64>>;

/// What other regions said they have applied of this region's writes.
#[derive(Debug, Default)]
pub(super) struct Acks {
    applied: Mutex<Applied>,
    news: Notify,
}

impl Acks {
    /// A region says up to where it has applied an author's writes.
    pub(super) fn note(&self, from: Region, author: Author, seq: u64) {
        let mut applied = lock(&self.applied);
        if applied.len() >= MAX_AUTHORS && !applied.contains_key(&author) {
            applied.clear();
        }
        let regions = applied.entry(author).or_default();
        if regions.len() < MAX_REGIONS || regions.contains_key(&from) {
            let upto = regions.entry(from).or_default();
            *upto = seq.max(*upto);
        }
        drop(applied);
        self.news.notify_waiters();
    }

    /// Waits until `count` regions have an author's writes up to `seq`.
    pub(super) async fn reached(&self, author: &Author, seq: u64, count: usize) {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // From here on nothing is missed.
            news.as_mut().enable();
            if self.confirmed(author, seq) >= count {
                return;
            }
            news.await;
        }
    }

    /// How many regions have an author's writes up to `seq`.
    pub(super) fn confirmed(&self, author: &Author, seq: u64) -> usize {
        lock(&self.applied).get(author).map_or(0, |regions| {
            regions.values().filter(|upto| **upto >= seq).count()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_is_confirmed_by_as_many_regions_as_have_it() {
        let acks = Acks::default();
        let author: Author = "iad/1".parse().unwrap();
        acks.note("fra".parse().unwrap(), author.clone(), 5);
        acks.note("fra".parse().unwrap(), author.clone(), 3);
        acks.note("sin".parse().unwrap(), author.clone(), 4);
        assert_eq!(acks.confirmed(&author, 4), 2);
        assert_eq!(acks.confirmed(&author, 5), 1);
        acks.reached(&author, 4, 2).await;
        // Of another life of the store, nothing.
        assert_eq!(acks.confirmed(&"iad/2".parse().unwrap(), 1), 0);
    }
}
