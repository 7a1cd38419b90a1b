//! What the programs that run a lattice have in common: how they end.

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;

use tokio::signal::unix::{signal, Signal, SignalKind};

/// The signals that end a program.
#[derive(Debug)]
pub struct Interrupts(Vec<Signal>);

impl Interrupts {
    /// Listens for these from now on.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn listen(kinds: &[SignalKind]) -> std::io::Result<Self> {
        let signals = kinds.iter().map(|kind| signal(*kind));
        signals.collect::<Result<_, _>>().map(Self)
    }

    /// Waits for the next of them.
    pub async fn wait(&mut self) {
        let waits = self.0.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures::future::select_all(waits).await;
    }
}

/// Runs a program's task on a worker of the runtime, as the main thread is none, and says on standard error why it
/// failed.
pub async fn on_a_worker<E>(
    name: &str,
    task: impl Future<Output = Result<ExitCode, E>> + Send + 'static,
) -> ExitCode
where
    E: std::fmt::Display + Send + 'static,
{
    let why = match tokio::spawn(task).await {
        Ok(Ok(code)) => return code,
        Ok(Err(error)) => format!("{error:#}"),
        Err(panicked) => panicked.to_string(),
    };
    // Who reads it may be gone, which is no reason to panic.
    let _ = writeln!(std::io::stderr(), "{name}: {why}");
    ExitCode::FAILURE
}
