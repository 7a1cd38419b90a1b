//! The backend over a real Valkey (or Redis) server: commands and nothing else.
//!
//! One call is one round trip. Only `list` may take several, and `increment` a second one when the
//! server does not know its script yet.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, Script, ServerErrorKind};
use tokio::time::{timeout_at, Instant};

use crate::backend::{Backend, Page};
use crate::bucket::{Bucket, Key};
use crate::connection::Connection;
use crate::error::Result;
use crate::limit::Limits;
use crate::refusal::{classify, unanswered, Effect};

const INCREMENT: &str = include_str!("increment.lua");
static INCREMENT_SHA: LazyLock<String> =
    LazyLock::new(|| Script::new(INCREMENT).get_hash().to_owned());

/// Elements that one SCAN looks at, at most: about a millisecond of the server's time.
const SCAN_MOST: usize = 10_000;

/// Valkey behind a shared connection, with a deadline on every call.
#[derive(Clone, Debug)]
pub struct Valkey {
    connection: Arc<Connection>,
    deadline: Duration,
}

impl Valkey {
    /// `deadline` bounds every call, whatever the server or the network does.
    pub fn new(connection: Arc<Connection>, deadline: Duration) -> Self {
        Self {
            connection,
            deadline,
        }
    }

    fn call(&self, effect: Effect) -> Result<Call> {
        let connection = self.connection.ready()?;
        Ok(Call {
            connection,
            effect,
            allowed: self.deadline,
            until: Instant::now() + self.deadline,
        })
    }

    async fn read<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        self.call(Effect::Read)?.run(command).await
    }

    async fn write<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        self.call(Effect::Write)?.run(command).await
    }
}

/// One call of a component: commands on one socket, before one deadline.
struct Call {
    connection: MultiplexedConnection,
    effect: Effect,
    allowed: Duration,
    until: Instant,
}

impl Call {
    async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T> {
        let effect = self.effect;
        self.reply(command)
            .await?
            .map_err(|error| classify(&error, effect))
    }

    /// The reply, or, within it, what went wrong with the command. The outer error is the deadline.
    async fn reply<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<Result<T, RedisError>> {
        timeout_at(self.until, command.query_async(&mut self.connection))
            .await
            .map_err(|_| {
                unanswered(
                    self.effect,
                    format!(
                        "no reply within {} ms (`timeout_ms`)",
                        self.allowed.as_millis()
                    ),
                )
            })
    }
}

impl Backend for Valkey {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.read(&Cmd::get(key.as_str())).await
    }

    async fn set(&self, key: &Key, value: &Bytes) -> Result<()> {
        self.write(&Cmd::set(key.as_str(), value.as_ref())).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.write(&Cmd::del(key.as_str())).await
    }

    async fn exists(&self, key: &Key) -> Result<bool> {
        self.read(&Cmd::exists(key.as_str())).await
    }

    async fn increment(&self, key: &Key, delta: u64) -> Result<u64> {
        let mut call = self.call(Effect::Write)?;
        let delta = delta.to_string();
        let script = |name: &str, body: &str| {
            let mut command = redis::cmd(name);
            command.arg(body).arg(1).arg(key.as_str()).arg(&delta);
            command
        };
        match call.reply(&script("EVALSHA", &INCREMENT_SHA)).await? {
            // The server says it did not run it, so sending the script itself repeats nothing.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                call.run(&script("EVAL", INCREMENT)).await
            }
            reply => reply.map_err(|error| classify(&error, Effect::Write)),
        }
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.read(&on_each("MGET", keys)).await
    }

    async fn set_many(&self, entries: &[(Key, Bytes)]) -> Result<()> {
        let mut command = redis::cmd("MSET");
        for (key, value) in entries {
            command.arg(key.as_str()).arg(value.as_ref());
        }
        self.write(&command).await
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<()> {
        self.write(&on_each("DEL", keys)).await
    }

    /// SCAN, never KEYS. What SCAN promises is what the caller gets: a key that exists all through
    /// the listing is on one of its pages, perhaps on two when the server resizes its table meanwhile.
    ///
    /// A page also ends when half the deadline is spent: its cursor goes on from there.
    async fn list(&self, bucket: &Bucket, cursor: u64, limits: &Limits) -> Result<Page> {
        let mut call = self.call(Effect::Read)?;
        let enough = Instant::now() + self.deadline / 2;
        let mut keys = BTreeSet::new();
        let (mut cursor, mut bytes) = (cursor, 0_usize);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor);
            if !bucket.prefix().is_empty() {
                scan.arg("MATCH").arg(format!("{}*", bucket.prefix()));
            }
            scan.arg("COUNT").arg(next_step(limits, keys.len(), bytes));
            let (next, places): (u64, Vec<Vec<u8>>) = call.run(&scan).await?;
            cursor = next;
            // Names that no function of this API accepts are left out: not UTF-8, empty or too long.
            for place in places
                .into_iter()
                .filter_map(|place| String::from_utf8(place).ok())
            {
                let Some(name) = bucket.name_of(&place, limits.key_bytes) else {
                    continue;
                };
                let length = name.len();
                if keys.insert(name) {
                    bytes = bytes.saturating_add(length);
                }
            }
            let full = keys.len() >= limits.page.keys
                || bytes >= limits.page.bytes
                || Instant::now() >= enough;
            if cursor == 0 || full {
                return Ok(Page {
                    keys: keys.into_iter().collect(),
                    cursor: (cursor != 0).then_some(cursor),
                });
            }
        }
    }
}

fn on_each(name: &str, keys: &[Key]) -> Cmd {
    let mut command = redis::cmd(name);
    for key in keys {
        command.arg(key.as_str());
    }
    command
}

/// How many elements the next SCAN may look at without overfilling the page: the keys still to come
/// may be as long as any (the first time) or as long as the average so far.
fn next_step(limits: &Limits, keys: usize, bytes: usize) -> usize {
    let length = if keys == 0 {
        limits.key_bytes
    } else {
        bytes.div_ceil(keys)
    };
    let by_bytes = limits.page.bytes.saturating_sub(bytes) / length.max(1);
    let by_keys = limits.page.keys.saturating_sub(keys);
    by_bytes.min(by_keys).clamp(1, SCAN_MOST)
}
