//! Taking the engine's steps in Valkey.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::RedisResult;
use replica::store::{Op, Outcome, Session, Step, Value, SCRIPT};
use tokio::time::timeout;

use crate::connection::Process;
use crate::refusal::describe;
use crate::script::Script;

static STEP: LazyLock<Script> = LazyLock::new(|| Script::new(SCRIPT));

/// How long a call of the engine's may take; components' calls have their link's deadline.
const DEADLINE: Duration = Duration::from_secs(5);

/// The reply to one call of a step, in the script's own terms.
pub(super) async fn call(
    connection: &mut MultiplexedConnection,
    arguments: &[Bytes],
) -> RedisResult<Value> {
    STEP.run(connection, arguments).await.map(value)
}

/// What a reply says. What no script of ours answers becomes an empty list, which is no outcome.
fn value(reply: redis::Value) -> Value {
    match reply {
        redis::Value::BulkString(text) => Value::Bytes(text.into()),
        redis::Value::SimpleString(text) => Value::Bytes(text.into()),
        redis::Value::Okay => Value::Bytes(Bytes::from_static(b"OK")),
        redis::Value::Int(number) => Value::Bytes(number.to_string().into()),
        redis::Value::Array(list) => Value::Array(list.into_iter().map(value).collect()),
        _ => Value::Array(Vec::new()),
    }
}

/// A user of the store who takes one step after the other.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) connection: MultiplexedConnection,
    session: Session,
}

impl Steps {
    /// Begins with [`Op::Load`].
    pub(super) fn new(process: &Process) -> Self {
        Self {
            connection: process.connection.clone(),
            session: Session::new(process.run.as_ref().to_owned()),
        }
    }

    /// Takes a step. Of one that failed it is unknown whether it happened.
    pub(super) async fn take(&mut self, op: Op) -> Outcome {
        let mut step = Step::new(op);
        loop {
            let arguments = step.call(&self.session);
            let value = match within(call(&mut self.connection, &arguments)).await {
                Ok(value) => value,
                Err(why) => return Outcome::Failed(why),
            };
            if let Some(outcome) = step.accept(&mut self.session, value) {
                return outcome;
            }
        }
    }

    /// Runs a plain command.
    pub(super) async fn run<T: redis::FromRedisValue>(
        &mut self,
        command: &redis::Cmd,
    ) -> Result<T, String> {
        within(command.query_async(&mut self.connection)).await
    }
}

async fn within<T>(reply: impl std::future::Future<Output = RedisResult<T>>) -> Result<T, String> {
    match timeout(DEADLINE, reply).await {
        Ok(reply) => reply.map_err(|error| describe(&error)),
        Err(_) => Err(format!("no reply within {} ms", DEADLINE.as_millis())),
    }
}
