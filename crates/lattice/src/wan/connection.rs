//! The life of one connection: reach the target, carry both ways, end as a real link would.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::lane::{Ended, Lane};
use super::rule::{Birth, Heading, Rules};
use super::status::Counters;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// When one lane broke, how long beyond the delay the other may still deliver what is in flight.
const LAST_WORDS: Duration = Duration::from_millis(100);

pub(super) async fn carry(
    mut leaf: TcpStream,
    rules: watch::Receiver<Rules>,
    counters: Arc<Counters>,
) {
    let birth = Birth::under(&rules.borrow());
    let mut healing = rules.clone();
    // Resolves when this connection lived through a cut that is over now; never on an undisturbed one.
    let healed = async {
        if healing.wait_for(|now| birth.is_healed(now)).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(healed);

    let mut hub = tokio::select! {
        () = &mut healed => return reset(&leaf),
        hub = reach(&mut leaf, &rules, birth, &counters) => match hub {
            Some(hub) => hub,
            None => return,
        },
    };
    // Delay is this link's to add; a failure only means that small writes are slower.
    let _ = leaf.set_nodelay(true);
    let _ = hub.set_nodelay(true);

    let broken = tokio::select! {
        () = &mut healed => true,
        broken = both_ways(&mut leaf, &mut hub, &rules, birth, &counters) => broken,
    };
    if broken {
        reset(&leaf);
        reset(&hub);
    }
}

/// Connects to the target after the delay; `None` when the connection is over: the target is unreachable, or a cut
/// swallowed the attempt and the leaf has given up.
async fn reach(
    leaf: &mut TcpStream,
    rules: &watch::Receiver<Rules>,
    birth: Birth,
    counters: &Counters,
) -> Option<TcpStream> {
    let one_way = rules.borrow().one_way;
    sleep(one_way).await;
    if !birth.is_doomed(&rules.borrow()) {
        let target = rules.borrow().target;
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await;
        match connected {
            Ok(Ok(hub)) => return Some(hub),
            Ok(Err(error)) => debug!(%error, "wan target refused"),
            Err(_) => debug!("wan target did not answer"),
        }
        if !birth.is_doomed(&rules.borrow()) {
            counters.target_unreachable();
            return None;
        }
    }
    swallow(leaf, counters).await;
    None
}

/// Reads until the leaf gives up, so that a long cut does not pile up the connections of its attempts.
async fn swallow(leaf: &mut TcpStream, counters: &Counters) {
    counters.swallowed();
    let mut buffer = vec![0; 4096];
    while let Ok(read) = leaf.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        counters.lost(Heading::ToHub, read);
    }
}

/// Returns whether the connection broke, rather than ended.
async fn both_ways(
    leaf: &mut TcpStream,
    hub: &mut TcpStream,
    rules: &watch::Receiver<Rules>,
    birth: Birth,
    counters: &Counters,
) -> bool {
    let (leaf_read, leaf_write) = leaf.split();
    let (hub_read, hub_write) = hub.split();
    let lane = |heading| Lane {
        heading,
        birth,
        rules: rules.clone(),
        counters,
    };
    let to_hub = lane(Heading::ToHub).carry(leaf_read, hub_write);
    let from_hub = lane(Heading::FromHub).carry(hub_read, leaf_write);
    tokio::pin!(to_hub, from_hub);
    let (first, second) = tokio::select! {
        first = &mut to_hub => (first, rest(first, from_hub, rules, birth).await),
        first = &mut from_hub => (first, rest(first, to_hub, rules, birth).await),
    };
    first == Ended::Broken || second == Ended::Broken
}

/// Waits for the lane that is left. After a break it may only finish what is in flight, unless a cut hides the
/// break from the other side.
async fn rest(
    first: Ended,
    other: impl std::future::Future<Output = Ended>,
    rules: &watch::Receiver<Rules>,
    birth: Birth,
) -> Ended {
    let doomed = birth.is_doomed(&rules.borrow());
    if first == Ended::Finished || doomed {
        return other.await;
    }
    let grace = rules.borrow().one_way + LAST_WORDS;
    timeout(grace, other).await.unwrap_or(Ended::Broken)
}

/// Makes the stream's drop send a reset instead of an orderly end.
#[allow(
    deprecated,
    reason = "lingering blocks, except for no time at all; the name for just that is newer than our tokio"
)]
fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_linger(Some(Duration::ZERO)) {
        debug!(%error, "wan connection could not be reset");
    }
}
