//! The end of a provider whose host is gone.
//!
//! A host that is killed leaves its providers running. Such an orphan stays in the provider's
//! queue group, has no links and answers its share of the calls with errors. It must exit.

use std::io::Write as _;
use std::os::unix::process::parent_id;
use std::sync::mpsc;
use std::time::Duration;

/// How often the guard looks at its parent.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long saying why may take.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The exit code of an orphan, distinct from that of a failed start (1).
pub(crate) const ORPHANED: i32 = 3;

/// Watches the parent process from a thread of its own, so that neither a busy runtime nor a
/// blocked one keeps an orphan alive. Call it first thing in `main`: the parent seen here is
/// taken for the host.
pub(crate) fn exit_when_orphaned() -> std::io::Result<()> {
    let host = parent_id();
    std::thread::Builder::new()
        .name("orphan-guard".into())
        .spawn(move || loop {
            std::thread::sleep(INTERVAL);
            if parent_id() != host {
                leave(host);
            }
        })?;
    Ok(())
}

fn leave(host: u32) -> ! {
    // Standard error may be a pipe that nobody reads any more: writing to it may fail or block
    // for ever, and neither must keep the process alive.
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = writeln!(
            std::io::stderr(),
            "provider exits: its host (process {host}) is gone"
        );
        let _ = said.send(());
    });
    let _ = heard.recv_timeout(LAST_WORDS);
    std::process::exit(ORPHANED)
}
