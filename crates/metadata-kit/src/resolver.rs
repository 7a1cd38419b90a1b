//! Keeps the metadata for one config up to date, in the background.

use std::sync::Arc;
use std::time::Duration;

use provider_kit::{within, ConfigError, Health, LabelSet, Labels, RawConfig};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use crate::{Metadata, Platform, Unresolved};

/// How long one attempt may take, all of its questions together.
const ATTEMPT: Duration = Duration::from_secs(15);
/// The pause after the first failed attempt; it doubles up to the refresh interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// What a call is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Known(Arc<Metadata>),
    Unavailable(String),
    Misconfigured(String),
}

/// What a resolver needs to know about its surroundings.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) host_id: String,
    pub(crate) labels: Labels,
    pub(crate) health: Health,
    /// The provider's own config, as it changes.
    pub(crate) config: watch::Receiver<RawConfig>,
}

/// The metadata as it is known now. Dropping the last clone ends the background task.
#[derive(Debug, Clone)]
pub struct Resolver {
    answer: watch::Receiver<Answer>,
    _task: Arc<Task>,
}

#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Resolver {
    /// Starts resolving. `overrides` is a link's own config; `subject` names the resolver in
    /// the health.
    pub(crate) fn spawn<P: Platform>(
        subject: String,
        overrides: Option<P::Config>,
        surroundings: Surroundings,
    ) -> Self {
        let waiting = Answer::Unavailable("the metadata is not resolved yet".to_owned());
        let (publish, answer) = watch::channel(waiting);
        let worker = Worker {
            subject,
            surroundings,
            publish,
            complete: false,
        };
        let task = tokio::spawn(worker.run::<P>(overrides));
        Self {
            answer,
            _task: Arc::new(Task(task.abort_handle())),
        }
    }

    pub(crate) fn answer(&self) -> Answer {
        self.answer.borrow().clone()
    }
}

struct Worker {
    subject: String,
    surroundings: Surroundings,
    publish: watch::Sender<Answer>,
    /// Whether the published metadata is all that the platform says, for the present config.
    complete: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.surroundings.health.well(&self.subject);
    }
}

impl Worker {
    async fn run<P: Platform>(mut self, overrides: Option<P::Config>) {
        let mut labels = self.surroundings.labels.clone();
        let mut known = labels.wait().await;
        loop {
            let raw = self.surroundings.config.borrow_and_update().clone();
            match effective::<P>(&raw, overrides.as_ref(), &known) {
                Ok(config) => {
                    known = self.follow::<P>(config, known, &mut labels).await;
                }
                Err(err) => {
                    self.misconfigured(&err);
                    tokio::select! {
                        Ok(()) = self.surroundings.config.changed() => {}
                        Some(changed) = labels.changed() => known = changed,
                        // Nothing can change any more.
                        else => std::future::pending().await,
                    }
                }
            }
        }
    }

    /// Resolves again and again, until the config or the labels change. Returns the labels.
    async fn follow<P: Platform>(
        &mut self,
        config: P::Config,
        known: LabelSet,
        labels: &mut Labels,
    ) -> LabelSet {
        self.complete = false;
        let refresh = P::refresh(&config);
        let mut platform = P::new(config);
        let mut retry = FIRST_RETRY.min(refresh);
        loop {
            let attempt = platform.resolve(&known, &self.surroundings.host_id);
            let resolved = within(ATTEMPT, "the platform", attempt)
                .await
                .unwrap_or_else(|late| {
                    Err(Unresolved {
                        reason: late.to_string(),
                        fallback: None,
                    })
                });
            let pause = match resolved {
                Ok(metadata) => {
                    self.resolved(metadata);
                    retry = FIRST_RETRY.min(refresh);
                    refresh
                }
                Err(unresolved) => {
                    self.unresolved(unresolved);
                    let pause = retry;
                    retry = retry.saturating_mul(2).min(refresh);
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = self.surroundings.config.changed() => return known,
                Some(changed) = different(labels, &known) => return changed,
            }
        }
    }

    fn resolved(&mut self, metadata: Metadata) {
        self.surroundings.health.well(&self.subject);
        self.complete = true;
        let answer = Answer::Known(Arc::new(metadata));
        let changed = self.publish.send_if_modified(|current| {
            let changed = *current != answer;
            if changed {
                current.clone_from(&answer);
            }
            changed
        });
        if changed {
            info!(subject = self.subject, ?answer, "metadata is resolved");
        }
    }

    fn unresolved(&self, unresolved: Unresolved) {
        warn!(
            subject = self.subject,
            reason = unresolved.reason,
            "metadata is not resolved"
        );
        let health = &self.surroundings.health;
        health.trouble(&self.subject, &unresolved.reason);
        if self.complete {
            debug!("the last good metadata stays");
            return;
        }
        match unresolved.fallback {
            Some(metadata) => {
                self.publish
                    .send_replace(Answer::Known(Arc::new(*metadata)));
            }
            None if matches!(*self.publish.borrow(), Answer::Known(_)) => {}
            None => {
                self.publish
                    .send_replace(Answer::Unavailable(unresolved.reason));
            }
        }
    }

    fn misconfigured(&self, err: &ConfigError) {
        warn!(subject = self.subject, %err, "config is refused");
        self.surroundings
            .health
            .trouble(&self.subject, err.to_string());
        self.publish
            .send_replace(Answer::Misconfigured(err.to_string()));
    }
}

/// Waits for labels other than `known`; `None` when there will be none.
async fn different(labels: &mut Labels, known: &LabelSet) -> Option<LabelSet> {
    loop {
        let changed = labels.changed().await?;
        if changed != *known {
            return Some(changed);
        }
    }
}

fn effective<P: Platform>(
    raw: &RawConfig,
    overrides: Option<&P::Config>,
    labels: &LabelSet,
) -> Result<P::Config, ConfigError> {
    let provider = raw.parse::<P::Config>(labels)?;
    Ok(match overrides {
        Some(link) => P::merge(link, &provider),
        None => provider,
    })
}
