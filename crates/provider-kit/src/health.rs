//! What a provider says of itself when the host asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmcloud_provider_sdk::HealthCheckResponse;

/// A health message longer than this is cut: it travels in an event of the lattice.
const MAX_MESSAGE: usize = 1024;

/// The shared health of a provider: a set of named troubles, healthy while there is none.
///
/// Cheap to clone; every clone speaks of the same provider. wasmCloud only reports health, it
/// never acts on it, so a trouble here is for people. Routing is the job of
/// [`Serving`](crate::Serving).
#[derive(Debug, Clone, Default)]
pub struct Health {
    troubles: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Health {
    /// Records that `subject` is in trouble, replacing what it said before. The reason must
    /// not hold secrets.
    pub fn trouble(&self, subject: impl Into<String>, reason: impl Into<String>) {
        self.lock().insert(subject.into(), reason.into());
    }

    /// Records that `subject` is well again (or gone).
    pub fn well(&self, subject: &str) {
        self.lock().remove(subject);
    }

    /// All troubles as `subject: reason; …`, or `None` when there are none.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let troubles = self.lock();
        if troubles.is_empty() {
            return None;
        }
        let listed: Vec<String> = troubles
            .iter()
            .map(|(subject, reason)| format!("{subject}: {reason}"))
            .collect();
        Some(listed.join("; ").chars().take(MAX_MESSAGE).collect())
    }

    pub(crate) fn response(&self) -> HealthCheckResponse {
        let message = self.reason();
        HealthCheckResponse {
            healthy: message.is_none(),
            message,
        }
    }

    // A poisoned lock only means that a thread died between two whole operations.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_healthy_exactly_while_it_has_no_trouble() {
        let health = Health::default();
        assert!(health.response().healthy);
        health.trouble("valkey", "connection refused");
        health
            .clone()
            .trouble("link a/default", "key `url` is missing");
        let response = health.response();
        assert!(!response.healthy);
        assert_eq!(
            response.message.as_deref(),
            Some("link a/default: key `url` is missing; valkey: connection refused")
        );
        health.well("valkey");
        health.well("link a/default");
        assert!(health.response().healthy);
        assert_eq!(health.response().message, None);
    }

    #[test]
    fn a_long_reason_is_cut() {
        let health = Health::default();
        health.trouble("x", "é".repeat(5000));
        assert_eq!(health.reason().unwrap().chars().count(), MAX_MESSAGE);
    }
}
