//! A TCP proxy between the provider and its Valkey that stops everything at one step.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::support::eventually;
use crate::support::region::SOON;

/// Where a step is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Its command has left the provider and does not reach Valkey.
    Command,
    /// Valkey gets its command, the provider no reply any more.
    Reply,
}

/// Forwards to a port until dropped.
pub struct Cutter {
    pub port: u16,
    state: Arc<State>,
    _task: AbortOnDropHandle<()>,
}

struct State {
    wanted: Mutex<Option<Wanted>>,
    /// Nothing passes any connection in either direction.
    stopped: watch::Sender<bool>,
    /// Commands with the text, since it is wanted.
    seen: AtomicUsize,
}

struct Wanted {
    text: Vec<u8>,
    /// At which command with it.
    nth: usize,
    point: Point,
}

impl Cutter {
    pub async fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            wanted: Mutex::new(None),
            stopped: watch::Sender::new(false),
            seen: AtomicUsize::new(0),
        });
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let mut clients = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let state = shared.clone();
                clients.spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", target)).await?;
                    relay(client, server, &state).await
                });
            }
        });
        Self {
            port,
            state,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Stops everything at the `nth` command from now on that contains a text.
    pub fn stop_at(&self, text: &str, nth: usize, point: Point) {
        self.watch(Some(Wanted {
            text: text.into(),
            nth,
            point,
        }));
    }

    /// Counts the commands that contain a text, and stops nothing.
    pub fn count(&self, text: &str) {
        self.watch(Some(Wanted {
            text: text.into(),
            nth: usize::MAX,
            point: Point::Command,
        }));
    }

    fn watch(&self, wanted: Option<Wanted>) {
        self.state.seen.store(0, Ordering::SeqCst);
        *self.state.wanted.lock().unwrap() = wanted;
    }

    /// How many commands with the text came.
    pub fn seen(&self) -> usize {
        self.state.seen.load(Ordering::SeqCst)
    }

    /// Waits until everything is stopped.
    pub async fn stopped(&self) {
        eventually("the step is reached", SOON, || async {
            *self.state.stopped.borrow()
        })
        .await;
    }

    /// New connections are forwarded again; the stopped ones never are.
    pub fn open(&self) {
        self.watch(None);
        self.state.stopped.send_replace(false);
    }
}

impl State {
    /// Looks at what a provider says; whether, and where, it is to be stopped.
    fn look(&self, said: &[u8], from: usize) -> Option<Point> {
        let wanted = self.wanted.lock().unwrap();
        let wanted = wanted.as_ref()?;
        let length = wanted.text.len();
        // What ended in an earlier part was counted with it.
        let first = from.saturating_sub(length - 1);
        let hits = said[first..].windows(length);
        let hits = hits.filter(|window| *window == wanted.text).count();
        let seen = self.seen.fetch_add(hits, Ordering::SeqCst) + hits;
        (hits > 0 && seen >= wanted.nth).then_some(wanted.point)
    }
}

async fn relay(client: TcpStream, server: TcpStream, state: &State) -> std::io::Result<()> {
    let (mut client_read, mut client_write) = client.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    let mut stopped = state.stopped.subscribe();
    let (mut request, mut reply) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    // The end of what was said before: a text may come in two parts.
    let mut said = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = stop(&mut stopped) => break,
            n = client_read.read(&mut request) => {
                let n = n?;
                if n == 0 {
                    return Ok(());
                }
                let from = said.len();
                said.extend_from_slice(&request[..n]);
                let point = state.look(&said, from);
                if point.is_some() {
                    state.stopped.send_replace(true);
                }
                if point != Some(Point::Command) {
                    server_write.write_all(&request[..n]).await?;
                }
                if point.is_some() {
                    break;
                }
                let kept = said.len().saturating_sub(64);
                said.drain(..kept);
            }
            n = server_read.read(&mut reply) => {
                let n = n?;
                if n == 0 {
                    return Ok(());
                }
                client_write.write_all(&reply[..n]).await?;
            }
        }
    }
    // Nothing passes any more; the connection stands for as long as the provider does.
    while client_read.read(&mut request).await? > 0 {}
    Ok(())
}

/// Waits until everything is stopped.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stopped| *stopped).await);
}
