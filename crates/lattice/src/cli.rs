//! The command line.

/// Prints a line. A reader that went away (`| head`, a closed terminal) is no error of ours.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod detach;
mod foreground;
mod logs;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::artifact;
use crate::control::{ask, Answer, Request};
use crate::error::Error;
use crate::lattice::Options;
use crate::region::Codes;
use crate::status::Status;
use crate::wan::Direction;

/// A real wasmCloud system of several regions on this machine, and faults on demand.
#[derive(Debug, Parser)]
#[command(name = "lattice", version, arg_required_else_help = true)]
pub struct Cli {
    /// Where the lattice keeps its files; one lattice runs per directory.
    #[arg(
        long,
        global = true,
        env = "LATTICE_STATE_DIR",
        default_value = ".lattice"
    )]
    state_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the hub, the regions, wadm and the edge, and deploy the application.
    Up(Up),
    /// End the lattice that runs.
    Down,
    /// Show every region and process.
    Status {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Print the logs of a region, or of one process of it.
    Logs(logs::Logs),
    /// SIGKILL a region, which stays dead until `revive`, or one process, which is restarted.
    Kill {
        /// The region, or `home`.
        region: String,
        /// `host`, `nats`, `valkey`, a provider, or at home `hub` and `wadm`.
        process: Option<String>,
        /// Keep the process dead until `revive`.
        #[arg(long, requires = "process")]
        hold: bool,
    },
    /// SIGSTOP a region or one process: it exists and answers nothing. Undone by `heal`.
    Pause {
        /// The region, or `home`.
        region: String,
        /// One process of it.
        process: Option<String>,
    },
    /// Cut a region's link to the hub, as a dead network would. Undone by `heal`.
    Cut {
        /// The region, or `home`.
        region: String,
        /// Which way nothing passes.
        #[arg(long, default_value = "both")]
        direction: Direction,
    },
    /// Undo `cut` and `pause`.
    Heal {
        /// The region; all of them without.
        region: Option<String>,
    },
    /// Bring back what was killed, and wait until the region serves.
    Revive {
        /// The region, or `home`.
        region: String,
        /// One process of it.
        process: Option<String>,
    },
    /// Render a manifest for this lattice's regions and ports and deploy it through wadm.
    Deploy {
        /// The manifest.
        file: PathBuf,
    },
    /// Print a manifest as rendered for this lattice, for `wash app put`.
    Manifest {
        /// The manifest; the one that `up` deployed without.
        file: Option<PathBuf>,
    },
    /// Sign components and wrap providers into archives, as `make build` does.
    Package {
        /// Programs of providers and `.wasm` components.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Where the artifacts go.
        #[arg(long, default_value = "build")]
        out: PathBuf,
    },
}

#[derive(Clone, Debug, Args)]
struct Up {
    /// Edge regions by their Fly.io codes, 1 to 8, nearest first for a visitor without a home.
    #[arg(long, default_value_t)]
    regions: Codes,
    /// Round trip between any two regions, in milliseconds.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=2000))]
    wan_ms: u64,
    /// Port of the page; 8000 or, when that is taken, any free one without.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The application to deploy.
    #[arg(long, default_value = "local.wadm.yaml")]
    manifest: PathBuf,
    /// Return once every region answers, and run on in the background.
    #[arg(long)]
    detach: bool,
    /// Forget the visits counted by earlier lattices of this directory.
    #[arg(long)]
    fresh: bool,
}

