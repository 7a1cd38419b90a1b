//! The provider's process.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::{eventually, Host};

/// A running provider (or its parent). Killed when this value goes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    directory: TempDir,
}

/// A command for a provider's binary, in the empty environment that a host gives it.
#[must_use]
pub fn command(binary: impl AsRef<Path>) -> Command {
    let mut command = Command::new(binary.as_ref());
    command.env_clear();
    command
}

/// A [`command`] for a provider that logs all that it ever would.
#[must_use]
pub fn traced(binary: impl AsRef<Path>) -> Command {
    let mut command = command(binary);
    command.env("RUST_LOG", "trace");
    command
}

impl Process {
    /// Starts the provider as a child of this process, and hands it its host data.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub async fn start(command: Command, host: &Host) -> anyhow::Result<Self> {
        Self::spawn(command, host).await
    }

    /// Starts a shell that starts the provider, and returns the provider's process id too. Who
    /// kills the shell makes the provider an orphan.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub async fn start_below_a_parent(binary: &Path, host: &Host) -> anyhow::Result<(Self, i32)> {
        let directory = tempfile::tempdir()?;
        let pid_file = directory.path().join("pid");
        let script = r#"exec 3<&0; "$1" <&3 & echo $! >"$2.new"; mv "$2.new" "$2"; wait"#;
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", script, "sh"])
            .arg(binary)
            .arg(&pid_file)
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        let process = Self::spawn(shell, host).await?;
        let pid = eventually(Duration::from_secs(20), || async {
            let text = tokio::fs::read_to_string(&pid_file).await?;
            Ok(text.trim().parse::<i32>()?)
        })
        .await?;
        Ok((process, pid))
    }

    async fn spawn(mut command: Command, host: &Host) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let log = std::fs::File::create(directory.path().join("log"))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("failed to start the provider")?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(host.stdin_line()?.as_bytes()).await?;
        stdin.shutdown().await?;
        Ok(Self { child, directory })
    }

    /// Kills it, without warning.
    ///
    /// # Errors
    ///
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Its process id, as long as it has not been seen to end.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has ended by itself, at most for `limit`.
    ///
    /// # Errors
    ///
    /// When it is still there.
    pub async fn ended(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        Ok(tokio::time::timeout(limit, self.child.wait())
            .await
            .context("the process does not end")??)
    }

    /// What it wrote to its standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        let path: PathBuf = self.directory.path().join("log");
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

impl Drop for Process {
    /// What the provider said last may be why a test fails.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines
                .get(lines.len().saturating_sub(40)..)
                .unwrap_or_default();
            eprintln!("--- the provider's last lines:\n{}", last.join("\n"));
        }
    }
}
