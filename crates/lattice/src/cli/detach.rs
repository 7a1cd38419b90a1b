//! `lattice up --detach`: starts itself in the background and reports until it is up.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use super::{fetch_status, Up};
use crate::error::Error;
use crate::workspace::log_path;

pub(super) async fn up(directory: &Path, up: &Up) -> Result<ExitCode, Error> {
    let path = log_path(directory, "home", "up");
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|source| Error::io("create", parent, source))?;
    }
    let output = File::create(&path).map_err(|source| Error::io("create", &path, source))?;
    let failed = |source| Error::Spawn {
        name: "lattice in the background".into(),
        source,
    };
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        .arg("--state-dir")
        .arg(directory)
        .arg("up")
        .arg("--in-background")
        .arg(format!("--regions={}", up.regions))
        .arg(format!("--wan-ms={}", up.wan_ms()));
    if let Some(manifest) = &up.manifest {
        command.arg("--manifest").arg(manifest);
    }
    if up.single_store {
        command.arg("--single-store");
    }
    if let Some(port) = up.port {
        command.arg(format!("--port={port}"));
    }
    if up.fresh {
        command.arg("--fresh");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output)
        // Of its own group: Ctrl-C in this terminal is not for it.
        .process_group(0)
        .spawn()
        .map_err(failed)?;

    let mut reader = File::open(&path).map_err(|source| Error::io("open", &path, source))?;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let exited = child.try_wait().map_err(failed)?;
        let is_up = exited.is_none() && fetch_status(directory).await.is_ok();
        // After that, so that all it has said by then is told.
        let mut news = String::new();
        reader
            .read_to_string(&mut news)
            .map_err(|source| Error::io("read", &path, source))?;
        let _ = std::io::stdout().write_all(news.as_bytes());
        if let Some(exit) = exited {
            return Err(Error::Refused(format!("it did not come up ({exit})")));
        }
        if is_up {
            say!("running in the background; `lattice status` shows it, `lattice down` ends it");
            return Ok(ExitCode::SUCCESS);
        }
    }
}
