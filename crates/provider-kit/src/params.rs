//! The parameters of calls.

use std::collections::HashMap;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{ready, Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{timeout, Instant, Sleep};
use wrpc_transport::Index;
use wrpc_transport_nats::{index_path, param_subject};

/// Paths of the streams within a function's parameters, as the generated code has them.
pub(crate) type Paths = Arc<[Box<[Option<usize>]>]>;

/// How many messages of one stream may lie unread.
const UNREAD: usize = 16;

type Routes = Arc<Mutex<HashMap<String, mpsc::Sender<Bytes>>>>;

// Nothing that holds one of the locks here can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the parameters arrive that were too large for the message that began a call: one NATS
/// subscription for all calls.
#[derive(Clone)]
pub(crate) struct Inbox {
    prefix: Arc<str>,
    calls: Arc<AtomicU64>,
    routes: Routes,
    limit: Duration,
}

impl Inbox {
    /// Subscribes. Parameters have to be there, or be taken, within `limit`.
    ///
    /// # Errors
    ///
    /// When the NATS client is closed.
    pub(crate) async fn open(nats: &async_nats::Client, limit: Duration) -> anyhow::Result<Self> {
        let prefix: Arc<str> = nats.new_inbox().into();
        let messages = nats.subscribe(format!("{prefix}.>")).await;
        let mut messages = messages.context("failed to subscribe to parameters")?;
        let inbox = Self {
            prefix,
            calls: Arc::default(),
            routes: Routes::default(),
            limit,
        };
        let routes = Arc::clone(&inbox.routes);
        // Ends with the NATS client.
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let route = lock(&routes).get(message.subject.as_str()).cloned();
                let Some(route) = route else { continue };
                // A call that does not read what it is sent must not hold up the others for long.
                if timeout(limit, route.send(message.payload)).await.is_err() {
                    lock(&routes).remove(message.subject.as_str());
                }
            }
        });
        Ok(inbox)
    }

    /// The parameters of a call that came with `first` of them, and the subject on which its caller is
    /// to send the rest.
    pub(crate) fn expect(&self, first: Bytes, paths: &Paths) -> (String, Params) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let subject = format!("{}.{call}", self.prefix);
        let params = param_subject(&subject);
        let nested = paths
            .iter()
            .filter_map(|path| path.iter().copied().collect::<Option<Vec<usize>>>())
            .map(|path| {
                let stream = self.stream(index_path(&params, &path));
                (path, stream)
            })
            .collect();
        let params = Params {
            // Parameters come with the call itself, or as many of them as one message holds: a
            // call that brought nothing has none. The message that says so would cost a round
            // trip, and when it is lost, it holds up every call of the function behind it.
            ended: first.is_empty(),
            unread: first,
            rest: self.stream(params),
            nested: Arc::new(Mutex::new(nested)),
            path: Vec::new(),
            deadline: Some(Instant::now() + self.limit),
            late: None,
        };
        (subject, params)
    }

    fn stream(&self, subject: String) -> Rest {
        let (route, messages) = mpsc::channel(UNREAD);
        lock(&self.routes).insert(subject.clone(), route);
        Rest {
            messages,
            subject,
            routes: Arc::clone(&self.routes),
        }
    }
}

/// What is still to come of one stream.
#[derive(Debug)]
struct Rest {
    messages: mpsc::Receiver<Bytes>,
    subject: String,
    routes: Routes,
}

impl Drop for Rest {
    fn drop(&mut self) {
        lock(&self.routes).remove(&self.subject);
    }
}

/// The parameters of one call, which must have arrived before a deadline. Streams inside the
/// parameters have none.
#[derive(Debug)]
pub struct Params {
    /// What has arrived.
    unread: Bytes,
    /// Nothing follows.
    ended: bool,
    rest: Rest,
    /// The streams inside, by their paths, until somebody reads them.
    nested: Arc<Mutex<HashMap<Vec<usize>, Rest>>>,
    path: Vec<usize>,
    deadline: Option<Instant>,
    /// Wakes the reader at the deadline, once it waits.
    late: Option<Pin<Box<Sleep>>>,
}

impl Params {
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let late = self
            .late
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        late.as_mut().poll(cx).map(|()| too_late())
    }
}

fn too_late() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the caller did not send all parameters in time",
    )
}

impl AsyncRead for Params {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() && !self.ended {
            match self.rest.messages.poll_recv(cx) {
                Poll::Ready(Some(part)) => {
                    self.ended = part.is_empty();
                    self.unread = part;
                }
                // They were not read in time.
                Poll::Ready(None) => return Poll::Ready(Err(too_late())),
                Poll::Pending => {
                    let late = ready!(self.poll_late(cx));
                    return Poll::Ready(Err(late));
                }
            }
        }
        let length = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl Index<Self> for Params {
    fn index(&self, path: &[usize]) -> anyhow::Result<Self> {
        let path = [self.path.as_slice(), path].concat();
        let stream = lock(&self.nested).remove(&path);
        Ok(Self {
            unread: Bytes::new(),
            ended: false,
            rest: stream.with_context(|| format!("no stream within the parameters at {path:?}"))?,
            nested: Arc::clone(&self.nested),
            path,
            deadline: None,
            late: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    fn inbox() -> Inbox {
        Inbox {
            prefix: "inbox".into(),
            calls: Arc::default(),
            routes: Routes::default(),
            limit: Duration::from_millis(20),
        }
    }

    fn no_streams() -> Paths {
        Paths::from([])
    }

    #[tokio::test]
    async fn parameters_that_stay_away_end_in_an_error() {
        let (_, mut params) = inbox().expect("half".into(), &no_streams());
        let mut half = [0; 4];
        params.read_exact(&mut half).await.unwrap();
        assert_eq!(&half, b"half");
        let late = params.read(&mut half).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_call_that_brings_nothing_has_no_parameters() {
        let (_, mut params) = inbox().expect(Bytes::new(), &no_streams());
        assert_eq!(params.read(&mut [0; 4]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn parameters_come_in_parts_and_streams_beside_them() {
        let inbox = inbox();
        let streams: Paths = vec![vec![Some(1)].into_boxed_slice()].into();
        let (subject, mut params) = inbox.expect("he".into(), &streams);
        let mut stream = params.index(&[1]).unwrap();
        assert!(params.index(&[1]).is_err(), "it is taken");
        for (path, part) in [("", "llo"), (".1", "there"), ("", ""), (".1", "")] {
            let route = lock(&inbox.routes)[&format!("{subject}.params{path}")].clone();
            route.send(part.into()).await.unwrap();
        }
        let mut text = String::new();
        params.read_to_string(&mut text).await.unwrap();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hellothere");
        drop((params, stream));
        assert!(lock(&inbox.routes).is_empty(), "nothing is left of a call");
    }
}
