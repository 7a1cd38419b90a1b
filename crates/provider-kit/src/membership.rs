//! Membership of a NATS queue group, which ends without losing a message.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{ready, Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

/// The subscriptions of one queue group.
///
/// Dropping a subscription loses what the NATS server delivers until it has heard of that: such a
/// message is handed to nobody else, and its sender waits for ever. [`leave`](Self::leave) has
/// the server end the subscriptions first, and the client after everything has arrived.
pub(crate) struct Membership {
    nats: Arc<async_nats::Client>,
    group: String,
    subscriptions: std::sync::Mutex<Vec<Weak<Mutex<Subscriber>>>>,
}

/// A limit that the NATS server cannot read, as it takes nine digits at most. It then ends the
/// subscription at once, as without a limit; the client, which can, keeps it until that many
/// messages have come, and so takes in what is under way. `Subscriber::drain` is meant for this,
/// but does not wait for the server (async-nats 0.39). A server that could read the limit would
/// change nothing, and what is lost then is what a dropped subscription loses.
const ENDS_AT_THE_SERVER_ALONE: u64 = u64::MAX;

/// How long the NATS server may take to echo a message.
const ECHO: Duration = Duration::from_secs(1);

impl Membership {
    pub(crate) fn new(nats: Arc<async_nats::Client>, group: String) -> Self {
        Self {
            nats,
            group,
            subscriptions: std::sync::Mutex::default(),
        }
    }

    /// The messages on `subject` that are for this member.
    ///
    /// # Errors
    ///
    /// When the NATS client is closed, or the subject is none.
    pub(crate) async fn join(&self, subject: String) -> anyhow::Result<Subscription> {
        let subscriber = self
            .nats
            .queue_subscribe(subject, self.group.clone())
            .await?;
        let subscriber = Arc::new(Mutex::new(subscriber));
        let mut subscriptions = self.lock();
        subscriptions.retain(|subscription| subscription.strong_count() > 0);
        subscriptions.push(Arc::downgrade(&subscriber));
        Ok(Subscription::new(subscriber))
    }

    /// Leaves the group. The streams then end, after the last message that was delivered here. They
    /// have to be polled meanwhile.
    ///
    /// Waits as long as NATS cannot be reached. A message that another NATS server has just sent
    /// here for want of a nearer member can still be lost: NATS itself has no answer to that.
    ///
    /// # Errors
    ///
    /// When the NATS client is closed.
    pub(crate) async fn leave(&self) -> anyhow::Result<()> {
        let subscriptions = std::mem::take(&mut *self.lock());
        let subscriptions: Vec<_> = subscriptions.iter().filter_map(Weak::upgrade).collect();
        let inbox = self.nats.new_inbox();
        let mut echoes = self.nats.subscribe(inbox.clone()).await?;
        for attempt in 0_u64.. {
            let connection = self.connection();
            for subscription in &subscriptions {
                let mut subscription = subscription.lock().await;
                subscription
                    .unsubscribe_after(ENDS_AT_THE_SERVER_ALONE)
                    .await?;
            }
            // The server handles what a connection sends, and sends to it, in order: what comes
            // before the echo is all there is.
            let marker = Bytes::copy_from_slice(&attempt.to_be_bytes());
            self.nats.publish(inbox.clone(), marker.clone()).await?;
            let echoed = async {
                while let Some(echo) = echoes.next().await {
                    if echo.payload == marker {
                        return Ok(());
                    }
                }
                anyhow::bail!("the NATS client is closed")
            };
            match timeout(ECHO, echoed).await {
                // A client that connected anew has subscribed anew.
                Ok(Ok(())) if self.connection() == connection => break,
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(err)) => return Err(err),
            }
        }
        for subscription in &subscriptions {
            let mut subscription = subscription.lock().await;
            subscription.unsubscribe().await.context("not ended")?;
        }
        Ok(())
    }

    /// The how-manieth connection to NATS this is.
    fn connection(&self) -> u64 {
        self.nats.statistics().connects.load(Ordering::SeqCst)
    }

    // Nothing that holds the lock can panic.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Mutex<Subscriber>>>> {
        self.subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The messages of one subscription.
pub(crate) struct Subscription {
    subscriber: Arc<Mutex<Subscriber>>,
    /// Waited for while the subscription is being ended.
    turn: Option<Turn>,
}

type Turn = Pin<Box<dyn Future<Output = OwnedMutexGuard<Subscriber>> + Send>>;

impl Subscription {
    fn new(subscriber: Arc<Mutex<Subscriber>>) -> Self {
        Self {
            subscriber,
            turn: None,
        }
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if self.turn.is_none() {
            if let Ok(mut subscriber) = self.subscriber.try_lock() {
                return subscriber.poll_next_unpin(cx);
            }
        }
        let subscriber = Arc::clone(&self.subscriber);
        let turn = self
            .turn
            .get_or_insert_with(|| Box::pin(subscriber.lock_owned()));
        let mut subscriber = ready!(turn.as_mut().poll(cx));
        self.turn = None;
        subscriber.poll_next_unpin(cx)
    }
}
