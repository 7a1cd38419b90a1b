//! The control socket: how a `lattice` in another terminal talks to the one that runs.
//!
//! One request and one answer per connection, each a line of JSON, on a Unix socket in the state
//! directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use crate::error::Error;
use crate::lattice::Lattice;
use crate::status::Status;
use crate::wan::Direction;
use crate::workspace::socket_path;

/// The longest request that is read.
const REQUEST_LIMIT: u64 = 1024 * 1024;
/// How long a client may take to send its request.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Longer than the longest order takes: `revive` waits for servers, a host and a page in turn.
const ANSWER_DEADLINE: Duration = Duration::from_secs(300);

/// What can be asked of a running lattice.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "order")]
pub enum Request {
    /// How it is.
    Status,
    /// SIGKILL a region or one of its processes.
    Kill {
        /// The region.
        region: String,
        /// The process; the whole region without.
        process: Option<String>,
        /// Whether it stays dead until revived.
        hold: bool,
    },
    /// SIGSTOP a region or one of its processes.
    Pause {
        /// The region.
        region: String,
        /// The process; the whole region without.
        process: Option<String>,
    },
    /// Cut a region's link to the hub.
    Cut {
        /// The region.
        region: String,
        /// Which way nothing passes.
        direction: Direction,
    },
    /// Undo `cut` and `pause`; of all regions without a name.
    Heal {
        /// The region.
        region: Option<String>,
    },
    /// Start again what was killed and wait until the region serves.
    Revive {
        /// The region.
        region: String,
        /// The process; the whole region without.
        process: Option<String>,
    },
    /// Render and deploy a manifest.
    Deploy {
        /// Its file, absolute.
        file: PathBuf,
    },
    /// The manifest as rendered for this lattice.
    Manifest {
        /// Its file, absolute; the lattice's own without.
        file: Option<PathBuf>,
    },
    /// End everything.
    Down,
}

/// What a running lattice answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was done; for people.
    Done(String),
    /// How it is.
    Status(Box<Status>),
    /// It could not be done.
    Failed(String),
}

/// A lattice once it is up.
pub type Started = watch::Receiver<Option<Arc<Lattice>>>;

/// Serves the control socket of a lattice that may still be starting; `asked_down` says when `down`
/// was asked for. The caller holds the directory's claim.
///
/// # Errors
///
/// The socket cannot be made.
pub async fn serve(
    lattice: Started,
    directory: &Path,
    asked_down: watch::Sender<bool>,
) -> Result<(), Error> {
    let path = socket_path(directory);
    // Only its owner has the directory's lock, so a socket that lies here is a dead one's.
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &path, source));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(&path).map_err(|source| Error::io("listen on", &path, source))?;
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let lattice = lattice.borrow().clone();
                    let asked_down = asked_down.clone();
                    talks.spawn(async move {
                        if let Err(error) = talk(lattice.as_ref(), stream, &asked_down).await {
                            warn!(%error, "a control connection failed");
                        }
                    });
                }
                Err(error) => {
                    warn!(%error, "failed to accept a control connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = talks.join_next() => {}
        }
    }
}

async fn talk(
    lattice: Option<&Arc<Lattice>>,
    stream: UnixStream,
    asked_down: &watch::Sender<bool>,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(REQUEST_LIMIT));
    timeout(REQUEST_DEADLINE, reader.read_line(&mut line)).await??;
    let request = serde_json::from_str(&line);
    let down = matches!(request, Ok(Request::Down));
    let answer = match request {
        Err(error) => Answer::Failed(format!("not a request: {error}")),
        Ok(Request::Down) => Answer::Done("going down".into()),
        Ok(request) => match lattice {
            None => Answer::Failed("the lattice is still starting".into()),
            Some(lattice) => obey(lattice, request)
                .await
                .unwrap_or_else(|error| Answer::Failed(error.chain())),
        },
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    let answered = write.write_all(text.as_bytes()).await;
    // Not before the answer: this task ends with the lattice.
    if down {
        asked_down.send_replace(true);
    }
    answered
}

async fn obey(lattice: &Arc<Lattice>, request: Request) -> Result<Answer, Error> {
    let done = match request {
        Request::Status => return Ok(Answer::Status(Box::new(lattice.status().await))),
        Request::Kill {
            region,
            process,
            hold,
        } => lattice.kill(&region, process.as_deref(), hold).await?,
        Request::Pause { region, process } => lattice.pause(&region, process.as_deref()).await?,
        Request::Cut { region, direction } => lattice.cut(&region, direction)?,
        Request::Heal { region } => lattice.heal(region.as_deref()).await?,
        Request::Revive { region, process } => lattice.revive(&region, process.as_deref()).await?,
        Request::Deploy { file } => lattice.deploy(&file).await?,
        Request::Manifest { file } => lattice.manifest(file.as_deref())?,
        Request::Down => "going down".into(),
    };
    Ok(Answer::Done(done))
}

/// Asks the lattice that runs in `directory`.
///
/// # Errors
///
/// None runs there, or it does not answer in time.
pub async fn ask(directory: &Path, request: &Request) -> Result<Answer, Error> {
    let path = socket_path(directory);
    let Ok(stream) = UnixStream::connect(&path).await else {
        return Err(Error::NotRunning(directory.to_owned()));
    };
    let talk = async {
        let (read, mut write) = stream.into_split();
        let mut text = serde_json::to_string(request)?;
        text.push('\n');
        write.write_all(text.as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(read).read_line(&mut line).await?;
        Ok::<_, std::io::Error>(serde_json::from_str(&line)?)
    };
    match timeout(ANSWER_DEADLINE, talk).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(Error::io("talk through", &path, source)),
        Err(_) => Err(Error::NotReady {
            what: "an answer of the running lattice".into(),
            seconds: ANSWER_DEADLINE.as_secs(),
            last: String::new(),
        }),
    }
}
