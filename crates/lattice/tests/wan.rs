//! The WAN link over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod port;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lattice::wan::{Direction, WanLink, WanStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use port::Port;

const ONE_WAY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers every byte with itself, and ends when the other side does.
struct Echo {
    addr: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Echo {
    async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    async fn start_at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        });
        Self {
            addr,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

/// A hub whose connections the test holds in its hands.
struct Hub {
    addr: SocketAddr,
    accepted: mpsc::UnboundedReceiver<TcpStream>,
    _task: AbortOnDropHandle<()>,
}

impl Hub {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, accepted) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Self {
            addr,
            accepted,
            _task: AbortOnDropHandle::new(task),
        }
    }

    async fn accept(&mut self) -> TcpStream {
        timeout(PATIENCE, self.accepted.recv())
            .await
            .expect("a connection reaches the hub")
            .unwrap()
    }

    async fn gets_nothing(&mut self) {
        let got = timeout(Duration::from_millis(300), self.accepted.recv()).await;
        assert!(got.is_err(), "a connection reached the hub through a cut");
    }
}

/// A connection over the link, both ends.
async fn pair(link: &WanLink, hub: &mut Hub) -> (TcpStream, TcpStream) {
    let leaf = TcpStream::connect(link.local_addr()).await.unwrap();
    (leaf, hub.accept().await)
}

async fn passes(from: &mut TcpStream, to: &mut TcpStream, what: &[u8]) {
    from.write_all(what).await.unwrap();
    let mut got = vec![0; what.len()];
    timeout(PATIENCE, to.read_exact(&mut got))
        .await
        .expect("bytes pass")
        .unwrap();
    assert_eq!(got, what);
}

async fn gets_nothing(stream: &mut TcpStream) {
    let mut buffer = [0; 16];
    let got = timeout(Duration::from_millis(300), stream.read(&mut buffer)).await;
    assert!(got.is_err(), "something came through a cut: {got:?}");
}

async fn is_reset(stream: &mut TcpStream) {
    let mut buffer = [0; 1024];
    let error = loop {
        match timeout(PATIENCE, stream.read(&mut buffer))
            .await
            .expect("the connection is reset")
        {
            Ok(0) => panic!("an orderly end instead of a reset"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

async fn until(link: &WanLink, condition: impl Fn(&WanStatus) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition(&link.status()) {
        assert!(Instant::now() < deadline, "still {:#?}", link.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn round_trip(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    stream.write_all(b"ping").await.unwrap();
    let mut got = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut got))
        .await
        .expect("an echo")
        .unwrap();
    assert_eq!(&got, b"ping");
    began.elapsed()
}

/// Any one of them may be held up by a busy machine.
async fn fastest_of_ten_round_trips(stream: &mut TcpStream) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        fastest = fastest.min(round_trip(stream).await);
    }
    fastest
}

/// Bytes that differ at every position that a lost or doubled chunk could shift.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[tokio::test]
async fn a_round_trip_takes_twice_the_delay_and_little_more() {
    let echo = Echo::start().await;
    let link = WanLink::bind(echo.addr, ONE_WAY).await.unwrap();
    let mut stream = TcpStream::connect(link.local_addr()).await.unwrap();
    round_trip(&mut stream).await;
    let took = fastest_of_ten_round_trips(&mut stream).await;
    assert!(took >= ONE_WAY * 2, "{took:?}");
    assert!(took < ONE_WAY * 2 + Duration::from_millis(150), "{took:?}");
    link.set_one_way(Duration::ZERO);
    let took = fastest_of_ten_round_trips(&mut stream).await;
    assert!(took < ONE_WAY, "the new delay holds: {took:?}");
}

#[tokio::test]
async fn a_new_delay_holds_for_bytes_in_flight() {
    let echo = Echo::start().await;
    let link = WanLink::bind(echo.addr, Duration::ZERO).await.unwrap();
    let mut stream = TcpStream::connect(link.local_addr()).await.unwrap();
    round_trip(&mut stream).await;
    link.set_one_way(Duration::from_secs(600));
    stream.write_all(b"late").await.unwrap();
    gets_nothing(&mut stream).await;
    link.set_one_way(Duration::ZERO);
    let mut got = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut got))
        .await
        .expect("the bytes in flight arrive")
        .unwrap();
    assert_eq!(&got, b"late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_megabytes_arrive_in_order_and_faster_than_one_chunk_per_round_trip() {
    let echo = Echo::start().await;
    let link = WanLink::bind(echo.addr, ONE_WAY).await.unwrap();
    let stream = TcpStream::connect(link.local_addr()).await.unwrap();
    let sent = pattern(50_000_000);
    let (mut read, mut write) = stream.into_split();
    let began = Instant::now();
    let sending = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut got = Vec::with_capacity(sent.len());
    let (sending, receiving) = tokio::join!(
        sending,
        timeout(Duration::from_secs(90), read.read_to_end(&mut got))
    );
    let () = sending;
    receiving.expect("everything arrives").unwrap();
    assert!(got == sent, "what arrived is not what was sent");
    // 760 chunks of 64 KiB at a round trip each would take 76 s.
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    until(&link, |status| status.open == 0).await;
    let status = link.status();
    assert_eq!(status.to_hub.delivered, 50_000_000);
    assert_eq!(status.from_hub.delivered, 50_000_000);
    assert_eq!((status.to_hub.lost, status.from_hub.lost), (0, 0));
}

#[tokio::test]
async fn a_receiver_that_does_not_read_holds_the_sender_back() {
    let mut hub = Hub::start().await;
    let link = WanLink::bind(hub.addr, Duration::ZERO).await.unwrap();
    let (mut leaf, _unread) = pair(&link, &mut hub).await;
    let chunk = vec![0; 1024 * 1024];
    let mut sent = 0;
    while timeout(Duration::from_secs(5), leaf.write_all(&chunk))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 200, "200 MB went in and none came out");
    }
    assert!(sent >= 16, "only {sent} MB were in flight");
}

