//! What the writers of a store and the task that keeps it in step have in common.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use replica::region::Author;
use replica::store::{Loaded, Phase};
use replica::vector::VersionVector;
use replica::Status;
use tokio::sync::{mpsc, watch, Notify};

use super::ack::Acks;
use super::budget::{Budget, Room};
use super::push::{News, QUEUE_BYTES};
use super::road::count;
use super::settings::{milliseconds, Settings};
use crate::connection::Connection;
use crate::error::Error;

/// Whether the store can be used, as far as this instance knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is caught up, and this server process holds it.
    Serves(Arc<str>),
    /// Not yet, or not any more.
    Waits(String),
}

/// What the store covered when it was last looked at.
#[derive(Clone, Debug)]
struct Seen {
    run: Arc<str>,
    author: Author,
    vector: Arc<VersionVector>,
}

/// The state of a replicated store in this process.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    /// The components' connection.
    pub(super) data: Arc<Connection>,
    pub(super) acks: Acks,
    pub(super) unpushed: AtomicU64,
    standing: watch::Sender<Standing>,
    seen: Mutex<Option<Seen>>,
    troubles: Mutex<Option<String>>,
    led: Mutex<Option<Arc<Status>>>,
    news: mpsc::Sender<(News, Room)>,
    room: Budget,
    changed: Arc<Notify>,
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        data: Arc<Connection>,
        news: mpsc::Sender<(News, Room)>,
        changed: Arc<Notify>,
    ) -> Self {
        let waits = Standing::Waits("the store has not been looked at yet".to_owned());
        Self {
            settings,
            data,
            acks: Acks::default(),
            unpushed: AtomicU64::new(0),
            standing: watch::Sender::new(waits),
            seen: Mutex::new(None),
            troubles: Mutex::new(None),
            led: Mutex::new(None),
            news,
            room: Budget::new(QUEUE_BYTES),
            changed,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    pub(super) fn stand(&self, standing: Standing) {
        let changed = self.standing.send_if_modified(|known| {
            let news = *known != standing;
            *known = standing;
            news
        });
        if changed {
            self.changed.notify_one();
        }
    }

    /// Why the store cannot be read right now.
    pub(super) fn unavailable(&self) -> Option<Error> {
        let process = match self.data.process() {
            Ok(process) => process,
            Err(error) => return Some(error),
        };
        let reason = match &*self.standing.borrow() {
            Standing::Serves(run) if *run == process.run => return None,
            Standing::Serves(_) => "its server was restarted".to_owned(),
            Standing::Waits(reason) => reason.clone(),
        };
        Some(Error::Unavailable { reason })
    }

    /// The store was looked at.
    pub(super) fn note_seen(&self, run: &Arc<str>, loaded: &Loaded) {
        *lock(&self.seen) = loaded.identity.as_ref().map(|identity| Seen {
            run: run.clone(),
            author: identity.author.clone(),
            vector: Arc::new(loaded.vector.clone()),
        });
    }

    /// The store covers more than when it was looked at.
    pub(super) fn note_raised(&self, raised: &VersionVector) {
        if let Some(seen) = &mut *lock(&self.seen) {
            Arc::make_mut(&mut seen.vector).merge(raised);
        }
    }

    /// What the store was known to cover in this life of it, right now or earlier.
    pub(super) fn seen(&self, run: &str, author: &Author) -> Arc<VersionVector> {
        match &*lock(&self.seen) {
            Some(seen) if &*seen.run == run && seen.author == *author => seen.vector.clone(),
            _ => Arc::default(),
        }
    }

    /// Has other regions told. What finds no room is pulled by them later.
    pub(super) fn tell(&self, news: News) {
        let room = self.room.take(news.bytes());
        let queued = room.is_some_and(|room| self.news.try_send((news, room)).is_ok());
        if !queued {
            count(&self.unpushed);
        }
    }

    /// The leader's last status, as long as this instance leads.
    pub(super) fn led(&self) -> Option<Arc<Status>> {
        lock(&self.led).clone()
    }

    /// What this instance knows as the leader; `None` when it does not lead, or cannot know whether it does.
    pub(super) fn set_led(&self, status: Option<Status>) {
        *lock(&self.led) = status.map(Arc::new);
    }

    /// What an operator has to know although the store may serve.
    pub(super) fn troubles(&self) -> Option<String> {
        lock(&self.troubles).clone()
    }

    pub(super) fn set_troubles(&self, troubles: Option<String>) {
        let mut known = lock(&self.troubles);
        if *known != troubles {
            *known = troubles;
            self.changed.notify_one();
        }
    }
}

/// Whether a store that was looked at serves, by what it says of itself.
pub(super) fn judge(settings: &Settings, run: &Arc<str>, loaded: &Loaded) -> Standing {
    if let Some(owner) = owner(settings, loaded) {
        return Standing::Waits(owner);
    }
    match &loaded.identity {
        None => Standing::Waits("it is not part of the group yet".to_owned()),
        Some(identity) if identity.run != **run => {
            Standing::Waits("its server was restarted and is being checked".to_owned())
        }
        // Whoever wrote before that is adopted would write on something that others do not have.
        Some(identity) if loaded.plain || identity.phase == Phase::Adopting => {
            Standing::Waits("it takes in what lay in it before".to_owned())
        }
        Some(identity) if identity.phase != Phase::Ready => {
            Standing::Waits("it catches up with the other regions".to_owned())
        }
        Some(_) => Standing::Serves(run.clone()),
    }
}

/// Whose a store is, when it belongs to somebody else.
fn owner(settings: &Settings, loaded: &Loaded) -> Option<String> {
    let identity = loaded.identity.as_ref()?;
    let ours = identity.group == settings.group && identity.author.region == settings.region;
    (!ours).then(|| {
        format!(
            "the database belongs to the group `{}`, region `{}`, not to the group `{}`, region `{}`",
            identity.group, identity.author.region, settings.group, settings.region
        )
    })
}

/// Milliseconds since the Unix epoch.
pub(super) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    milliseconds(since.unwrap_or(Duration::ZERO))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks; what a panic elsewhere left is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
