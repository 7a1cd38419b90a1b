//! `lattice up` in the foreground.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::signal::unix::SignalKind;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use tracing_subscriber::EnvFilter;

use crate::control;
use crate::error::Error;
use crate::lattice::{self, Lattice, Options};
use crate::program::Interrupts;
use crate::workspace::{log_path, open_log};

/// Runs a lattice until Ctrl-C, SIGTERM or `lattice down`.
pub(super) async fn up(options: Options, in_background: bool) -> Result<ExitCode, Error> {
    let claim = lattice::claim(&options.state_dir)?;
    log_to_file(&options)?;
    let directory = options.state_dir.clone();
    let mut interrupt = interrupts()?;
    // Before the start, so that `down` ends one that takes too long.
    let (up, upcoming) = watch::channel(None);
    let (asked_down, mut down) = watch::channel(false);
    let mut server = AbortOnDropHandle::new(tokio::spawn(async move {
        control::serve(upcoming, &directory, asked_down).await
    }));
    let started = Instant::now();
    let stage = |what: &str| say!("{:>6.1} s  {what}", started.elapsed().as_secs_f64());
    let lattice = tokio::select! {
        lattice = Lattice::start_claimed(claim, options, &stage) => lattice?,
        () = async {
            tokio::select! {
                () = interrupt.wait() => {}
                _ = down.wait_for(|down| *down) => {}
            }
        } => {
            say!("interrupted; what was started is gone");
            return Ok(ExitCode::FAILURE);
        }
        ended = &mut server => {
            control_ended(ended)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    say!("\n{}", lattice.status().await.table());
    if !in_background {
        say!(
            "Ctrl-C ends it; in another terminal: lattice kill {}",
            first_region(&lattice)
        );
    }
    // Whoever waits for an answer, as `up --detach` does, has all that was said by now.
    up.send_replace(Some(Arc::clone(&lattice)));

    let result = tokio::select! {
        () = interrupt.wait() => Ok(()),
        _ = down.wait_for(|down| *down) => Ok(()),
        ended = &mut server => control_ended(ended),
        () = show(&lattice) => Ok(()),
    };
    say!("\nending …");
    tokio::select! {
        () = lattice.stop() => say!("the counted visits are kept for the next time"),
        // A second Ctrl-C: dropping the lattice kills what is left.
        () = interrupt.wait() => {}
    }
    result.map(|()| ExitCode::SUCCESS)
}

fn control_ended(ended: Result<Result<(), Error>, JoinError>) -> Result<(), Error> {
    ended.unwrap_or_else(|panicked| Err(Error::Remote(panicked.to_string())))
}

fn first_region(lattice: &Lattice) -> &str {
    let regions = lattice.options().regions.as_slice();
    regions.first().map_or("iad", crate::region::Code::as_str)
}

/// A live status line on a terminal, a line per change elsewhere.
async fn show(lattice: &Lattice) {
    let terminal = std::io::stdout().is_terminal();
    let mut shown = String::new();
    loop {
        let status = lattice.status().await;
        if terminal {
            let mut out = std::io::stdout();
            let _ = write!(out, "\r\x1b[2K{}", status.line());
            let _ = out.flush();
        } else {
            let states: Vec<_> = status.regions.iter().map(|region| region.state).collect();
            let line = format!("{states:?}{:?}", status.healing);
            if !shown.is_empty() && line != shown {
                say!("{}", status.line());
            }
            shown = line;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn interrupts() -> Result<Interrupts, Error> {
    Interrupts::listen(&[
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ])
    .map_err(|source| Error::Spawn {
        name: "the signal handlers".into(),
        source,
    })
}

fn log_to_file(options: &Options) -> Result<(), Error> {
    let path = log_path(&options.state_dir, "home", "lattice");
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|source| Error::io("create", parent, source))?;
    }
    let file = open_log(&path).map_err(|source| Error::io("open", &path, source))?;
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| EnvFilter::new("warn,lattice=info")),
        )
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .init();
    Ok(())
}
