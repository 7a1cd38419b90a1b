//! Whether this machine stood still: then a request takes long, and no lattice is to blame.
//!
//! A promise in seconds supposes a machine that runs what is to run. Compilers and other tests may
//! keep this one from it; how much, a thread that only sleeps shows by what it oversleeps.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the thread sleeps at a time.
const NAP: Duration = Duration::from_millis(10);
/// What it may oversleep without notice.
const USUAL: Duration = Duration::from_millis(100);

/// A time in which this machine stood still, as measured from the start of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standstill {
    /// When the thread was to wake.
    pub from: Duration,
    /// When it did.
    pub to: Duration,
}

/// How long the machine stood still between these two times.
#[must_use]
pub fn stood_still(standstills: &[Standstill], from: Duration, to: Duration) -> Duration {
    let within = |still: &Standstill| still.to.min(to).saturating_sub(still.from.max(from));
    standstills.iter().map(within).sum()
}

/// The thread that watches. Dropping this ends it.
#[derive(Debug)]
pub struct Watch {
    over: Sender<()>,
    thread: JoinHandle<Vec<Standstill>>,
}

impl Watch {
    /// Watches from now on; times are measured from `began`.
    #[must_use]
    pub fn start(began: Instant) -> Self {
        let (over, ended) = mpsc::channel::<()>();
        // Not a task: a runtime that is busy is the tests' own fault.
        let thread = std::thread::spawn(move || {
            let mut standstills = Vec::new();
            loop {
                let from = began.elapsed() + NAP;
                let nap = ended.recv_timeout(NAP);
                let to = began.elapsed();
                if to.saturating_sub(from) > USUAL {
                    standstills.push(Standstill { from, to });
                }
                if nap != Err(RecvTimeoutError::Timeout) {
                    return standstills;
                }
            }
        });
        Self { over, thread }
    }

    /// Ends the watch; gives what it saw.
    #[must_use]
    pub fn end(self) -> Vec<Standstill> {
        drop(self.over);
        self.thread.join().expect("a thread that only sleeps")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_standstill_counts_as_far_as_it_falls_into_the_span() {
        let still = |from, to| Standstill {
            from: ms(from),
            to: ms(to),
        };
        let seen = [still(100, 400), still(1_000, 1_500)];
        for (from, to, expected) in [
            (0, 2_000, 800),
            (200, 300, 100),
            (300, 1_100, 200),
            (400, 1_000, 0),
            (1_600, 2_000, 0),
        ] {
            assert_eq!(stood_still(&seen, ms(from), ms(to)), ms(expected), "{from}");
        }
    }

    #[test]
    fn a_process_that_was_stopped_stood_still() {
        let began = Instant::now();
        let watch = Watch::start(began);
        let process = std::process::id();
        let stop = format!("kill -STOP {process}; sleep 0.5; kill -CONT {process}");
        let stopped = Command::new("sh").args(["-c", &stop]).status();
        assert!(stopped.expect("a shell").success());
        let seen = watch.end();
        let still = stood_still(&seen, Duration::ZERO, began.elapsed());
        assert!(still >= ms(400), "{seen:?}");
    }

    #[test]
    fn a_watch_ends_and_saw_nothing_that_is_yet_to_come() {
        let began = Instant::now();
        let seen = Watch::start(began).end();
        let now = began.elapsed();
        assert!(seen.iter().all(|still| still.to <= now), "{seen:?}");
    }
}
