//! The wRPC client a provider serves with.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures::{Stream, TryStreamExt as _};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;
use wasmcloud_provider_sdk::provider::WrpcClient;
use wasmcloud_provider_sdk::{Context, ProviderConnection};
use wrpc_transport::{Index, Serve};

/// Serves calls that arrive over NATS in the provider's queue group, each with the caller's
/// [`Context`].
///
/// The generated code reads the parameters of one call after the other, per function, and waits
/// without limit for parameters that come in several messages. A caller that died half-way
/// would so block a function for good: this client gives parameters a deadline.
#[derive(Clone)]
pub struct ServeClient {
    wrpc: WrpcClient,
    nats: Arc<async_nats::Client>,
    params_deadline: Duration,
}

impl ServeClient {
    /// A client for the provider behind `connection`.
    ///
    /// # Errors
    ///
    /// When NATS does not take the subscription for replies.
    pub async fn new(
        connection: &ProviderConnection,
        params_deadline: Duration,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            wrpc: connection
                .get_wrpc_client(connection.provider_key())
                .await?,
            nats: Arc::clone(&connection.nats),
            params_deadline,
        })
    }

    /// Waits until what was (un)subscribed before is on its way to the NATS server.
    pub(crate) async fn flush(&self) {
        // Dropping a subscription only spawns the task that unsubscribes: let it run first.
        for _ in 0..3 {
            tokio::task::yield_now().await;
            if let Err(err) = self.nats.flush().await {
                tracing::debug!(%err, "failed to flush to NATS");
            }
        }
    }
}

impl std::fmt::Debug for ServeClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServeClient").finish_non_exhaustive()
    }
}

impl Serve for ServeClient {
    type Context = Option<Context>;
    type Outgoing = <WrpcClient as Serve>::Outgoing;
    type Incoming = Params<<WrpcClient as Serve>::Incoming>;

    async fn serve(
        &self,
        instance: &str,
        func: &str,
        paths: impl Into<Arc<[Box<[Option<usize>]>]>> + Send,
    ) -> anyhow::Result<
        impl Stream<Item = anyhow::Result<(Self::Context, Self::Outgoing, Self::Incoming)>>
            + Send
            + 'static,
    > {
        let limit = self.params_deadline;
        let calls = self.wrpc.serve(instance, func, paths).await?;
        Ok(calls.map_ok(move |(context, outgoing, incoming)| {
            let incoming = Params {
                inner: incoming,
                deadline: Some(Box::pin(tokio::time::sleep(limit))),
                first: true,
            };
            (context, outgoing, incoming)
        }))
    }
}

/// The parameters of one call, which must have arrived before a deadline. Streams inside the
/// parameters have none.
#[derive(Debug)]
pub struct Params<R> {
    inner: R,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Nothing has been read yet.
    first: bool,
}

impl<R: AsyncRead + Unpin> AsyncRead for Params<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let first = std::mem::take(&mut self.first);
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if read.is_ready() {
            return read;
        }
        // Parameters come with the call itself, or as many of them as one message holds: a call
        // that brought nothing has none. The message that says so would cost a round trip, and
        // when it is lost, it holds up every call of the function behind it.
        if first {
            return Poll::Ready(Ok(()));
        }
        match self.deadline.as_mut().map(|late| late.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the caller did not send all parameters in time",
            ))),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

impl<R: Index<R>> Index<Self> for Params<R> {
    fn index(&self, path: &[usize]) -> anyhow::Result<Self> {
        Ok(Self {
            inner: self.inner.index(path)?,
            deadline: None,
            first: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn parameters_that_stay_away_end_in_an_error() {
        let (mut caller, incoming) = tokio::io::duplex(64);
        let mut params = Params {
            inner: incoming,
            deadline: Some(Box::pin(tokio::time::sleep(Duration::from_millis(20)))),
            first: true,
        };
        caller.write_all(b"half").await.unwrap();
        let mut half = [0; 4];
        params.read_exact(&mut half).await.unwrap();
        assert_eq!(&half, b"half");
        let late = params.read(&mut half).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_call_that_brings_nothing_has_no_parameters() {
        let (_caller, incoming) = tokio::io::duplex(64);
        let mut params = Params {
            inner: incoming,
            deadline: None,
            first: true,
        };
        assert_eq!(params.read(&mut [0; 4]).await.unwrap(), 0);
    }
}
