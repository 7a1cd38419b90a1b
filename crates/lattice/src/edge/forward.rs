//! One request over all its attempts: whom to ask when, whose answer counts, when to give up.
//!
//! Requests that only read (GET, HEAD, OPTIONS, TRACE) are hedged: an attempt that takes long goes on while the next
//! region is asked, and the first good answer wins. Slow and dead look the same, and this is right for both. PUT and
//! DELETE are asked one by one, each attempt given up before the next, so that one held up somewhere is less likely to
//! overwrite what came later. Anything else is sent again only if no connection could be made.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::{sleep_until, Instant};

use super::attempt::{self, Connection, Head};
use super::body::{whole, Body, Payload, UploadProgress};
use super::failure::Failure;
use super::plan::Plan;
use super::region::Region;
use super::status::Counters;
use super::Shared;

/// Later attempts are started ever sooner, but never sooner than this after the one before.
const LEAST_PATIENCE: Duration = Duration::from_millis(50);

/// An answer that has begun is passed on this long before the deadline, however little of it is there.
const COMMIT_MARGIN: Duration = Duration::from_millis(20);

/// What may be done about an attempt that gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// Ask the next region as well.
    Hedged,
    /// Give it up, then ask the next region.
    OneByOne,
    /// Ask the next region if this one saw nothing of the request.
    Unsent,
    /// Nothing: the body is gone.
    Never,
}

/// What came of a request.
pub(super) struct Outcome {
    /// The region that answered, and its answer.
    pub answer: Option<(Arc<Region>, Response<Body>)>,
    /// Every attempt in order: the region, and why it did not answer the visitor.
    pub tried: Vec<Tried>,
}

pub(super) struct Tried {
    pub region: Arc<Region>,
    /// `None` for the one that answered, and for one it made unnecessary.
    pub failure: Option<Failure>,
    pub answered: bool,
    running: bool,
    began: Instant,
}

type Running = BoxFuture<'static, (usize, Result<Response<Body>, Failure>)>;

pub(super) async fn forward(
    edge: &Arc<Shared>,
    head: Head,
    payload: Payload,
    candidates: Vec<Arc<Region>>,
) -> Outcome {
    let (body, progress) = match payload {
        Payload::Kept(bytes) => (Sendable::Again(bytes), None),
        Payload::Streamed(upload, progress) => {
            (Sendable::Once(Some(upload.boxed_unsync())), Some(progress))
        }
    };
    let retry = match (&body, &head.method) {
        (Sendable::Once(_), _) => Retry::Never,
        (_, &Method::GET | &Method::HEAD | &Method::OPTIONS | &Method::TRACE) => Retry::Hedged,
        (_, &Method::PUT | &Method::DELETE) => Retry::OneByOne,
        _ => Retry::Unsent,
    };
    let started = Instant::now();
    Forwarding {
        edge,
        head,
        body,
        retry,
        deadline: started + edge.config.deadline,
        plan: Plan::new(candidates, edge.config.rounds),
        running: FuturesUnordered::new(),
        tried: Vec::new(),
        fallback: None,
    }
    .run(progress)
    .await
}

enum Sendable {
    Again(Bytes),
    Once(Option<Body>),
}

struct Forwarding<'a> {
    edge: &'a Arc<Shared>,
    head: Head,
    body: Sendable,
    retry: Retry,
    deadline: Instant,
    plan: Plan<Arc<Region>>,
    running: FuturesUnordered<Running>,
    tried: Vec<Tried>,
    /// A 502, 503 or 504: better than the edge's own words, if nothing better comes.
    fallback: Option<(usize, Response<Body>)>,
}

