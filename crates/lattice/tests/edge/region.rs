//! A region's HTTP server that misbehaves on demand, and a visitor.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::port::Port;

/// Longer than any deadline of an edge here.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a region does with a request.
#[derive(Debug, Clone)]
pub enum Mode {
    /// 200, `page from CODE`, kept alive.
    Page,
    /// The page, after a while.
    Slow(Duration),
    /// This status and a body that names it.
    Status(u16),
    /// Closes without a word.
    Empty,
    /// Resets the connection.
    Reset,
    /// Never answers.
    Hang,
    /// Says something that is not HTTP.
    Garbage,
    /// Promises more than it sends, then closes.
    Truncated,
    /// This many chunks of four bytes, this far apart.
    Drip(usize, Duration),
    /// One chunk, then silence.
    Silence,
    /// A page of this many bytes.
    Big(usize),
    /// Answers the first request of a connection and resets at the second.
    ResetSecond,
}

#[derive(Debug)]
pub struct Region {
    pub code: &'static str,
    pub addr: SocketAddr,
    port: Port,
    state: Arc<State>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct State {
    code: &'static str,
    mode: Mutex<Mode>,
    health: Mutex<Mode>,
    hits: AtomicU64,
    seen: Mutex<Vec<Seen>>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

impl Seen {
    /// The head with bytes that are not UTF-8 replaced, in lower case.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.head).to_lowercase()
    }
}

impl Region {
    pub async fn start(code: &'static str, mode: Mode) -> Self {
        Self::start_at(code, mode, Port::take()).await
    }

    pub async fn start_at(code: &'static str, mode: Mode, port: Port) -> Self {
        let addr = port.addr;
        let listener = TcpListener::bind(addr).await.unwrap();
        let state = Arc::new(State {
            code,
            mode: Mutex::new(mode),
            health: Mutex::new(Mode::Page),
            hits: AtomicU64::new(0),
            seen: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(converse(stream, Arc::clone(&serving)));
            }
        });
        Self {
            code,
            addr,
            port,
            state,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Ends it and leaves its port, which refuses connections from now on.
    pub fn die(self) -> Port {
        self.port
    }

    pub fn set(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
    }

    pub fn set_health(&self, mode: Mode) {
        *self.state.health.lock().unwrap() = mode;
    }

    /// Requests seen, health checks not counted.
    pub fn hits(&self) -> u64 {
        self.state.hits.load(Ordering::SeqCst)
    }

    pub async fn until_hits(&self, count: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.hits() < count {
            assert!(Instant::now() < deadline, "still {} hits", self.hits());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub fn last_seen(&self) -> Seen {
        self.state.seen.lock().unwrap().last().unwrap().clone()
    }
}

async fn converse(mut stream: TcpStream, state: Arc<State>) {
    let mut buffer = Vec::new();
    let mut answered = 0;
    while let Some(seen) = read_request(&mut stream, &mut buffer).await {
        let is_check = seen.head.starts_with(b"GET /health ");
        let is_head = seen.head.starts_with(b"HEAD ");
        let mode = if is_check {
            state.health.lock().unwrap().clone()
        } else {
            state.hits.fetch_add(1, Ordering::SeqCst);
            state.seen.lock().unwrap().push(seen);
            state.mode.lock().unwrap().clone()
        };
        answered += 1;
        let page = format!("page from {}", state.code);
        let written = match mode {
            Mode::Page => answer(&mut stream, 200, &page, is_head).await,
            Mode::Slow(pause) => {
                tokio::time::sleep(pause).await;
                answer(&mut stream, 200, &page, is_head).await
            }
            Mode::Status(status) => {
                answer(&mut stream, status, &format!("status {status}"), is_head).await
            }
            Mode::Empty => return,
            Mode::Reset => return reset(stream),
            Mode::ResetSecond if answered > 1 => return reset(stream),
            Mode::ResetSecond => answer(&mut stream, 200, &page, is_head).await,
            Mode::Hang => std::future::pending().await,
            Mode::Garbage => {
                let _ = stream.write_all(b"SSH-2.0-no\r\n\r\n").await;
                return;
            }
            Mode::Truncated => {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
                    .await;
                return;
            }
            Mode::Drip(chunks, pause) => drip(&mut stream, chunks, pause).await,
            Mode::Silence => {
                let _ = stream
                    .write_all(
                        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nword\r\n",
                    )
                    .await;
                std::future::pending().await
            }
            Mode::Big(bytes) => answer(&mut stream, 200, &"x".repeat(bytes), is_head).await,
        };
        if written.is_err() {
            return;
        }
    }
}

async fn answer(
    stream: &mut TcpStream,
    status: u16,
    body: &str,
    is_head: bool,
) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\nkeep-alive: timeout=5\r\nx-served-by: liar\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if !is_head {
        stream.write_all(body.as_bytes()).await?;
    }
    Ok(())
}

async fn drip(stream: &mut TcpStream, chunks: usize, pause: Duration) -> std::io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    for _ in 0..chunks {
        tokio::time::sleep(pause).await;
        stream.write_all(b"4\r\ndrip\r\n").await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}

#[allow(deprecated, reason = "lingering for no time at all does not block")]
fn reset(stream: TcpStream) {
    stream.set_linger(Some(Duration::ZERO)).unwrap();
}

/// Reads one request: `None` when the connection ends first.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, buffer).await?;
    };
    let head: Vec<u8> = buffer.drain(..end).collect();
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse().unwrap());
    let end = if text.contains("transfer-encoding: chunked") {
        loop {
            if let Some(at) = find(buffer, b"0\r\n\r\n") {
                break at + 5;
            }
            more(stream, buffer).await?;
        }
    } else {
        while buffer.len() < length {
            more(stream, buffer).await?;
        }
        length
    };
    let body = buffer.drain(..end).collect();
    Some(Seen { head, body })
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    match stream.read_buf(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(()),
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// An answer as a visitor gets it.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Until the head was there.
    pub head_after: Duration,
    /// The body ended as promised.
    pub complete: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub async fn get(edge: SocketAddr) -> Reply {
    send(edge, request("GET", &[], "")).await
}

pub fn request(method: &str, headers: &[(&str, &[u8])], body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri("/some/path?a=b%20c")
        .header("host", "demo.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

/// Sends a request on a new connection.
pub async fn send<B>(edge: SocketAddr, request: Request<B>) -> Reply
where
    B: hyper::body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let stream = TcpStream::connect(edge).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let _connection = AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let began = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, sender.send_request(request));
    let answer = answer.await.expect("an answer").unwrap();
    let head_after = began.elapsed();
    let (head, mut body) = answer.into_parts();
    let mut bytes = Vec::new();
    let complete = loop {
        match body.frame().await {
            None => break true,
            Some(Err(_)) => break false,
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
        }
    };
    Reply {
        status: head.status,
        headers: head.headers,
        body: bytes.into(),
        head_after,
        complete,
    }
}

/// Sends bytes as they are and returns all that comes back until the edge closes.
pub async fn send_raw(edge: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(edge).await.unwrap();
    // The edge may reset a connection whose input it did not read to the end, even while this writes: what it answered
    // is there all the same.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
    let _ = read.await.expect("the edge closes");
    String::from_utf8_lossy(&answer).into_owned()
}
