//! Visitors: each has one connection, and sends its next request when it has read the answer to
//! the last one (a closed loop), so the rate is what the subject gives and nothing queues unseen.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{handshake, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::plan::Pace;
use crate::sample::{ratio, Samples, Summary};

/// What the visitors' browser says it is.
pub const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

/// Pause after a failure, so that a subject that refuses is not hammered.
const PAUSE: Duration = Duration::from_millis(20);

/// What the visitors saw.
#[derive(Debug)]
pub struct Load {
    pub summary: Summary,
    /// The steps that the subject itself timed, from its `Server-Timing` headers.
    pub steps: BTreeMap<String, Summary>,
    /// The first failure, in words.
    pub failure: Option<String>,
}

/// Sends `connections` visitors to a page.
pub async fn visit(
    addr: SocketAddr,
    path: &'static str,
    connections: usize,
    pace: Pace,
) -> anyhow::Result<Load> {
    let begin = Instant::now() + pace.warm_up;
    let end = begin + pace.measure;
    let mut visitors = JoinSet::new();
    for _ in 0..connections {
        visitors.spawn(Visitor::new(addr, path).browse(begin, end, pace));
    }
    let mut all = Seen::default();
    while let Some(seen) = visitors.join_next().await {
        all.append(seen?);
    }
    // A visitor whose answer is lost comes late, which says nothing of the others' rate. Views that take longer than
    // all of the measuring are counted until the last one came.
    let (answers, elapsed) = if all.in_time >= connections {
        (all.in_time, pace.measure)
    } else {
        (
            all.samples.len(),
            all.last
                .map_or(Duration::ZERO, |last| last.saturating_duration_since(begin)),
        )
    };
    let summarise = |(step, samples): (String, Samples)| (step, samples.summarise(elapsed, 0));
    Ok(Load {
        summary: Summary {
            per_second: ratio(answers, elapsed),
            ..all.samples.summarise(elapsed, all.failed)
        },
        steps: all.steps.into_iter().map(summarise).collect(),
        failure: all.failure,
    })
}

/// One good answer of a page, to see that it is what it should be.
pub async fn once(addr: SocketAddr, path: &'static str) -> anyhow::Result<Bytes> {
    Ok(Visitor::new(addr, path).request().await?.body)
}

#[derive(Debug, Default)]
struct Seen {
    samples: Samples,
    steps: BTreeMap<String, Samples>,
    failed: usize,
    failure: Option<String>,
    last: Option<Instant>,
    /// Answers within the measuring.
    in_time: usize,
}

impl Seen {
    fn append(&mut self, other: Self) {
        self.samples.append(other.samples);
        for (step, samples) in other.steps {
            self.steps.entry(step).or_default().append(samples);
        }
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
        self.last = self.last.max(other.last);
        self.in_time += other.in_time;
    }

    fn answer(&mut self, took: Duration, end: Instant, server_timing: Option<&str>) {
        let now = Instant::now();
        self.samples.add(took);
        self.last = Some(now);
        self.in_time += usize::from(now <= end);
        for (step, took) in server_timing.into_iter().flat_map(steps) {
            self.steps.entry(step.to_owned()).or_default().add(took);
        }
    }
}

/// Reads `name;dur=MILLISECONDS, …`.
fn steps(header: &str) -> impl Iterator<Item = (&str, Duration)> {
    header.split(',').filter_map(|entry| {
        let (name, milliseconds) = entry.trim().split_once(";dur=")?;
        let milliseconds: f64 = milliseconds.parse().ok()?;
        Some((name, Duration::try_from_secs_f64(milliseconds / 1e3).ok()?))
    })
}

struct Visitor {
    addr: SocketAddr,
    path: &'static str,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

struct Answer {
    server_timing: Option<String>,
    body: Bytes,
}

impl Visitor {
    fn new(addr: SocketAddr, path: &'static str) -> Self {
        Self {
            addr,
            path,
            connection: None,
        }
    }

    async fn browse(mut self, begin: Instant, end: Instant, pace: Pace) -> Seen {
        let mut seen = Seen::default();
        loop {
            let started = Instant::now();
            if started >= end && seen.samples.len() + seen.failed >= pace.least {
                return seen;
            }
            let answer = match timeout(pace.patience, self.request()).await {
                Ok(answer) => answer,
                Err(_) => Err(anyhow::anyhow!(
                    "no answer in {} s",
                    pace.patience.as_secs()
                )),
            };
            let took = started.elapsed();
            let counts = started >= begin;
            match answer {
                Ok(answer) if counts => seen.answer(took, end, answer.server_timing.as_deref()),
                Ok(_) => {}
                Err(error) => {
                    self.connection = None;
                    if counts {
                        seen.failed += 1;
                        seen.failure.get_or_insert_with(|| format!("{error:#}"));
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn request(&mut self) -> anyhow::Result<Answer> {
        let connection = match self.connection.take().filter(|kept| !kept.is_closed()) {
            Some(connection) => connection,
            None => connect(self.addr).await?,
        };
        let connection = self.connection.insert(connection);
        let request = http::Request::get(self.path)
            .header(http::header::HOST, self.addr.to_string())
            .header(http::header::USER_AGENT, USER_AGENT)
            .body(Empty::new())?;
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        let timing = response.headers().get("server-timing");
        let server_timing = timing
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let body = response.into_body().collect().await?.to_bytes();
        if status != http::StatusCode::OK {
            bail!("{} answers {status}", self.path);
        }
        Ok(Answer {
            server_timing,
            body,
        })
    }
}

async fn connect(addr: SocketAddr) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(addr)
        .await
        .with_context(|| format!("failed to connect to {addr}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Ends with the sender; its error is also that of the request.
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_timing_is_read_and_what_is_odd_in_it_left_out() {
        let read: Vec<_> =
            steps("metadata;dur=0.250, list;dur=80.5,cache;desc=\"x\", bad;dur=-1").collect();
        let expected = [
            ("metadata", Duration::from_micros(250)),
            ("list", Duration::from_micros(80_500)),
        ];
        assert_eq!(read, expected);
    }
}
