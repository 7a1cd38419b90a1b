//! Scripts that run in the server as one atomic step.

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};

use crate::bucket::Key;

/// A Lua script, and the name by which a server that has run it before knows it.
#[derive(Debug)]
pub(crate) struct Script {
    body: &'static str,
    sha: String,
}

impl Script {
    pub(crate) fn new(body: &'static str) -> Self {
        let sha = redis::Script::new(body).get_hash().to_owned();
        Self { body, sha }
    }

    /// The command that runs it by its name.
    pub(crate) fn by_name(&self, keys: &[Key], argument: &str) -> Cmd {
        command("EVALSHA", &self.sha, keys, &[argument])
    }

    /// The command that brings it along.
    pub(crate) fn whole(&self, keys: &[Key], argument: &str) -> Cmd {
        command("EVAL", self.body, keys, &[argument])
    }

    /// The reply to a script without keys.
    pub(crate) async fn run(
        &self,
        connection: &mut MultiplexedConnection,
        arguments: &[Bytes],
    ) -> RedisResult<Value> {
        let by_name = command("EVALSHA", &self.sha, &[], arguments);
        match by_name.query_async(connection).await {
            // The server says it did not run it, so sending the script itself repeats nothing.
            Err(error) if Self::is_unknown(&error) => {
                let whole = command("EVAL", self.body, &[], arguments);
                whole.query_async(connection).await
            }
            reply => reply,
        }
    }

    /// Whether the server did not run a script because it does not know its name.
    pub(crate) fn is_unknown(error: &RedisError) -> bool {
        error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
    }
}

fn command(name: &str, script: &str, keys: &[Key], arguments: &[impl AsRef<[u8]>]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len());
    for key in keys {
        command.arg(key.as_str());
    }
    for argument in arguments {
        command.arg(argument.as_ref());
    }
    command
}
