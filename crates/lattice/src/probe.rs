//! Looking from outside whether something works.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::error::Error;

/// The most that is read of an answer.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// The address of `port` on this machine's loopback.
#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Asks `check` every 50 ms until it says `Ok`, and gives its answer.
///
/// # Errors
///
/// It did not within `deadline`; the error repeats what `check` said last.
pub async fn until<T, F>(
    what: &str,
    deadline: Duration,
    mut check: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, String>>,
{
    let started = Instant::now();
    let mut last = String::new();
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        match timeout(left, check()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(said)) => last = said,
            Err(_) => {}
        }
        if started.elapsed() >= deadline {
            return Err(Error::NotReady {
                what: what.to_owned(),
                seconds: deadline.as_secs(),
                last,
            });
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether somebody accepts connections at `port`.
///
/// # Errors
///
/// Nobody does; the text says why.
pub async fn accepts(port: u16) -> Result<(), String> {
    match TcpStream::connect(loopback(port)).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("127.0.0.1:{port}: {error}")),
    }
}

/// `GET path` from `port`, on a connection of its own: status and body.
///
/// # Errors
///
/// There was no whole answer within `deadline`; the text says why.
pub async fn get(port: u16, path: &str, deadline: Duration) -> Result<(u16, Bytes), String> {
    let fetch = async {
        let stream = TcpStream::connect(loopback(port)).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the sender, so within the deadline.
        let connection = tokio::spawn(connection);
        let request = http::Request::get(path)
            .header(http::header::HOST, format!("127.0.0.1:{port}"))
            .header(http::header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_LIMIT)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!(error))?
            .to_bytes();
        drop(sender);
        connection.abort();
        Ok::<_, anyhow::Error>((status, body))
    };
    match timeout(deadline, fetch).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("127.0.0.1:{port}{path}: {error:#}")),
        Err(_) => Err(format!(
            "127.0.0.1:{port}{path}: no answer in {} ms",
            deadline.as_millis()
        )),
    }
}
