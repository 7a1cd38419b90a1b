//! A component's writes: one atomic step in this region's Valkey, then the news of it.
//!
//! Every step names the server process and the life of the store that it is meant for, and the script
//! does nothing in any other. A step that was answered `stale` did nothing, so it is taken again once the store has been
//! looked at; a step that was not answered is never taken again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use replica::entry::Entry;
use replica::region::Author;
use replica::store::{Op, Outcome, Session, Step, Value, Write, Written};
use tokio::time::{sleep, timeout_at, Instant};

use super::push::{latest, News};
use super::settings::Ack;
use super::shared::{judge, lock, wall_ms, Shared, Standing};
use super::step;
use crate::connection::Process;
use crate::error::{Error, Result};
use crate::refusal::{classify, unanswered, Effect};

/// How often a step is taken that was answered `stale`.
const ATTEMPTS: u32 = 3;
/// Time between two tellings of the same news while a confirmation is awaited. News may be lost.
const TELL_AGAIN: Duration = Duration::from_millis(250);

/// Writes to the store on behalf of all links.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    opened: Mutex<Option<Arc<Opened>>>,
    opening: tokio::sync::Mutex<()>,
}

/// The store in one life, seen through one server process.
#[derive(Debug)]
struct Opened {
    run: Arc<str>,
    author: Author,
    session: Mutex<Session>,
}

/// When a call has to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    allowed: Duration,
    until: Instant,
}

impl Deadline {
    pub(super) fn after(allowed: Duration) -> Self {
        Self {
            allowed,
            until: Instant::now() + allowed,
        }
    }

