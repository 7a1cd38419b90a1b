//! Telling other regions at once what was written here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use replica::entry::Entry;
use replica::region::Author;
use replica::vector::VersionVector;
use replica::wire::{self, Envelope, Message, Push};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, Instant};

use super::budget::Room;
use super::road::Road;
use super::settings::{Settings, PAGE_BYTES};

/// Writes that wait to be told, at most, and their bytes; what is dropped is pulled.
pub(super) const QUEUE: usize = 4_096;
pub(super) const QUEUE_BYTES: u32 = 64 << 20;
/// Writes that go in one message, at most.
const BATCH: usize = 256;
/// Between two messages: the first write after a silence leaves at once, and a burst is few messages, of which
/// every region takes in one as cheaply as it would a single write.
const PAUSE: Duration = Duration::from_millis(4);

/// Writes that were made in one atomic step.
#[derive(Clone, Debug)]
pub(super) struct News {
    pub(super) author: Author,
    pub(super) first: u64,
    pub(super) last: u64,
    /// What was known here at the latest before the writes; older does no harm.
    pub(super) seen: Arc<VersionVector>,
    pub(super) ack: bool,
    pub(super) entries: Vec<(String, Entry)>,
}

/// Sends what is written, as much at a time as has queued up.
pub(super) async fn send_all(
    mut queue: mpsc::Receiver<(News, Room)>,
    road: Road,
    settings: Settings,
) {
    let (mut batch, mut next) = (Vec::new(), Instant::now());
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        if Instant::now() < next {
            sleep_until(next).await;
            let room = BATCH.saturating_sub(batch.len());
            batch.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(room));
        }
        next = Instant::now() + PAUSE;
        let (batch, _room): (Vec<News>, Vec<Room>) = batch.drain(..).unzip();
        for news in join(batch) {
            let push = Push {
                author: news.author,
                first: news.first,
                last: news.last,
                seen: VersionVector::clone(&news.seen),
                ack: news.ack,
                entries: news.entries,
            };
            let envelope = Envelope {
                group: settings.group.clone(),
                from: settings.region.clone(),
                message: Message::Push(push),
            };
            road.send(None, wire::encode(&envelope));
        }
    }
}

/// Joins writes that follow each other, so that a burst is few messages. Callers queue in any order.
fn join(mut news: Vec<News>) -> Vec<News> {
    news.sort_by(|one, other| (&one.author, one.first).cmp(&(&other.author, other.first)));
    let mut joined: Vec<News> = Vec::new();
    let mut bytes = 0_usize;
    for next in news {
        let length = next.bytes();
        match joined.last_mut() {
            Some(last)
                if last.author == next.author
                    && last.last.checked_add(1) == Some(next.first)
                    && bytes.saturating_add(length) <= PAGE_BYTES =>
            {
                bytes = bytes.saturating_add(length);
                last.follow(next);
            }
            _ => {
                bytes = length;
                joined.push(next);
            }
        }
    }
    for news in &mut joined {
        news.entries = latest(std::mem::take(&mut news.entries));
    }
    joined
}

impl News {
    pub(super) fn bytes(&self) -> usize {
        let value = |entry: &Entry| {
            let value = entry.register.as_ref().and_then(|r| r.value.as_ref());
            value.map_or(0, bytes::Bytes::len)
        };
        let lengths = (self.entries.iter()).map(|(key, entry)| key.len() + value(entry) + 64);
        lengths.fold(0, usize::saturating_add)
    }

    fn follow(&mut self, next: Self) {
        self.last = next.last;
        self.ack |= next.ack;
        if self.seen.includes(&next.seen) {
            self.seen = next.seen;
        }
        self.entries.extend(next.entries);
    }
}

/// Of a key that was written several times, the last entry: it holds all before it.
pub(super) fn latest(entries: Vec<(String, Entry)>) -> Vec<(String, Entry)> {
    if entries.len() < 2 {
        return entries;
    }
    let mut places = HashMap::with_capacity(entries.len());
    let mut latest: Vec<(String, Entry)> = Vec::with_capacity(entries.len());
    for (key, entry) in entries {
        match places.get(&key).and_then(|at: &usize| latest.get_mut(*at)) {
            Some(known) => known.1 = entry,
            None => {
                places.insert(key.clone(), latest.len());
                latest.push((key, entry));
            }
        }
    }
    latest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(first: u64, last: u64, keys: &[&str]) -> News {
        News {
            author: "iad/1".parse().unwrap(),
            first,
            last,
            seen: Arc::default(),
            ack: false,
            entries: keys
                .iter()
                .map(|key| ((*key).to_owned(), Entry::default()))
                .collect(),
        }
    }

    #[test]
    fn writes_that_follow_each_other_become_one_message() {
        let joined = join(vec![
            news(3, 4, &["a", "b"]),
            news(1, 2, &["a", "c"]),
            news(6, 6, &["d"]),
        ]);
        let ranges: Vec<_> = joined.iter().map(|news| (news.first, news.last)).collect();
        assert_eq!(ranges, [(1, 4), (6, 6)]);
        let keys: Vec<_> = joined[0].entries.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["a", "c", "b"]);
    }

    #[test]
    fn a_joined_message_claims_no_more_than_its_first_write_had_seen() {
        let seen = |seq| Arc::new(VersionVector::from_iter([("fra/1".parse().unwrap(), seq)]));
        let (mut one, mut other) = (news(1, 1, &["a"]), news(2, 2, &["b"]));
        one.seen = seen(5);
        other.seen = seen(4);
        let joined = join(vec![other, one]);
        assert_eq!(joined[0].seen, seen(4));
    }
}
