//! The backend over a real Valkey (or Redis) server: commands and nothing else.
//!
//! One call is one round trip. Only `list` may take several, a script a second one when the server does
//! not know it yet, and `get` a second one for a value that is empty or too large.
//!
//! Values may have been written by anybody: the server is asked for no more of them than a link answers.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, RedisResult};
use tokio::time::{timeout_at, Instant};

use crate::backend::{Backend, Page};
use crate::bucket::{Bucket, Key};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::limit::Limits;
use crate::refusal::{classify, unanswered, Effect};
use crate::script::Script;

static INCREMENT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("increment.lua")));
static GET_MANY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("get_many.lua")));

/// Elements that one SCAN looks at, at most: about a millisecond of the server's time.
const SCAN_MOST: usize = 10_000;

/// Valkey behind a shared connection, with a deadline on every call.
#[derive(Clone, Debug)]
pub struct Valkey {
    connection: Arc<Connection>,
    deadline: Duration,
    answer_bytes: usize,
}

impl Valkey {
    /// `deadline` bounds every call, whatever the server or the network does.
    pub fn new(connection: Arc<Connection>, deadline: Duration) -> Self {
        Self {
            connection,
            deadline,
            answer_bytes: Limits::DEFAULT.batch_bytes,
        }
    }

    /// Reads no more than this many bytes of values for a call, instead of the default
    /// [`Limits::batch_bytes`]; a call that would is refused.
    #[must_use]
    pub fn with_answer_bytes(mut self, bytes: usize) -> Self {
        self.answer_bytes = bytes;
        self
    }

    fn call(&self, effect: Effect) -> Result<Call> {
        let connection = self.connection.ready()?;
        let deadline = Deadline {
            effect,
            allowed: self.deadline,
            until: Instant::now() + self.deadline,
        };
        Ok(Call {
            connection,
            deadline,
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
    deadline: Deadline,
}

/// When a call ends, and what that means to its caller.
#[derive(Clone, Copy)]
struct Deadline {
    effect: Effect,
    allowed: Duration,
    until: Instant,
}

impl Deadline {
    async fn bounds<T>(self, reply: impl Future<Output = T>) -> Result<T> {
        timeout_at(self.until, reply).await.map_err(|_| {
            let allowed = self.allowed.as_millis();
            let cause = format!("no reply within {allowed} ms (`timeout_ms`)");
            unanswered(self.effect, cause)
        })
    }

    /// What a failed command means.
    fn error(self, error: &RedisError) -> Error {
        classify(error, self.effect)
    }
}

impl Call {
    async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T> {
        let reply = self.reply(command).await?;
        reply.map_err(|error| self.deadline.error(&error))
    }

    /// The replies to commands that are sent together.
    async fn run_all<T: FromRedisValue>(&mut self, commands: &Pipeline) -> Result<T> {
        let replies = commands.query_async(&mut self.connection);
        let replies = self.deadline.bounds(replies).await?;
        replies.map_err(|error| self.deadline.error(&error))
    }

    /// The reply, or, within it, what went wrong with the command. The outer error is the deadline.
    async fn reply<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<RedisResult<T>> {
        let reply = command.query_async(&mut self.connection);
        self.deadline.bounds(reply).await
    }

    /// The reply to a script.
    async fn reply_to<T: FromRedisValue>(
        &mut self,
        script: &Script,
        keys: &[Key],
        argument: &str,
    ) -> Result<RedisResult<T>> {
        match self.reply(&script.by_name(keys, argument)).await? {
            // The server says it did not run it, so sending the script itself repeats nothing.
            Err(error) if Script::is_unknown(&error) => {
                self.reply(&script.whole(keys, argument)).await
            }
            reply => Ok(reply),
        }
    }

    /// The values of keys, unless they have more than `most` bytes together.
    async fn values(&mut self, keys: &[Key], most: usize) -> Result<Vec<Option<Bytes>>> {
        let reply = self.reply_to(&GET_MANY, keys, &most.to_string()).await?;
        reply.map_err(|error| {
            if error.code() != Some("TOOLARGE") {
                return self.deadline.error(&error);
            }
            let bytes = error.detail().and_then(|text| text.parse().ok());
            Error::BatchTooLarge {
                bytes: bytes.unwrap_or(usize::MAX),
                max: most,
            }
        })
    }
}

impl Backend for Valkey {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        let mut call = self.call(Effect::Read)?;
        let mut both = redis::pipe();
        // The end of a range is inclusive: a value that is too large comes with one byte too many.
        both.cmd("GETRANGE").arg(key.as_str()).arg(0);
        both.arg(self.answer_bytes);
        both.cmd("EXISTS").arg(key.as_str());
        both.ignore_errors();
        let (value, exists): (RedisResult<Bytes>, RedisResult<bool>) = call.run_all(&both).await?;
        let value = value.map_err(|error| call.deadline.error(&error))?;
        let exists = exists.map_err(|error| call.deadline.error(&error))?;
        match value.len() {
            // A range does not tell an empty value from none. Where there is one now, it may have come
            // between the two commands.
            0 if !exists => Ok(None),
            length if (1..=self.answer_bytes).contains(&length) => Ok(Some(value)),
            _ => {
                let keys = std::slice::from_ref(key);
                let values = call.values(keys, self.answer_bytes).await?;
                Ok(values.into_iter().flatten().next())
            }
        }
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
        let keys = std::slice::from_ref(key);
        let reply = call.reply_to(&INCREMENT, keys, &delta.to_string()).await?;
        reply.map_err(|error| call.deadline.error(&error))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let mut call = self.call(Effect::Read)?;
        call.values(keys, self.answer_bytes).await
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
