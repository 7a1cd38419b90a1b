//! One connection to one Valkey, kept up by a task of its own.
//!
//! # Nothing is ever sent twice
//!
//! The connection is redis's `MultiplexedConnection`, which is one socket: it writes a command once,
//! and when the socket fails it answers every command in flight with an error and stays dead for ever.
//! It has no retry (read in redis 1.2.4, `aio/multiplexed_connection.rs`: `send_recv`, `PipelineSink`).
//! redis's `ConnectionManager` does not resend either, but it makes callers wait for its reconnection;
//! here a call made without a usable connection fails at once, and reconnecting is this module's task.
//! A command whose caller has given up before it was written is dropped unwritten.
//!
//! # When it is usable
//!
//! After a connection has answered `PING`, and, where it matters which server process that is
//! ([`Connection::open_identified`]), said so. It stops being usable when the socket closes (noticed at
//! once) or a `PING`, sent every [`PING_EVERY`], is not answered well within [`PING_DEADLINE`]. After
//! that it has to answer [`PROOFS`] pings in a row before it is usable again, so that a store that comes
//! and goes does not flap.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind, RedisResult};
use tokio::sync::{watch, Notify};
use tokio::time::{interval, sleep, timeout, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, info_span, warn, Instrument as _};

use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::refusal::Refusal;

/// Time between pings.
pub const PING_EVERY: Duration = Duration::from_millis(200);
/// Time a ping may take.
pub const PING_DEADLINE: Duration = Duration::from_millis(500);
/// Pings to answer before a connection that replaces a failed one is usable.
pub const PROOFS: u32 = 3;

const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
const FIRST_DELAY: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_millis(500);
/// What is known of a database that was ever replicated, and the mark that plain links leave in it
/// (`crates/replica/src/store/script.lua`).
const REPLICATED: &str = "@kv/r/state";
const WRITTEN_PLAIN: &str = "@kv/r/plain";
/// Commands that may wait for the socket; redis's default of 50 makes bursts queue outside of it.
const PIPELINE: usize = 1024;

/// A connection that comes back by itself. Dropping it closes the socket.
#[derive(Debug)]
pub struct Connection {
    endpoint: Endpoint,
    state: watch::Receiver<State>,
    changed: Arc<Notify>,
    _supervisor: AbortOnDropHandle<()>,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    Ready(Process),
    Down(Refusal),
}

/// A socket, and the server process at its other end.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) connection: MultiplexedConnection,
    /// The process's `run_id`, asked over this very socket; empty unless the connection is identified.
    pub(crate) run: Arc<str>,
}

impl Connection {
    /// Starts to connect in the background. `changed` is notified whenever [`Connection::fault`]
    /// changes, and when the connection is dropped.
    ///
    /// It is for links in plain mode: in a database that was replicated before it leaves the mark by which replication,
    /// should it be taken up again, knows that values may have changed without it.
    pub fn open(endpoint: Endpoint, changed: Arc<Notify>) -> Self {
        Self::open_with(endpoint, changed, false)
    }

    /// As [`Connection::open`], of a connection that knows which server process it leads to. Takes `INFO`.
    pub fn open_identified(endpoint: Endpoint, changed: Arc<Notify>) -> Self {
        Self::open_with(endpoint, changed, true)
    }

    fn open_with(endpoint: Endpoint, changed: Arc<Notify>, identify: bool) -> Self {
        let (publish, state) =
            watch::channel(State::Down(Refusal::new("the first connection is pending")));
        let span = info_span!("connection", valkey = %endpoint, id = endpoint.fingerprint());
        let supervisor = supervise(endpoint.clone(), identify, publish, changed.clone());
        let supervisor = supervisor.instrument(span);
        Self {
            endpoint,
            state,
            changed,
            _supervisor: AbortOnDropHandle::new(tokio::spawn(supervisor)),
        }
    }

