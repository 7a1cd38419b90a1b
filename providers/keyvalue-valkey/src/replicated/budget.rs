//! A bound on the bytes that wait in a queue, beside the one on their number.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that may wait.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    room: Arc<Semaphore>,
    most: u32,
}

/// The room that something takes, until this is dropped.
pub(super) type Room = OwnedSemaphorePermit;

impl Budget {
    pub(super) fn new(most: u32) -> Self {
        let permits = usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            most,
        }
    }

    /// Room for so many bytes, if there is; what is larger than all the room may wait alone.
    pub(super) fn take(&self, bytes: usize) -> Option<Room> {
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.most);
        self.room.clone().try_acquire_many_owned(wanted).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_for_the_room_waits_alone() {
        let budget = Budget::new(10);
        let room = budget.take(6).unwrap();
        assert!(budget.take(5).is_none());
        assert!(budget.take(4).is_some());
        drop(room);
        let whole = budget.take(1_000).unwrap();
        assert!(budget.take(1).is_none());
        drop(whole);
        assert!(budget.take(10).is_some());
    }
}
