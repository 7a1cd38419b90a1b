//! The gate of the serve loop.

use std::sync::Arc;

use tokio::sync::watch;

/// What the loop is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Serve,
    Pause,
    Stop,
}

/// What the loop does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServingState {
    /// Not serving yet.
    Starting,
    /// Subscribed: calls arrive.
    Serving,
    /// Unsubscribed: calls go to the provider's other instances. Those that had arrived before
    /// are finished.
    Paused,
    /// Unsubscribed for good, and no call is left.
    Stopped,
}

/// Pauses and resumes serving while the provider lives.
///
/// A paused provider is no member of its wRPC queue group, so NATS hands its calls to the next
/// best instance, in another region if need be. Pause when a backend is unreachable, resume when
/// it is back. Pausing in [`Capability::start`](crate::Capability::start) makes the provider join
/// only when it first resumes. Cheap to clone; clones share one gate.
#[derive(Debug, Clone)]
pub struct Serving {
    wanted: Arc<watch::Sender<Wanted>>,
    state: Arc<watch::Sender<ServingState>>,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            wanted: Arc::new(watch::Sender::new(Wanted::Serve)),
            state: Arc::new(watch::Sender::new(ServingState::Starting)),
        }
    }
}

impl Serving {
    /// Leaves the queue group. Returns at once; see [`reached`](Self::reached).
    pub fn pause(&self) {
        self.want(Wanted::Pause);
    }

    /// Joins the queue group again. Returns at once.
    pub fn resume(&self) {
        self.want(Wanted::Serve);
    }

    /// What the loop does now.
    #[must_use]
    pub fn state(&self) -> ServingState {
        *self.state.borrow()
    }

    /// Waits until the loop has reached `state`.
    pub async fn reached(&self, state: ServingState) {
        let mut now = self.state.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = now.wait_for(|current| *current == state).await;
    }

    pub(crate) fn stop(&self) {
        self.want(Wanted::Stop);
    }

    pub(crate) fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    pub(crate) fn set_state(&self, state: ServingState) {
        self.state.send_replace(state);
    }

    /// Stopping is final.
    fn want(&self, next: Wanted) {
        self.wanted.send_if_modified(|wanted| {
            let change = *wanted != next && *wanted != Wanted::Stop;
            if change {
                *wanted = next;
            }
            change
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_a_stop() {
        let serving = Serving::default();
        serving.pause();
        serving.clone().resume();
        assert_eq!(*serving.wanted().borrow(), Wanted::Serve);
        serving.stop();
        serving.resume();
        serving.pause();
        assert_eq!(*serving.wanted().borrow(), Wanted::Stop);
    }
}
