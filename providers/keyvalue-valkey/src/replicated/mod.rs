//! Replicated mode: every region reads and writes its own Valkey, and all of them converge.
//!
//! The rules are in the crate [`replica`]; here they get a store (Valkey), a road (NATS) and a clock.
//!
//! | module | concern |
//! |---|---|
//! | [`Settings`], [`Ack`] | what links ask for |
//! | [`Replicated`] | the [`crate::Backend`]: plain reads, writes through a [`Replica`] |
//! | `writer`, `push`, `ack` | a component's write: one atomic step, told to the others, confirmed by them |
//! | `member`, `notice`, `status` | the task that leads or follows, and what it says |
//! | `road`, `chunk`, `budget` | NATS: subjects, large messages, bounded queues |
//! | `step` | the engine's steps as script calls |

mod ack;
mod backend;
mod budget;
mod chunk;
mod member;
mod notice;
mod push;
mod road;
mod settings;
mod shared;
mod status;
mod step;
mod writer;

use std::sync::Arc;

use bytes::Bytes;
use provider_kit::Nats;
use replica::Status;
use tokio::sync::{mpsc, Notify};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info_span, Instrument as _};

pub use backend::Replicated;
pub use settings::{Ack, Settings};

use self::member::Member;
use self::road::Road;
use self::shared::Shared;
use self::writer::Writer;
use crate::connection::Connection;
use crate::endpoint::Endpoint;

/// A region's store as a member of a replication group. Dropping it leaves the group to the region's other
/// instances.
#[derive(Debug)]
pub struct Replica {
    shared: Arc<Shared>,
    writer: Writer,
    _changes: Changes,
    _tasks: [AbortOnDropHandle<()>; 2],
}

/// Says so when the replica is gone.
#[derive(Debug)]
struct Changes(Arc<Notify>);

impl Drop for Changes {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Replica {
    /// Starts to take part, in the background. `changed` is notified whenever [`Replica::fault`] or
    /// [`Replica::trouble`] changes.
    pub fn open(endpoint: Endpoint, settings: Settings, nats: Nats, changed: Arc<Notify>) -> Self {
        let span = info_span!("replica", group = settings.group, region = %settings.region);
        let _entered = span.enter();
        let data = Arc::new(Connection::open_identified(
            endpoint.clone(),
            changed.clone(),
        ));
        // The engine's steps neither wait behind components' calls nor hold them up.
        let own = Connection::open_identified(endpoint, Arc::default());
        let (tell, news) = mpsc::channel(push::QUEUE);
        let (road, queue) = Road::new();
        let shared = Arc::new(Shared::new(settings.clone(), data, tell, changed.clone()));
        let member = Member::new(shared.clone(), road.clone(), own.states());
        let telling = push::send_all(news, road, settings.clone());
        let membership = async move {
            let (ear, _sending) = queue.connect(&nats, &settings).await;
            member.run(ear).await;
            drop(own);
        };
        Self {
            writer: Writer::new(shared.clone()),
            shared,
            _changes: Changes(changed),
            _tasks: [
                AbortOnDropHandle::new(tokio::spawn(membership.in_current_span())),
                AbortOnDropHandle::new(tokio::spawn(telling.in_current_span())),
            ],
        }
    }

    /// What all links to this store have agreed on.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The Valkey.
    pub fn endpoint(&self) -> &Endpoint {
        self.shared.data.endpoint()
    }

    /// Why components cannot be served; `None` when they can.
    pub fn fault(&self) -> Option<String> {
        self.shared.data.fault().or_else(|| {
            let unavailable = self.shared.unavailable();
            unavailable.map(|error| error.to_string())
        })
    }

    /// What an operator has to know although components may be served.
    pub fn trouble(&self) -> Option<String> {
        self.shared.troubles()
    }

    /// What the region's leader knew when it last looked, a second ago at most; `None` unless this instance leads.
    pub(crate) fn led(&self) -> Option<Arc<Status>> {
        self.shared.led()
    }

    async fn status(&self) -> Bytes {
        status::read(&self.shared).await
    }
}