/// Runs a command line; its errors go to standard error.
pub async fn run(cli: Cli) -> ExitCode {
    match dispatch(cli).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lattice: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(cli: Cli) -> Result<ExitCode, Error> {
    let directory = absolute(&cli.state_dir)?;
    let request = match cli.command {
        Command::Up(up) => return start(&directory, up).await,
        Command::Down => return down(&directory).await,
        Command::Status { json } => {
            let status = fetch_status(&directory).await?;
            if json {
                let text = serde_json::to_string_pretty(&status)
                    .map_err(|error| Error::Remote(error.to_string()))?;
                say!("{text}");
            } else {
                say!("{}", status.table().trim_end());
            }
            return Ok(ExitCode::SUCCESS);
        }
        Command::Logs(logs) => return logs.run(&directory).await,
        Command::Package { files, out } => return package(&files, &out).await,
        Command::Kill {
            region,
            process,
            hold,
        } => Request::Kill {
            region,
            process,
            hold,
        },
        Command::Pause { region, process } => Request::Pause { region, process },
        Command::Cut { region, direction } => Request::Cut { region, direction },
        Command::Heal { region } => Request::Heal { region },
        Command::Revive { region, process } => Request::Revive { region, process },
        Command::Deploy { file } => Request::Deploy {
            file: absolute(&file)?,
        },
        Command::Manifest { file } => Request::Manifest {
            file: file.map(|file| absolute(&file)).transpose()?,
        },
    };
    say!("{}", done(ask(&directory, &request).await?)?.trim_end());
    Ok(ExitCode::SUCCESS)
}

async fn start(directory: &Path, up: Up) -> Result<ExitCode, Error> {
    if let Ok(status) = fetch_status(directory).await {
        return already_running(&status, &up);
    }
    if up.detach {
        return detach::up(directory, &up).await;
    }
    let manifest = absolute(&up.manifest)?;
    if !manifest.is_file() {
        return Err(Error::Manifest {
            path: manifest,
            reason: "no such file".into(),
        });
    }
    foreground::up(Options {
        root: absolute(Path::new("."))?,
        state_dir: directory.to_owned(),
        regions: up.regions,
        wan: Duration::from_millis(up.wan_ms),
        port: up.port,
        manifest,
        fresh: up.fresh,
    })
    .await
}

/// A second `up` shows what runs; it fails only if other regions were asked for.
fn already_running(status: &Status, up: &Up) -> Result<ExitCode, Error> {
    say!(
        "a lattice is already running here (process {}):\n",
        status.pid
    );
    say!("{}", status.table().trim_end());
    let running: Vec<&str> = status
        .regions
        .iter()
        .filter(|region| region.url.is_some())
        .map(|region| region.name.as_str())
        .collect();
    let running = running.join(",");
    if running == up.regions.to_string() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::Refused(format!(
        "it has regions {running}, not {}; end it with `lattice down` or choose another --state-dir",
        up.regions
    )))
}

async fn down(directory: &Path) -> Result<ExitCode, Error> {
    say!("{}", done(ask(directory, &Request::Down).await?)?);
    crate::probe::until(
        "the end of the lattice",
        Duration::from_secs(30),
        || async {
            match crate::workspace::Workspace::claim(directory) {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err("it still runs".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        },
    )
    .await?;
    say!("down; the counted visits are kept for the next `up`");
    Ok(ExitCode::SUCCESS)
}

async fn package(files: &[PathBuf], out: &Path) -> Result<ExitCode, Error> {
    std::fs::create_dir_all(out).map_err(|source| Error::io("create", out, source))?;
    for file in files {
        let made = if file
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            artifact::component(file, out)
        } else {
            artifact::provider(file, out).await
        };
        match made {
            Ok(path) => say!("{}", path.display()),
            Err(error) => return Err(Error::Refused(format!("{error:#}"))),
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn fetch_status(directory: &Path) -> Result<Status, Error> {
    match ask(directory, &Request::Status).await? {
        Answer::Status(status) => Ok(*status),
        Answer::Done(text) | Answer::Failed(text) => Err(Error::Remote(text)),
    }
}

fn done(answer: Answer) -> Result<String, Error> {
    match answer {
        Answer::Done(text) => Ok(text),
        Answer::Failed(text) => Err(Error::Remote(text)),
        Answer::Status(status) => Ok(status.line()),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|source| Error::io("resolve", path, source))
}
