//! A deadline for anything that waits on somebody else.

use std::future::Future;
use std::time::Duration;

/// The wait took longer than it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} did not finish within {} ms", after.as_millis())]
pub struct DeadlineExceeded {
    /// What was waited for, in words for a log line or a caller: `"GET from Valkey"`.
    pub what: &'static str,
    /// How long it was given.
    pub after: Duration,
}

/// Waits for `future`, at most `limit`.
///
/// The future is dropped when the time is up: use it where being cancelled half-way is safe.
///
/// # Errors
///
/// [`DeadlineExceeded`] when the future was not ready in time.
pub async fn within<T>(
    limit: Duration,
    what: &'static str,
    future: impl Future<Output = T>,
) -> Result<T, DeadlineExceeded> {
    tokio::time::timeout(limit, future)
        .await
        .map_err(|_| DeadlineExceeded { what, after: limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_answer_names_what_was_late_and_the_limit() {
        let limit = Duration::from_millis(5);
        let late = within(limit, "the oracle", std::future::pending::<()>()).await;
        assert_eq!(
            late.unwrap_err().to_string(),
            "the oracle did not finish within 5 ms"
        );
        assert_eq!(within(limit, "now", async { 7 }).await, Ok(7));
    }
}