    /// The reply to one call of a step.
    async fn call(
        self,
        connection: &mut MultiplexedConnection,
        arguments: &[bytes::Bytes],
        effect: Effect,
    ) -> Result<Value> {
        match timeout_at(self.until, step::call(connection, arguments)).await {
            Ok(reply) => reply.map_err(|error| classify(&error, effect)),
            Err(_) => {
                let allowed = self.allowed.as_millis();
                let cause = format!("no reply within {allowed} ms (`timeout_ms`)");
                Err(unanswered(effect, cause))
            }
        }
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            opened: Mutex::new(None),
            opening: tokio::sync::Mutex::new(()),
        }
    }

    /// Makes all writes or none, and waits for whom `ack` names.
    pub(super) async fn write(
        &self,
        writes: Vec<Write>,
        deadline: Deadline,
        ack: Ack,
    ) -> Result<Vec<Written>> {
        let keys: Vec<String> = writes.iter().map(key).collect();
        let op = Op::Write {
            now_ms: wall_ms(),
            writes,
        };
        let mut attempts = ATTEMPTS;
        loop {
            attempts = attempts.saturating_sub(1);
            let mut process = self.shared.data.process()?;
            let opened = self.open(&mut process, deadline).await?;
            // Before the write: what it claims to have seen must not be newer than itself.
            let seen = self.shared.seen(&opened.run, &opened.author);
            let (op, connection) = (op.clone(), &mut process.connection);
            match take(op, &opened.session, connection, deadline, Effect::Write).await? {
                Outcome::Written(mut written) => {
                    let entries = keys.into_iter().zip(&mut written).filter_map(entry);
                    let author = opened.author.clone();
                    if let Some(news) = News::of(author, seen, entries) {
                        self.tell(news, ack).await?;
                    }
                    return Ok(written);
                }
                Outcome::NotANumber => return Err(Error::NotANumber),
                Outcome::Overflow => return Err(Error::Overflow),
                Outcome::Joining => return Err(self.joining()),
                Outcome::Stale => {
                    self.forget(&opened);
                    if attempts == 0 {
                        return Err(self.joining());
                    }
                }
                Outcome::Failed(cause) => return Err(Error::OutcomeUnknown { cause }),
                _ => return Err(Error::UnexpectedReply),
            }
        }
    }

    /// The store as it is now, looked at once per life of it.
    async fn open(&self, process: &mut Process, deadline: Deadline) -> Result<Arc<Opened>> {
        if let Some(opened) = self.opened(&process.run) {
            return Ok(opened);
        }
        let Ok(_opening) = timeout_at(deadline.until, self.opening.lock()).await else {
            let reason = "it is being looked at".to_owned();
            return Err(Error::Unavailable { reason });
        };
        if let Some(opened) = self.opened(&process.run) {
            return Ok(opened);
        }
        let session = Mutex::new(Session::new(process.run.as_ref().to_owned()));
        let connection = &mut process.connection;
        let loaded = match take(Op::Load, &session, connection, deadline, Effect::Read).await? {
            Outcome::Loaded(loaded) => loaded,
            _ => return Err(Error::UnexpectedReply),
        };
        if let Standing::Waits(reason) = judge(&self.shared.settings, &process.run, &loaded) {
            return Err(Error::Unavailable { reason });
        }
        // What serves has one.
        let identity = loaded.identity.ok_or(Error::UnexpectedReply)?;
        let opened = Arc::new(Opened {
            run: process.run.clone(),
            author: identity.author,
            session,
        });
        *lock(&self.opened) = Some(opened.clone());
        Ok(opened)
    }

    fn opened(&self, run: &str) -> Option<Arc<Opened>> {
        let opened = lock(&self.opened).clone();
        opened.filter(|opened| &*opened.run == run)
    }

    fn forget(&self, stale: &Arc<Opened>) {
        let mut opened = lock(&self.opened);
        if opened
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, stale))
        {
            *opened = None;
        }
    }

    fn joining(&self) -> Error {
        let reason = match self.shared.standing() {
            Standing::Waits(reason) => reason,
            Standing::Serves(_) => "it is being looked at again".to_owned(),
        };
        Error::Unavailable { reason }
    }

    async fn tell(&self, mut news: News, ack: Ack) -> Result<()> {
        let Ack::Regions { count, within } = ack else {
            self.shared.tell(news);
            return Ok(());
        };
        news.ack = true;
        let acks = &self.shared.acks;
        let (author, seq) = (news.author.clone(), news.last);
        let telling = async {
            loop {
                self.shared.tell(news.clone());
                sleep(TELL_AGAIN).await;
            }
        };
        let told = tokio::select! {
            () = acks.reached(&author, seq, count) => true,
            () = telling => false,
            () = sleep(within) => false,
        };
        if told {
            return Ok(());
        }
        Err(Error::Unconfirmed {
            confirmed: acks.confirmed(&author, seq),
            wanted: count,
            within,
        })
    }
}

/// Takes a step, in as many calls as it needs.
async fn take(
    op: Op,
    session: &Mutex<Session>,
    connection: &mut MultiplexedConnection,
    deadline: Deadline,
    effect: Effect,
) -> Result<Outcome> {
    let mut step = Step::new(op);
    loop {
        let arguments = step.call(&lock(session));
        let reply = deadline.call(connection, &arguments, effect).await?;
        if let Some(outcome) = step.accept(&mut lock(session), reply) {
            return Ok(outcome);
        }
    }
}

impl News {
    /// `None` when nothing was written.
    fn of(
        author: Author,
        seen: Arc<replica::vector::VersionVector>,
        entries: impl Iterator<Item = (u64, String, Entry)>,
    ) -> Option<Self> {
        let (mut first, mut last, mut kept) = (u64::MAX, 0, Vec::new());
        for (seq, key, entry) in entries {
            first = seq.min(first);
            last = seq.max(last);
            kept.push((key, entry));
        }
        (last > 0).then(|| Self {
            author,
            first,
            last,
            seen,
            ack: false,
            entries: latest(kept),
        })
    }
}

fn key(write: &Write) -> String {
    match write {
        Write::Set(key, _) | Write::Delete(key) | Write::Increment(key, _) => key.clone(),
    }
}

fn entry((key, written): (String, &mut Written)) -> Option<(u64, String, Entry)> {
    Some((written.seq?, key, written.entry.take()?))
}
