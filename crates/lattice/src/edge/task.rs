//! Tasks that end with the edge.

use std::future::Future;

use hyper::rt::Executor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs the HTTP clients' connections; they end when the token is cancelled.
#[derive(Debug, Clone)]
pub(super) struct OwnedExecutor {
    pub tasks: TaskTracker,
    pub end: CancellationToken,
}

impl<F> Executor<F> for OwnedExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            end.run_until_cancelled(future).await;
        });
    }
}