#[tokio::test]
async fn a_half_closed_connection_goes_on_the_other_way() {
    let mut hub = Hub::start().await;
    let link = WanLink::bind(hub.addr, ONE_WAY).await.unwrap();
    let (mut leaf, mut far) = pair(&link, &mut hub).await;
    leaf.write_all(b"last words").await.unwrap();
    leaf.shutdown().await.unwrap();
    let mut heard = String::new();
    timeout(PATIENCE, far.read_to_string(&mut heard))
        .await
        .expect("the end arrives")
        .unwrap();
    assert_eq!(heard, "last words");
    passes(&mut far, &mut leaf, b"an answer").await;
    drop(far);
    let mut rest = Vec::new();
    timeout(PATIENCE, leaf.read_to_end(&mut rest))
        .await
        .expect("the other end arrives")
        .unwrap();
    assert!(rest.is_empty());
    until(&link, |status| status.open == 0).await;
}

#[tokio::test]
async fn a_cut_both_ways_is_silent_and_a_heal_resets_what_lived_through_it() {
    let mut hub = Hub::start().await;
    let link = WanLink::bind(hub.addr, ONE_WAY).await.unwrap();
    let (mut leaf, mut far) = pair(&link, &mut hub).await;
    passes(&mut leaf, &mut far, b"before").await;
    // In flight when the cut comes: lost.
    link.set_one_way(Duration::from_secs(600));
    leaf.write_all(b"in flight").await.unwrap();
    link.cut(Direction::Both);
    link.set_one_way(ONE_WAY);
    leaf.write_all(b"into the void").await.unwrap();
    far.write_all(b"into the void").await.unwrap();
    gets_nothing(&mut leaf).await;
    gets_nothing(&mut far).await;
    until(&link, |status| {
        (status.to_hub.lost, status.from_hub.lost) == (22, 13)
    })
    .await;
    let status = link.status();
    assert_eq!(status.cut.unwrap().direction, Direction::Both);
    assert!(status.cut.unwrap().since_unix_ms > 1_600_000_000_000);
    assert_eq!(status.open, 1);

    link.heal();
    is_reset(&mut leaf).await;
    is_reset(&mut far).await;
    assert_eq!(link.status().cut, None);
    let (mut leaf, mut far) = pair(&link, &mut hub).await;
    passes(&mut leaf, &mut far, b"after").await;
    passes(&mut far, &mut leaf, b"after").await;
}

