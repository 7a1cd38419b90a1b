//! The ways between regions, each of which can be closed by itself.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::{Client, ConnectOptions};
use futures::StreamExt as _;
use provider_harness::NatsServer;
use tokio_util::task::AbortOnDropHandle;

/// Carries what regions say to each other between NATS servers that know nothing of each other. Leaf
/// nodes cannot be cut in one direction alone: their TCP connection would end.
pub struct Wan {
    names: Vec<String>,
    closed: Arc<Mutex<HashSet<(usize, usize)>>>,
    lost: Arc<AtomicU64>,
    _carriers: Vec<AbortOnDropHandle<()>>,
}

impl Wan {
    /// A server for each of these regions, and open ways between all of them.
    pub async fn between<const N: usize>(names: [&str; N]) -> ([NatsServer; N], Self) {
        let mut servers = Vec::new();
        let mut clients: Vec<Client> = Vec::new();
        for _ in names {
            let server = NatsServer::start().await.unwrap();
            // What a carrier brings to a region it must not carry on from there.
            let client = ConnectOptions::new().no_echo().connect(server.url()).await;
            clients.push(client.unwrap());
            servers.push(server);
        }
        let closed = Arc::<Mutex<HashSet<(usize, usize)>>>::default();
        let lost = Arc::<AtomicU64>::default();
        let mut carriers = Vec::new();
        for (from, client) in clients.iter().enumerate() {
            let mut said = client.subscribe("wasmkv.>").await.unwrap();
            client.flush().await.unwrap();
            let (clients, closed, lost) = (clients.clone(), closed.clone(), lost.clone());
            carriers.push(AbortOnDropHandle::new(tokio::spawn(async move {
                while let Some(message) = said.next().await {
                    for (to, client) in clients.iter().enumerate().filter(|(to, _)| *to != from) {
                        if closed.lock().unwrap().contains(&(from, to)) {
                            lost.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                        let (subject, payload) = (message.subject.clone(), message.payload.clone());
                        client.publish(subject, payload).await.unwrap();
                    }
                }
            })));
        }
        let wan = Self {
            names: names.map(str::to_owned).to_vec(),
            closed,
            lost,
            _carriers: carriers,
        };
        let Ok(servers) = servers.try_into() else {
            unreachable!("one for each name")
        };
        (servers, wan)
    }

    fn at(&self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap()
    }

    /// Nothing that `from` says reaches `to` any more.
    pub fn close(&self, from: &str, to: &str) {
        let way = (self.at(from), self.at(to));
        self.closed.lock().unwrap().insert(way);
    }

    /// The two hear nothing of each other.
    pub fn part(&self, one: &str, other: &str) {
        self.close(one, other);
        self.close(other, one);
    }

    /// A region hears nobody, and nobody hears it.
    pub fn isolate(&self, region: &str) {
        for other in self.names.iter().filter(|name| *name != region) {
            self.part(region, other);
        }
    }

    /// All ways are open again. Returns how many messages did not arrive since they last were.
    pub fn heal(&self) -> u64 {
        self.closed.lock().unwrap().clear();
        self.lost.swap(0, Ordering::Relaxed)
    }
}