    /// Where it connects to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Why there is no usable connection; `None` when there is one.
    pub fn fault(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Ready(_) => None,
            State::Down(refusal) => Some(refusal.reason.clone()),
        }
    }

    /// The connection, if it is usable right now. Never waits.
    pub(crate) fn ready(&self) -> Result<MultiplexedConnection> {
        self.process().map(|process| process.connection)
    }

    /// The connection and its server process, if it is usable right now. Never waits.
    pub(crate) fn process(&self) -> Result<Process> {
        match &*self.state.borrow() {
            State::Ready(process) => Ok(process.clone()),
            State::Down(refusal) => Err(refusal.to_error()),
        }
    }

    /// To follow the connection as it comes and goes.
    pub(crate) fn states(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

async fn supervise(
    endpoint: Endpoint,
    identify: bool,
    publish: watch::Sender<State>,
    changed: Arc<Notify>,
) {
    let client = match endpoint.client() {
        Ok(client) => client,
        // The config was validated, so this is for what only a TLS library finds wrong.
        Err(error) => {
            publish.send_replace(State::Down(Refusal::from(&error)));
            changed.notify_one();
            return;
        }
    };
    let mut delay = FIRST_DELAY;
    let mut proofs = 1;
    loop {
        let closed = Arc::new(Notify::new());
        let refusal = match connect(&client, &closed, proofs, identify).await {
            Ok(process) => {
                info!("connected");
                delay = FIRST_DELAY;
                publish.send_replace(State::Ready(process.clone()));
                changed.notify_one();
                let refusal = until_lost(process.connection, &closed, identify).await;
                proofs = PROOFS;
                warn!(reason = refusal.reason, "connection lost");
                publish.send_replace(State::Down(refusal));
                changed.notify_one();
                continue;
            }
            Err(refusal) => refusal,
        };
        // Said once per reason, not once per attempt.
        let news = publish.send_if_modified(|state| match state {
            State::Down(known) if *known == refusal => false,
            state => {
                *state = State::Down(refusal.clone());
                true
            }
        });
        if news {
            warn!(reason = refusal.reason, "cannot connect");
            changed.notify_one();
        }
        sleep(delay).await;
        delay = delay.saturating_mul(2).min(MAX_DELAY);
    }
}

/// Connects and has the server prove, `proofs` times, that it answers commands.
async fn connect(
    client: &Client,
    closed: &Arc<Notify>,
    proofs: u32,
    identify: bool,
) -> Result<Process, Refusal> {
    let notify = closed.clone();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(PIPELINE)
        .set_push_sender(
            move |push: PushInfo| -> Result<(), std::convert::Infallible> {
                if push.kind == PushKind::Disconnection {
                    notify.notify_one();
                }
                Ok(())
            },
        );
    let mut connection = timeout(
        CONNECT_DEADLINE,
        client.get_multiplexed_async_connection_with_config(&config),
    )
    .await
    .map_err(|_| {
        Refusal::new(format!(
            "no connection within {} ms",
            CONNECT_DEADLINE.as_millis()
        ))
    })?
    .map_err(|error| Refusal::from(&error))?;
    ping(&mut connection).await?;
    for _ in 1..proofs {
        sleep(PING_EVERY / 2).await;
        ping(&mut connection).await?;
    }
    let run = if identify {
        run_id(&mut connection).await?
    } else {
        let marked = timeout(PING_DEADLINE, mark_plain(&mut connection)).await;
        if let Err(error) = marked.map_err(|_| late("EXISTS"))? {
            // A user who may not look there is served all the same.
            let reason = Refusal::from(&error).reason;
            warn!(
                reason,
                "cannot mark the database as written in plain mode, which matters only if it was replicated"
            );
        }
        "".into()
    };
    Ok(Process { connection, run })
}

/// What a server process calls itself; another name after every restart.
async fn run_id(connection: &mut MultiplexedConnection) -> Result<Arc<str>, Refusal> {
    let mut command = redis::cmd("INFO");
    command.arg("server");
    let info: String = timeout(PING_DEADLINE, command.query_async(connection))
        .await
        .map_err(|_| late("INFO"))?
        .map_err(|error| Refusal::from(&error))?;
    info.lines()
        .find_map(|line| line.strip_prefix("run_id:"))
        .map(|run| run.trim().into())
        .ok_or_else(|| Refusal::new("the server does not tell its run_id"))
}

/// Leaves the mark in a database that was replicated. Again and again, as replication may be taken up, and take the
/// mark away, while plain links are still there.
async fn mark_plain(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    if redis::Cmd::exists(REPLICATED)
        .query_async(connection)
        .await?
    {
        let mark = redis::Cmd::set(WRITTEN_PLAIN, 1);
        mark.exec_async(connection).await?;
    }
    Ok(())
}

fn late(command: &str) -> Refusal {
    Refusal::new(format!(
        "no answer to {command} within {} ms",
        PING_DEADLINE.as_millis()
    ))
}

async fn until_lost(
    mut connection: MultiplexedConnection,
    closed: &Notify,
    identified: bool,
) -> Refusal {
    let mut tick = interval(PING_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = async {
            tick.tick().await;
            ping(&mut connection).await?;
            if !identified {
                // What the connection is worth, the ping says.
                let _ = timeout(PING_DEADLINE, mark_plain(&mut connection)).await;
            }
            Ok(())
        };
        tokio::select! {
            () = closed.notified() => return Refusal::new("the server closed the connection"),
            result = next => if let Err(refusal) = result {
                return refusal;
            },
        }
    }
}

async fn ping(connection: &mut MultiplexedConnection) -> Result<(), Refusal> {
    match timeout(PING_DEADLINE, redis::cmd("PING").exec_async(connection)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Refusal::from(&error)),
        Err(_) => Err(late("PING")),
    }
}
