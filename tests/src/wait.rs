//! Waiting for something to become true, never longer than a deadline.

use std::future::Future;
use std::time::Duration;

/// Asks `check` again and again until it says `Ok`, and gives its answer.
///
/// # Panics
///
/// It did not within `deadline`; the message repeats what `check` said last.
pub async fn until<T, F>(what: &str, deadline: Duration, check: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    match lattice::probe::until(what, deadline, check).await {
        Ok(answer) => answer,
        Err(error) => panic!("{}", error.chain()),
    }
}

/// Seconds, for deadlines.
#[must_use]
pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
