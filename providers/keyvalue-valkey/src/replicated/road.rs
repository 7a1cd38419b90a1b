//! The way to other regions: a NATS connection, and what is said over it.
//!
//! | subject | who listens |
//! |---|---|
//! | `wasmkv.LATTICE.GROUP.all` | the leading instance of every region |
//! | `wasmkv.LATTICE.GROUP.to.REGION` | every instance of that region |
//!
//! Nothing here waits for anybody: a message that cannot be sent now is dropped and counted, and what it
//! carried is pulled by who misses it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, Subscriber};
use bytes::Bytes;
use provider_kit::Nats;
use replica::region::Region;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn, Instrument as _};

use super::budget::{Budget, Room};
use super::chunk::{self, Id};
use super::settings::Settings;

/// Messages that wait to be sent, at most, and their bytes.
const OUTBOUND: usize = 512;
const OUTBOUND_BYTES: u32 = 64 << 20;
/// Messages that wait to be read, at most; NATS's client drops the rest and says so.
const INBOUND: usize = 512;
/// How long NATS may take to accept a payload.
const PATIENCE: Duration = Duration::from_secs(1);
/// Room that NATS's own header takes of a message, with plenty to spare.
const MARGIN: usize = 256;
/// Payloads are not made larger than this, whatever the nearest server takes: another may take less.
const MOST: usize = 1024 * 1024 - MARGIN;
const MAX_RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// What was dropped, for the status.
#[derive(Debug, Default)]
pub(super) struct Losses {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

/// Sends to other regions.
#[derive(Clone, Debug)]
pub(super) struct Road {
    queue: mpsc::Sender<Outbound>,
    room: Budget,
    losses: Arc<Losses>,
}

/// A message that waits to be sent.
#[derive(Debug)]
struct Outbound {
    to: Option<Region>,
    message: Bytes,
    _room: Room,
}

/// The connection behind a [`Road`], to listen on.
#[derive(Debug)]
pub(super) struct Ear {
    client: Client,
    prefix: String,
}

impl Road {
    /// A road that leads nowhere until [`Queue::connect`] has a connection for it.
    pub(super) fn new() -> (Self, Queue) {
        let (queue, messages) = mpsc::channel(OUTBOUND);
        let losses = Arc::new(Losses::default());
        let road = Self {
            queue,
            room: Budget::new(OUTBOUND_BYTES),
            losses: losses.clone(),
        };
        (road, Queue { messages, losses })
    }

    /// Sends to every region, or to one; or drops it.
    pub(super) fn send(&self, to: Option<Region>, message: Bytes) {
        let outbound = self.room.take(message.len()).map(|room| Outbound {
            to,
            message,
            _room: room,
        });
        let queued = outbound.is_some_and(|outbound| self.queue.try_send(outbound).is_ok());
        if !queued {
            count(&self.losses.sent);
        }
    }

    pub(super) fn losses(&self) -> &Losses {
        &self.losses
    }
}

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct Queue {
    messages: mpsc::Receiver<Outbound>,
    losses: Arc<Losses>,
}

impl Queue {
    /// Connects, and sends from then on until the road is gone.
    pub(super) async fn connect(
        self,
        nats: &Nats,
        settings: &Settings,
    ) -> (Ear, AbortOnDropHandle<()>) {
        let client = loop {
            match nats.connect(options(self.losses.clone())).await {
                Ok(client) => break client,
                // Only what is not usable at all; an absent server is waited for in the background.
                Err(error) => warn!(%error, "no way to other regions"),
            }
            sleep(Duration::from_secs(5)).await;
        };
        let prefix = format!("wasmkv.{}.{}", settings.lattice, settings.group);
        let ear = Ear {
            client: client.clone(),
            prefix: prefix.clone(),
        };
        let sending = self.send_all(client, prefix).in_current_span();
        (ear, AbortOnDropHandle::new(tokio::spawn(sending)))
    }

    async fn send_all(mut self, client: Client, prefix: String) {
        let mut ids = Ids::new();
        while let Some(outbound) = self.messages.recv().await {
            let subject = subject(&prefix, outbound.to.as_ref());
            let most = client.server_info().max_payload.saturating_sub(MARGIN);
            let payloads = chunk::split(ids.next(), outbound.message, most.clamp(1024, MOST));
            let mut sent = !payloads.is_empty();
            for payload in payloads {
                // Away from NATS, the client would keep them and send old news later.
                sent = sent
                    && client.connection_state() == State::Connected
                    && matches!(
                        timeout(PATIENCE, client.publish(subject.clone(), payload)).await,
                        Ok(Ok(()))
                    );
            }
            if !sent {
                count(&self.losses.sent);
            }
        }
    }
}

impl Ear {
    /// What is said to every region.
    pub(super) async fn all(&self) -> Option<Subscriber> {
        self.subscribe(None).await
    }

    /// What is said to one region.
    pub(super) async fn region(&self, region: &Region) -> Option<Subscriber> {
        self.subscribe(Some(region)).await
    }

    async fn subscribe(&self, to: Option<&Region>) -> Option<Subscriber> {
        let asked = self.client.subscribe(subject(&self.prefix, to)).await;
        if let Err(error) = &asked {
            warn!(%error, "cannot listen to other regions");
        }
        asked.ok()
    }
}

fn subject(prefix: &str, to: Option<&Region>) -> String {
    match to {
        Some(region) => format!("{prefix}.to.{region}"),
        None => format!("{prefix}.all"),
    }
}

fn options(losses: Arc<Losses>) -> ConnectOptions {
    ConnectOptions::new()
        .name(concat!(env!("CARGO_PKG_NAME"), " replication"))
        // What this instance says itself is no news to it.
        .no_echo()
        .retry_on_initial_connect()
        .ping_interval(Duration::from_secs(5))
        .subscription_capacity(INBOUND)
        .client_capacity(64)
        .reconnect_delay_callback(|attempt| {
            let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
            Duration::from_millis(20)
                .saturating_mul(attempt)
                .min(MAX_RECONNECT_DELAY)
        })
        .event_callback(move |event| {
            match event {
                Event::SlowConsumer(_) => count(&losses.received),
                Event::Connected => info!("connected to NATS for replication"),
                Event::Disconnected => warn!("NATS is lost for replication"),
                _ => {}
            }
            async {}
        })
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Ids that no other process gives.
#[derive(Debug)]
struct Ids {
    origin: u64,
    next: u64,
}

impl Ids {
    fn new() -> Self {
        Self {
            origin: random(),
            next: 0,
        }
    }

    fn next(&mut self) -> Id {
        self.next = self.next.wrapping_add(1);
        let id = (u128::from(self.origin) << 64) | u128::from(self.next);
        id.to_be_bytes()
    }
}

/// A number that nobody can foresee and no other process has.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
