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

use std::io::Write as _;
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
use crate::stores::Stores;
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
    /// End the lattice that runs or is starting.
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
        /// Keep the process dead until `revive`; not for a provider, which its host restarts.
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

/// The longest round trip with one store at home, in milliseconds: a page then makes three, and the
/// edge waits 1.8 s for it.
const SINGLE_STORE_WAN_MS: u64 = 500;

#[derive(Clone, Debug, Args)]
struct Up {
    /// Edge regions by their Fly.io codes, 1 to 8, nearest first for a visitor without a home.
    #[arg(long, default_value_t)]
    regions: Codes,
    /// Round trip between any two regions, in milliseconds, at most 2000, 500 with --single-store; none without.
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=2000))]
    wan_ms: Option<u64>,
    /// Port of the page; 8000 or, when that is taken, any free one without.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Keep the data in one Valkey at home, as the page's first topology did, instead of in one
    /// per region that replicate.
    #[arg(long)]
    single_store: bool,
    /// The application to deploy; local.wadm.yaml, or local-single-store.wadm.yaml with
    /// --single-store, without.
    #[arg(long)]
    manifest: Option<PathBuf>,
    /// Return once every region answers, and run on in the background.
    #[arg(long)]
    detach: bool,
    /// It was detached: no terminal's Ctrl-C reaches it.
    #[arg(long, hide = true)]
    in_background: bool,
    /// Forget the visits counted by earlier lattices of this directory.
    #[arg(long)]
    fresh: bool,
}

impl Up {
    fn stores(&self) -> Stores {
        if self.single_store {
            Stores::Home
        } else {
            Stores::EveryRegion
        }
    }

    fn wan_ms(&self) -> u64 {
        self.wan_ms.unwrap_or_default()
    }

    /// Refuses what parses but could never serve a page.
    fn check(&self) -> Result<(), Error> {
        if self.single_store && self.wan_ms() > SINGLE_STORE_WAN_MS {
            return Err(Error::Refused(format!(
                "--wan-ms {} is too long with --single-store: a page makes three round trips to \
                 the store, and the edge waits 1.8 s; 0 to {SINGLE_STORE_WAN_MS} is allowed",
                self.wan_ms()
            )));
        }
        Ok(())
    }
}

/// Runs a command line; its errors go to standard error.
pub async fn run(cli: Cli) -> ExitCode {
    match dispatch(cli).await {
        Ok(code) => code,
        Err(error) => {
            // Who reads it may be gone, which is no reason to panic.
            let _ = writeln!(std::io::stderr(), "lattice: {}", error.chain());
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
    up.check()?;
    match fetch_status(directory).await {
        Ok(status) => return already_running(&status, &up),
        // Somebody answered, so a lattice is here.
        Err(Error::Remote(text)) => {
            return Err(Error::Refused(format!(
                "{text}; wait for it, or end it with `lattice down`"
            )));
        }
        Err(_) => {}
    }
    if up.detach {
        return detach::up(directory, &up).await;
    }
    let stores = up.stores();
    let manifest = absolute(up.manifest.as_deref().unwrap_or(stores.manifest().as_ref()))?;
    if !manifest.is_file() {
        return Err(Error::Manifest {
            path: manifest,
            reason: "no such file; run it in the repository, or name one with --manifest".into(),
        });
    }
    let options = Options {
        root: absolute(Path::new("."))?,
        state_dir: directory.to_owned(),
        wan: Duration::from_millis(up.wan_ms()),
        regions: up.regions,
        port: up.port,
        stores,
        manifest,
        fresh: up.fresh,
    };
    foreground::up(options, up.in_background).await
}

/// A second `up` shows what runs; it fails only if something else was asked for.
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
    let other = if running != up.regions.to_string() {
        format!("it has regions {running}, not {}", up.regions)
    } else if status.stores != up.stores() {
        let has = match status.stores {
            Stores::EveryRegion => "a store per region",
            Stores::Home => "a single store",
        };
        format!("it has {has}")
    } else if let Some(wan_ms) = up.wan_ms.filter(|wan_ms| status.wan_ms != *wan_ms) {
        let has = status.wan_ms;
        format!("it has {has} ms between regions, not {wan_ms}")
    } else if let Some(port) = up.port.filter(|port| status.port() != Some(*port)) {
        format!("its page is {}, not on port {port}", status.url)
    } else if up.manifest.is_some() {
        "its application is changed with `lattice deploy FILE`".to_owned()
    } else if up.fresh {
        "it goes on with what was counted".to_owned()
    } else {
        return Ok(ExitCode::SUCCESS);
    };
    Err(Error::Refused(format!(
        "{other}; end it with `lattice down` or choose another --state-dir"
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str]) -> Result<(), Error> {
        let line = ["lattice", "up"].iter().chain(arguments);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Up(up) => up.check(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_round_trip_that_no_page_survives_is_refused_with_a_single_store() {
        check(&["--single-store"]).unwrap();
        check(&["--single-store", "--wan-ms", "500"]).unwrap();
        check(&["--wan-ms", "2000"]).unwrap();
        let refused = check(&["--single-store", "--wan-ms", "501"]).unwrap_err();
        let text = refused.to_string();
        for part in ["--wan-ms 501", "--single-store", "0 to 500"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