#[tokio::test]
async fn a_cut_to_the_hub_leaves_the_way_back_open() {
    let mut hub = Hub::start().await;
    let link = WanLink::bind(hub.addr, Duration::ZERO).await.unwrap();
    let (mut leaf, mut far) = pair(&link, &mut hub).await;
    link.cut(Direction::ToHub);
    leaf.write_all(b"lost").await.unwrap();
    gets_nothing(&mut far).await;
    passes(&mut far, &mut leaf, b"heard").await;
    link.heal();
    is_reset(&mut leaf).await;
    is_reset(&mut far).await;
}

#[tokio::test]
async fn a_cut_from_the_hub_leaves_the_way_there_open() {
    let mut hub = Hub::start().await;
    let link = WanLink::bind(hub.addr, Duration::ZERO).await.unwrap();
    let (mut leaf, mut far) = pair(&link, &mut hub).await;
    link.cut(Direction::FromHub);
    far.write_all(b"lost").await.unwrap();
    gets_nothing(&mut leaf).await;
    passes(&mut leaf, &mut far, b"heard").await;
    link.cut(Direction::ToHub);
    assert_eq!(link.status().cut.unwrap().direction, Direction::Both);
    link.heal();
    is_reset(&mut leaf).await;
    is_reset(&mut far).await;
}

#[tokio::test]
async fn during_a_cut_new_connections_are_accepted_and_get_nothing() {
    let mut hub = Hub::start().await;
    let link = WanLink::bind(hub.addr, Duration::ZERO).await.unwrap();
    for direction in [Direction::Both, Direction::ToHub, Direction::FromHub] {
        link.cut(direction);
        let mut leaf = TcpStream::connect(link.local_addr()).await.unwrap();
        leaf.write_all(b"hello?").await.unwrap();
        gets_nothing(&mut leaf).await;
        hub.gets_nothing().await;
        link.heal();
        is_reset(&mut leaf).await;
    }
    assert_eq!(link.status().swallowed, 3);
    let (mut leaf, mut far) = pair(&link, &mut hub).await;
    passes(&mut leaf, &mut far, b"hello").await;
    assert_eq!(link.status().swallowed, 3);
}

#[tokio::test]
async fn a_cut_shows_although_whoever_comes_says_nothing() {
    let hub = Hub::start().await;
    let link = WanLink::bind(hub.addr, Duration::ZERO).await.unwrap();
    link.cut(Direction::Both);
    // As a leaf node does, which waits for the hub to speak first.
    let _leaf = TcpStream::connect(link.local_addr()).await.unwrap();
    until(&link, |status| status.swallowed == 1).await;
    let status = link.status();
    assert_eq!((status.to_hub.lost, status.from_hub.lost), (0, 0));
}

#[tokio::test]
async fn neither_side_learns_through_a_cut_that_the_other_has_gone() {
    let mut hub = Hub::start().await;
    let link = WanLink::bind(hub.addr, Duration::ZERO).await.unwrap();
    let (leaf, mut far) = pair(&link, &mut hub).await;
    let (mut other_leaf, other_far) = pair(&link, &mut hub).await;
    link.cut(Direction::Both);
    drop(leaf);
    drop(other_far);
    gets_nothing(&mut far).await;
    gets_nothing(&mut other_leaf).await;
    assert_eq!(link.status().open, 2);
    link.heal();
    is_reset(&mut far).await;
    is_reset(&mut other_leaf).await;
    until(&link, |status| status.open == 0).await;
}

#[tokio::test]
async fn attempts_that_were_given_up_during_a_long_cut_do_not_pile_up() {
    let mut hub = Hub::start().await;
    let link = WanLink::bind(hub.addr, Duration::ZERO).await.unwrap();
    let (leaf, far) = pair(&link, &mut hub).await;
    link.cut(Direction::Both);
    for _ in 0..50 {
        drop(TcpStream::connect(link.local_addr()).await.unwrap());
    }
    until(&link, |status| status.open == 1 && status.accepted == 51).await;
    drop((leaf, far));
    until(&link, |status| status.open == 0).await;
}