impl Forwarding<'_> {
    async fn run(mut self, progress: Option<UploadProgress>) -> Outcome {
        let overdue = overdue(self.deadline, self.edge.config.deadline, progress);
        tokio::pin!(overdue);
        // Not through the timer below, which is a millisecond late.
        let mut next_at = self.begin_next();
        loop {
            if self.running.is_empty() && next_at.is_none() {
                break;
            }
            tokio::select! {
                biased;
                () = &mut overdue => {
                    self.all_timed_out();
                    break;
                }
                Some((index, result)) = self.running.next(), if !self.running.is_empty() => {
                    self.tried[index].running = false;
                    let (failure, answer) = match result {
                        Ok(response) => match self.failing_status(&response) {
                            None => {
                                let tried = &self.tried[index];
                                tried.region.answered(tried.began.elapsed());
                                return self.answered(index, response);
                            }
                            Some(failure) => (failure, Some(response)),
                        },
                        Err(failure) => (failure, None),
                    };
                    if let Some(response) = answer {
                        self.fallback = Some((index, response));
                    }
                    // One whose time was up has had its successor already.
                    if self.failed(index, failure) {
                        next_at = self.next_after(failure);
                    }
                }
                () = sleep_until(next_at.unwrap_or(self.deadline)), if next_at.is_some() => {
                    next_at = self.begin_next();
                }
            }
        }
        match self.fallback.take() {
            Some((index, response)) => self.answered(index, response),
            None => Outcome {
                answer: None,
                tried: self.tried,
            },
        }
    }

    /// Starts the next attempt of the plan. Returns when the one after it is due if no answer comes.
    fn begin_next(&mut self) -> Option<Instant> {
        // Being here with an attempt running means that its time is up.
        if let Some(slow) = self.tried.iter().rposition(|tried| tried.running) {
            if self.tried[slow].failure.is_none() {
                self.failed(slow, Failure::Timeout);
            }
        }
        if self.retry == Retry::OneByOne {
            self.running.clear();
            self.tried
                .iter_mut()
                .for_each(|tried| tried.running = false);
        }
        let busy = |region: &Arc<Region>| {
            self.tried
                .iter()
                .any(|tried| tried.running && Arc::ptr_eq(&tried.region, region))
        };
        let region = self.plan.next(busy)?;
        self.begin(&region)?;
        match self.retry {
            Retry::Unsent | Retry::Never => None,
            Retry::Hedged | Retry::OneByOne => {
                let config = &self.edge.config;
                let patience = region.patience(config.attempt_timeout, config.deadline / 2);
                let begun = u32::try_from(self.tried.len()).unwrap_or(u32::MAX);
                Some(Instant::now() + (patience / begun).max(LEAST_PATIENCE))
            }
        }
    }

    /// `None` when there is nothing left to send.
    fn begin(&mut self, region: &Arc<Region>) -> Option<()> {
        let body = match &mut self.body {
            Sendable::Again(bytes) => whole(bytes.clone()),
            Sendable::Once(body) => body.take()?,
        };
        let repeatable = matches!(self.retry, Retry::Hedged | Retry::OneByOne);
        let connection = if repeatable {
            Connection::Pooled
        } else {
            Connection::New
        };
        let read_ahead_until = repeatable.then(|| self.deadline - COMMIT_MARGIN);
        Counters::add(&self.edge.counters.attempts);
        if !self.tried.is_empty() {
            Counters::add(&self.edge.counters.retries);
        }
        region.attempt_began();
        let index = self.tried.len();
        self.tried.push(Tried {
            region: Arc::clone(region),
            failure: None,
            answered: false,
            running: true,
            began: Instant::now(),
        });
        let (edge, region, head) = (Arc::clone(self.edge), Arc::clone(region), self.head.clone());
        self.running.push(Box::pin(async move {
            let answer = async {
                let response = edge.clients.send(&region, head, body, connection).await?;
                attempt::take(response, &edge.config.limits, read_ahead_until).await
            };
            (index, answer.await)
        }));
        Some(())
    }

    /// When to start the next attempt after one failed, if at all.
    fn next_after(&self, failure: Failure) -> Option<Instant> {
        let may = match self.retry {
            Retry::Hedged | Retry::OneByOne => true,
            Retry::Unsent => failure.is_before_request(),
            Retry::Never => false,
        };
        let starts_round = self.plan.starts_round()?;
        let now = Instant::now();
        may.then(|| {
            if starts_round {
                now + self.edge.config.round_pause
            } else {
                now
            }
        })
    }

    fn failing_status(&self, response: &Response<Body>) -> Option<Failure> {
        let failing = matches!(
            response.status(),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        );
        let repeatable = matches!(self.retry, Retry::Hedged | Retry::OneByOne);
        (failing && repeatable).then(|| Failure::Status(response.status().as_u16()))
    }

    /// Returns whether this is news: an attempt whose time was up has failed before.
    fn failed(&mut self, index: usize, failure: Failure) -> bool {
        let tried = &mut self.tried[index];
        if tried.failure.is_some() {
            return false;
        }
        tried.failure = Some(failure);
        self.edge.fleet.attempt_failed(&tried.region, failure);
        true
    }

    fn all_timed_out(&mut self) {
        for index in 0..self.tried.len() {
            if self.tried[index].running {
                self.failed(index, Failure::Timeout);
            }
        }
    }

    fn answered(mut self, index: usize, response: Response<Body>) -> Outcome {
        let mut answering = self.tried.remove(index);
        answering.failure = None;
        answering.answered = true;
        answering.region.served();
        let region = Arc::clone(&answering.region);
        self.tried.push(answering);
        Outcome {
            answer: Some((region, response)),
            tried: self.tried,
        }
    }
}

/// Resolves when the request has waited long enough: at the deadline, counted for a streamed body from the last of it.
async fn overdue(deadline: Instant, patience: Duration, progress: Option<UploadProgress>) {
    let mut due = deadline;
    loop {
        sleep_until(due).await;
        let later = progress
            .as_ref()
            .map(|progress| progress.regions_turn_since() + patience)
            .filter(|later| *later > due);
        match later {
            Some(later) => due = later,
            None => return,
        }
    }
}
