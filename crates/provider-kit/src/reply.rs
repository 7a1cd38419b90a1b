//! What a call is answered with.

use std::io;
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use async_nats::{PublishMessage, Subject};
use bytes::Bytes;
use futures::SinkExt as _;
use tokio::io::AsyncWrite;
use wrpc_transport::Index;
use wrpc_transport_nats::{index_path, result_subject};

/// Writes the results of one call to its caller, in messages as large as the NATS server takes.
/// An empty message ends them; it is sent even if this value is dropped half-way, so that the
/// caller fails instead of waiting.
#[derive(Debug)]
pub struct Reply {
    nats: async_nats::Client,
    subject: Subject,
    ended: bool,
}

impl Reply {
    /// An answer to the caller that listens on `inbox`.
    pub(crate) fn new(nats: async_nats::Client, inbox: &str) -> Self {
        Self {
            nats,
            subject: result_subject(inbox).into(),
            ended: false,
        }
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        part: impl FnOnce(usize) -> Bytes,
    ) -> Poll<io::Result<usize>> {
        let broken = |err| io::Error::new(io::ErrorKind::BrokenPipe, err);
        ready!(self.nats.poll_ready_unpin(cx)).map_err(broken)?;
        let payload = part(self.nats.server_info().max_payload);
        let length = payload.len();
        let message = PublishMessage {
            subject: self.subject.clone(),
            payload,
            reply: None,
            headers: None,
        };
        self.nats.start_send_unpin(message).map_err(broken)?;
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Reply {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // An empty message would end the results.
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_send(cx, |most| {
            Bytes::copy_from_slice(buf.get(..most).unwrap_or(buf))
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (self.nats.poll_flush_unpin(cx))
            .map_err(|err| io::Error::new(io::ErrorKind::BrokenPipe, err))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            ready!(self.poll_send(cx, |_| Bytes::new()))?;
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (nats, subject) = (self.nats.clone(), self.subject.clone());
        runtime.spawn(async move {
            if let Err(err) = nats.publish(subject, Bytes::new()).await {
                tracing::debug!(%err, "failed to end an answer");
            }
        });
    }
}

impl Index<Self> for Reply {
    fn index(&self, path: &[usize]) -> anyhow::Result<Self> {
        anyhow::ensure!(!path.is_empty(), "a stream within the results has a path");
        Ok(Self {
            nats: self.nats.clone(),
            subject: index_path(&self.subject, path).into(),
            ended: false,
        })
    }
}
