//! The wRPC client a provider serves with.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::Message;
use futures::{Stream, StreamExt as _};
use wasmcloud_provider_sdk::provider::invocation_context;
use wasmcloud_provider_sdk::Context;
use wrpc_transport::Serve;
use wrpc_transport_nats::invocation_subject;

use crate::membership::Membership;
use crate::params::{Inbox, Params, Paths};
use crate::reply::Reply;

/// Serves calls that arrive over NATS in the provider's queue group, each with the caller's
/// [`Context`].
///
/// It speaks what `wrpc-transport-nats` speaks, and differs from that crate's own client in two
/// things. It leaves the queue group without losing a call. And as the generated code reads the
/// parameters of one call after the other, per function, without a limit, a caller that died
/// half-way would block a function for good: here, parameters have a deadline.
#[derive(Clone)]
pub struct ServeClient {
    nats: Arc<async_nats::Client>,
    prefix: Arc<str>,
    membership: Arc<Membership>,
    inbox: Inbox,
}

impl ServeClient {
    /// A client for the provider that is called on subjects which begin with `prefix`, as its queue
    /// group is called.
    ///
    /// # Errors
    ///
    /// When NATS does not take the subscription for parameters.
    pub(crate) async fn new(
        nats: Arc<async_nats::Client>,
        prefix: String,
        params_deadline: Duration,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            inbox: Inbox::open(&nats, params_deadline).await?,
            membership: Arc::new(Membership::new(Arc::clone(&nats), prefix.clone())),
            prefix: prefix.into(),
            nats,
        })
    }

    /// Leaves the queue group; see [`Membership::leave`].
    pub(crate) async fn leave(&self) -> anyhow::Result<()> {
        self.membership.leave().await
    }

    /// Waits until what was subscribed or published before is on its way to the NATS server.
    pub(crate) async fn flush(&self) {
        if let Err(err) = self.nats.flush().await {
            tracing::debug!(%err, "failed to flush to NATS");
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
    type Outgoing = Reply;
    type Incoming = Params;

    async fn serve(
        &self,
        instance: &str,
        func: &str,
        paths: impl Into<Paths> + Send,
    ) -> anyhow::Result<
        impl Stream<Item = anyhow::Result<(Self::Context, Self::Outgoing, Self::Incoming)>>
            + Send
            + 'static,
    > {
        let paths = paths.into();
        let single = paths.iter().all(|path| path.iter().all(Option::is_some));
        anyhow::ensure!(
            single,
            "{func} takes a list of streams, which is not supported"
        );
        let subject = invocation_subject(&self.prefix, instance, func);
        let calls = self.membership.join(subject).await?;
        let client = self.clone();
        Ok(calls.then(move |call| accept(client.clone(), call, Arc::clone(&paths))))
    }
}

/// Tells the caller where to send the rest of the parameters.
async fn accept(
    client: ServeClient,
    call: Message,
    paths: Paths,
) -> anyhow::Result<(Option<Context>, Reply, Params)> {
    let caller = call
        .reply
        .context("the call tells no inbox for the answer")?;
    let (subject, params) = client.inbox.expect(call.payload, &paths);
    let reply = Reply::new((*client.nats).clone(), &caller);
    (client.nats)
        .publish_with_reply(caller, subject, bytes::Bytes::new())
        .await
        .context("failed to accept the call")?;
    Ok((call.headers.as_ref().map(invocation_context), reply, params))
}