#[tokio::test]
async fn healing_an_uncut_link_disturbs_nobody() {
    let mut hub = Hub::start().await;
    let link = WanLink::bind(hub.addr, Duration::ZERO).await.unwrap();
    let (mut leaf, mut far) = pair(&link, &mut hub).await;
    link.heal();
    passes(&mut leaf, &mut far, b"still here").await;
}

#[tokio::test]
async fn while_the_hub_is_down_connections_are_closed_and_when_it_is_back_they_pass() {
    let gone = Port::take();
    let link = WanLink::bind(gone.addr, Duration::ZERO).await.unwrap();
    let mut stream = TcpStream::connect(link.local_addr()).await.unwrap();
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    closed.expect("closed").unwrap();
    assert_eq!(link.status().unreachable, 1);

    let _echo = Echo::start_at(gone.addr).await;
    let mut stream = TcpStream::connect(link.local_addr()).await.unwrap();
    round_trip(&mut stream).await;
    assert_eq!(link.status().target, gone.addr);
}

#[tokio::test]
async fn a_hub_that_is_killed_ends_its_connections() {
    let port = Port::take();
    let echo = Echo::start_at(port.addr).await;
    let link = WanLink::bind(port.addr, Duration::ZERO).await.unwrap();
    let mut stream = TcpStream::connect(link.local_addr()).await.unwrap();
    round_trip(&mut stream).await;
    drop(echo);
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("the leaf learns of it")
        .ok();
    drop(stream);
    until(&link, |status| status.open == 0).await;
    let _echo = Echo::start_at(port.addr).await;
    let mut stream = TcpStream::connect(link.local_addr()).await.unwrap();
    round_trip(&mut stream).await;
}

#[tokio::test]
async fn a_reset_by_one_side_reaches_the_other() {
    let mut hub = Hub::start().await;
    let link = WanLink::bind(hub.addr, Duration::ZERO).await.unwrap();
    let (mut leaf, far) = pair(&link, &mut hub).await;
    reset(far);
    is_reset(&mut leaf).await;
    until(&link, |status| status.open == 0).await;
}

#[allow(deprecated, reason = "lingering for no time at all does not block")]
fn reset(stream: TcpStream) {
    stream.set_linger(Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn a_dropped_link_ends_its_connections_and_frees_its_port() {
    let mut hub = Hub::start().await;
    let link = WanLink::bind(hub.addr, Duration::from_secs(600))
        .await
        .unwrap();
    link.set_one_way(Duration::ZERO);
    let addr = link.local_addr();
    let (mut leaf, mut far) = pair(&link, &mut hub).await;
    passes(&mut leaf, &mut far, b"here").await;
    drop(link);
    for stream in [&mut leaf, &mut far] {
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the connection ended");
    }
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_leave_no_task_and_no_descriptor_behind() {
    let echo = Echo::start().await;
    let link = WanLink::bind(echo.addr, Duration::from_millis(1))
        .await
        .unwrap();
    let descriptors = || sockets_to(&[link.local_addr().port(), echo.addr.port()]);
    for round in 0..10 {
        let mut visits = JoinSet::new();
        for _ in 0..100 {
            let addr = link.local_addr();
            visits.spawn(async move {
                let mut stream = TcpStream::connect(addr).await.unwrap();
                round_trip(&mut stream).await;
            });
        }
        while let Some(visit) = visits.join_next().await {
            visit.unwrap();
        }
        if round == 5 {
            link.cut(Direction::Both);
            link.heal();
        }
    }
    until(&link, |status| status.open == 0).await;
    assert_eq!(link.status().accepted, 1000);
    let deadline = Instant::now() + PATIENCE;
    while descriptors() > 0 {
        assert!(
            Instant::now() < deadline,
            "{} sockets are left",
            descriptors()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sockets of this machine that are open and connected to or from these ports, as the kernel lists them.
fn sockets_to(ports: &[u16]) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // States: 01 established, 08 close-wait; time-wait belongs to no descriptor any more.
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| matches!(fields[3], "01" | "08"))
        .filter(|fields| {
            [fields[1], fields[2]].iter().any(|addr| {
                let port = u16::from_str_radix(addr.split(':').nth(1).unwrap(), 16).unwrap();
                ports.contains(&port)
            })
        })
        .count()
}
