//! One direction of one connection: the delay line.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{sleep_until, Instant};

use super::rule::{Birth, Heading, Rules};
use super::status::Counters;

/// What may be in flight one way on one connection. At 40 ms one way this still lets 800 MB/s through.
const IN_FLIGHT: usize = 32 * 1024 * 1024;

/// What a parcel costs beside its bytes, so that a stream of single bytes is bounded too.
const PARCEL_OVERHEAD: usize = 64;

const READ_BUFFER: usize = 64 * 1024;

/// How a lane ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The sender finished and, unless a cut lost it, the receiver was told.
    Finished,
    /// A socket broke.
    Broken,
}

pub(super) struct Lane<'a> {
    pub heading: Heading,
    pub birth: Birth,
    pub rules: watch::Receiver<Rules>,
    pub counters: &'a Counters,
}

/// What was read at once. No bytes: the sender finished.
struct Parcel {
    read_at: Instant,
    bytes: Bytes,
}

impl Lane<'_> {
    /// Carries bytes from `from` to `to` until either ends.
    pub async fn carry(
        mut self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> Ended {
        let mut in_flight: VecDeque<Parcel> = VecDeque::new();
        let mut weight = 0;
        let mut buffer = BytesMut::new();
        let mut finished = false;
        let mut receiver_gone = false;
        loop {
            let (one_way, doomed, loses) = {
                let rules = self.rules.borrow_and_update();
                (
                    rules.one_way,
                    self.birth.is_doomed(&rules),
                    self.birth.loses(&rules, self.heading) || receiver_gone,
                )
            };
            if loses {
                for parcel in in_flight.drain(..) {
                    self.counters.lost(self.heading, parcel.bytes.len());
                }
                weight = 0;
                if finished {
                    return Ended::Finished;
                }
            }
            if buffer.capacity() < READ_BUFFER / 8 {
                buffer.reserve(READ_BUFFER);
            }
            let first = in_flight.front();
            tokio::select! {
                changed = self.rules.changed() => if changed.is_err() {
                    return Ended::Broken;
                },
                read = from.read_buf(&mut buffer), if !finished && weight < IN_FLIGHT => match read {
                    Ok(read) => {
                        finished = read == 0;
                        let bytes = buffer.split().freeze();
                        weight += bytes.len() + PARCEL_OVERHEAD;
                        in_flight.push_back(Parcel { read_at: Instant::now(), bytes });
                    }
                    Err(_) => return Ended::Broken,
                },
                wrote = deliver(&mut to, first, one_way), if first.is_some() => match wrote {
                    Ok(0) => return Ended::Finished,
                    Ok(wrote) => {
                        self.counters.delivered(self.heading, wrote);
                        weight = weight.saturating_sub(wrote);
                        if let Some(first) = in_flight.front_mut() {
                            first.bytes.advance(wrote);
                            if first.bytes.is_empty() {
                                in_flight.pop_front();
                                weight = weight.saturating_sub(PARCEL_OVERHEAD);
                            }
                        }
                    }
                    // The sender must not learn of it through a cut: go on and lose what it says.
                    Err(_) if doomed => receiver_gone = true,
                    Err(_) => return Ended::Broken,
                },
            }
        }
    }
}

/// Writes some of a parcel when it is due; returns 0 once it has told the receiver that the sender finished.
/// Cancel safe: nothing was written unless it returned.
async fn deliver(
    to: &mut (impl AsyncWrite + Unpin),
    parcel: Option<&Parcel>,
    one_way: std::time::Duration,
) -> io::Result<usize> {
    let Some(parcel) = parcel else {
        return std::future::pending().await;
    };
    let due = parcel.read_at + one_way;
    if due > Instant::now() {
        sleep_until(due).await;
    }
    if parcel.bytes.is_empty() {
        to.shutdown().await?;
        return Ok(0);
    }
    match to.write(&parcel.bytes).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        wrote => Ok(wrote),
    }
}
