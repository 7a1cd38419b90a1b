//! Bodies on their way through: a visitor's upload, and an upstream's answer.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{ready, Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{sleep, sleep_until, timeout_at, Instant, Sleep};

use super::config::Limits;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Any body the edge sends, to a visitor or to an upstream.
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(super) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Why a visitor's body was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    TooLarge,
    TooSlow,
    Broken,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request body is too large",
            Self::TooSlow => "the request body did not arrive in time",
            Self::Broken => "the request body is broken",
        })
    }
}

impl std::error::Error for Refusal {}

/// A visitor's body: small ones are kept and can be sent again, large ones pass through once.
pub(super) enum Payload {
    Kept(Bytes),
    Streamed(Upload, UploadProgress),
}

/// Takes in a visitor's body, or as much of it as may be kept.
pub(super) async fn receive(mut body: Incoming, limits: &Limits) -> Result<Payload, Refusal> {
    let fits = |bytes: u64, limit: usize| usize::try_from(bytes).is_ok_and(|bytes| bytes <= limit);
    let announced = body.size_hint().lower();
    if !fits(announced, limits.body_bytes) {
        return Err(Refusal::TooLarge);
    }
    let due = Instant::now() + limits.body_timeout;
    let mut kept = BytesMut::new();
    if fits(announced, limits.replay_bytes) {
        loop {
            match timeout_at(due, body.frame()).await {
                Err(_) => return Err(Refusal::TooSlow),
                Ok(None) => return Ok(Payload::Kept(kept.freeze())),
                Ok(Some(Err(_))) => return Err(Refusal::Broken),
                // Trailers of a request are not passed on.
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        kept.extend_from_slice(&data);
                    }
                }
            }
            if kept.len() > limits.body_bytes {
                return Err(Refusal::TooLarge);
            }
            if kept.len() > limits.replay_bytes {
                break;
            }
        }
    }
    let progress = UploadProgress::new();
    let upload = Upload {
        left: limits.body_bytes.saturating_sub(kept.len()),
        first: (!kept.is_empty()).then(|| kept.freeze()),
        rest: body,
        due: Box::pin(sleep_until(due)),
        progress: progress.clone(),
    };
    Ok(Payload::Streamed(upload, progress))
}

/// How far a streamed upload has come, seen from outside.
#[derive(Debug, Clone)]
pub(super) struct UploadProgress(Arc<Mutex<Progress>>);

#[derive(Debug)]
struct Progress {
    last: Instant,
    visitors_turn: bool,
    refusal: Option<Refusal>,
}

impl UploadProgress {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Progress {
            last: Instant::now(),
            visitors_turn: false,
            refusal: None,
        })))
    }

    /// Since when the region has had all there is to have: now, while the visitor has yet to send something.
    pub fn regions_turn_since(&self) -> Instant {
        let progress = self.lock();
        if progress.visitors_turn {
            Instant::now()
        } else {
            progress.last
        }
    }

    pub fn refusal(&self) -> Option<Refusal> {
        self.lock().refusal
    }

    fn moved(&self, visitors_turn: bool) {
        let mut progress = self.lock();
        progress.last = Instant::now();
        progress.visitors_turn = visitors_turn;
    }

    fn refuse(&self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.lock().refusal = Some(refusal);
        Poll::Ready(Some(Err(refusal.into())))
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A visitor's body passing through, bounded in bytes and time.
#[derive(Debug)]
pub(super) struct Upload {
    first: Option<Bytes>,
    rest: Incoming,
    left: usize,
    due: Pin<Box<Sleep>>,
    progress: UploadProgress,
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        this.progress.moved(false);
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        loop {
            let Poll::Ready(frame) = Pin::new(&mut this.rest).poll_frame(cx) else {
                this.progress.moved(true);
                ready!(this.due.as_mut().poll(cx));
                return this.progress.refuse(Refusal::TooSlow);
            };
            return match frame {
                None => Poll::Ready(None),
                Some(Err(_)) => this.progress.refuse(Refusal::Broken),
                Some(Ok(frame)) => match frame.into_data() {
                    Err(_trailers) => continue,
                    Ok(data) => match this.left.checked_sub(data.len()) {
                        None => this.progress.refuse(Refusal::TooLarge),
                        Some(left) => {
                            this.left = left;
                            Poll::Ready(Some(Ok(Frame::data(data))))
                        }
                    },
                },
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        longer(self.rest.size_hint(), self.first.iter().map(Bytes::len))
    }
}

/// The body of an answer, some of it already read.
#[derive(Debug)]
pub(super) struct Relay {
    ahead: VecDeque<Frame<Bytes>>,
    rest: Option<Incoming>,
    idle: Duration,
    silence: Pin<Box<Sleep>>,
    waiting: bool,
}

impl Relay {
    pub fn new(body: Incoming, idle: Duration) -> Self {
        Self {
            ahead: VecDeque::new(),
            rest: Some(body),
            idle,
            silence: Box::pin(sleep(idle)),
            waiting: false,
        }
    }

    /// Reads up to `bytes`, until `due`, so that an upstream that dies meanwhile can still be replaced.
    pub async fn read_ahead(&mut self, bytes: usize, due: Instant) -> Result<(), hyper::Error> {
        let mut read = 0;
        while read <= bytes {
            let Some(body) = self.rest.as_mut() else {
                break;
            };
            match timeout_at(due, body.frame()).await {
                Err(_) => break,
                Ok(None) => self.rest = None,
                Ok(Some(Err(error))) => return Err(error),
                Ok(Some(Ok(frame))) => {
                    read += frame.data_ref().map_or(0, Bytes::len);
                    self.ahead.push_back(frame);
                }
            }
        }
        Ok(())
    }
}

impl HttpBody for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(frame) = this.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(rest) = this.rest.as_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(rest).poll_frame(cx) {
            this.waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        // Silence counts from when it was first noticed: a visitor who reads slowly is not the upstream's fault.
        if !this.waiting {
            this.waiting = true;
            this.silence.as_mut().reset(Instant::now() + this.idle);
        }
        ready!(this.silence.as_mut().poll(cx));
        Poll::Ready(Some(Err("the upstream fell silent".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.rest.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self
            .rest
            .as_ref()
            .map_or(SizeHint::with_exact(0), HttpBody::size_hint);
        longer(
            rest,
            self.ahead
                .iter()
                .filter_map(|frame| frame.data_ref().map(Bytes::len)),
        )
    }
}

fn longer(mut hint: SizeHint, by: impl Iterator<Item = usize>) -> SizeHint {
    let by: usize = by.sum();
    let by = u64::try_from(by).unwrap_or(u64::MAX);
    // The upper bound first: a lower one must never exceed it.
    if let Some(upper) = hint.upper() {
        hint.set_upper(upper.saturating_add(by));
    }
    hint.set_lower(hint.lower().saturating_add(by));
    hint
}
