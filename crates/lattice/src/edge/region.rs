//! What the edge knows of one region: whether it is healthy, how fast it answers, and the counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::config::HealthCheck;
use super::failure::Failure;
use super::pace::Pace;
use super::status::{unix_ms, RegionState, RegionStatus};

#[derive(Debug)]
pub(super) struct Region {
    pub code: String,
    pub addr: SocketAddr,
    counters: Counters,
    condition: Mutex<Condition>,
}

#[derive(Debug, Default)]
struct Counters {
    attempts: AtomicU64,
    served: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug)]
struct Condition {
    state: RegionState,
    since: SystemTime,
    failed_checks: u32,
    failed_attempts: u32,
    avoided_until: Option<Instant>,
    last_error: Option<String>,
    pace: Pace,
}

/// What follows for a region from a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consequence {
    Down,
    Avoided,
}

impl Region {
    pub fn new(code: String, addr: SocketAddr) -> Self {
        Self {
            code,
            addr,
            counters: Counters::default(),
            condition: Mutex::new(Condition {
                state: RegionState::Unchecked,
                since: SystemTime::now(),
                failed_checks: 0,
                failed_attempts: 0,
                avoided_until: None,
                last_error: None,
                pace: Pace::default(),
            }),
        }
    }

    /// Returns whether this changed the region's state.
    pub fn check_passed(&self) -> bool {
        let mut condition = self.condition();
        condition.failed_checks = 0;
        condition.turn(RegionState::Healthy)
    }

    /// Returns whether this changed the region's state; `enough` bad checks in a row take it down.
    pub fn check_failed(&self, error: &str, enough: u32) -> bool {
        let mut condition = self.condition();
        condition.failed_checks = condition.failed_checks.saturating_add(1);
        condition.last_error = Some(format!("health check: {error}"));
        condition.failed_checks >= enough && condition.turn(RegionState::Down)
    }

    pub fn attempt_failed(&self, failure: Failure, policy: &HealthCheck) -> Option<Consequence> {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        let mut condition = self.condition();
        condition.last_error = Some(format!("attempt: {failure}"));
        condition.failed_attempts = condition.failed_attempts.saturating_add(1);
        if failure == Failure::Connect {
            return condition
                .turn(RegionState::Down)
                .then_some(Consequence::Down);
        }
        if condition.failed_attempts < policy.avoid_after {
            return None;
        }
        let now = Instant::now();
        let already = condition.is_avoided(now);
        condition.avoided_until = Some(now + policy.avoid_for);
        (!already).then_some(Consequence::Avoided)
    }

    pub fn attempt_began(&self) {
        self.counters.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// A good answer came, after this long.
    pub fn answered(&self, after: Duration) {
        let mut condition = self.condition();
        condition.failed_attempts = 0;
        condition.avoided_until = None;
        condition.pace.observe(after);
    }

    /// Its answer went to the visitor.
    pub fn served(&self) {
        self.counters.served.fetch_add(1, Ordering::Relaxed);
    }

    /// How long to wait for this region before another is asked too.
    pub fn patience(&self, least: Duration, most: Duration) -> Duration {
        self.condition().pace.patience(least, most)
    }

    /// The lower, the sooner it is asked.
    pub fn rank(&self, now: Instant) -> u8 {
        let condition = self.condition();
        match (condition.state, condition.is_avoided(now)) {
            (RegionState::Healthy, false) => 0,
            (RegionState::Healthy, true) => 1,
            (RegionState::Unchecked, _) => 2,
            (RegionState::Down, _) => 3,
        }
    }

    /// When a region's time of being avoided is over, one visitor tries it; the others wait for what comes of it.
    pub fn try_again(&self, now: Instant, avoid_for: Duration) {
        let mut condition = self.condition();
        if condition.avoided_until.is_some_and(|until| until <= now) {
            condition.avoided_until = Some(now + avoid_for);
        }
    }

    pub fn status(&self) -> RegionStatus {
        let condition = self.condition();
        RegionStatus {
            region: self.code.clone(),
            addr: self.addr,
            state: condition.state,
            healthy: condition.state == RegionState::Healthy,
            since_unix_ms: unix_ms(condition.since),
            avoided: condition.is_avoided(Instant::now()),
            failed_checks_in_a_row: condition.failed_checks,
            failed_attempts_in_a_row: condition.failed_attempts,
            last_error: condition.last_error.clone(),
            attempts: self.counters.attempts.load(Ordering::Relaxed),
            served: self.counters.served.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
        }
    }

    fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// Returns whether that is news.
    fn turn(&mut self, state: RegionState) -> bool {
        if self.state == state {
            return false;
        }
        self.state = state;
        self.since = SystemTime::now();
        self.avoided_until = None;
        self.failed_attempts = 0;
        true
    }

    fn is_avoided(&self, now: Instant) -> bool {
        self.avoided_until.is_some_and(|until| until > now)
    }
}
