//! A real Valkey server per test: on a free port, in a directory of its own, gone with the test.

#![allow(dead_code)] // every test binary uses its own part of this

pub mod region;

use std::env;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyvalue_valkey::bucket::Buckets;
use keyvalue_valkey::connection::Connection;
use keyvalue_valkey::endpoint::{Credentials, Endpoint};
use keyvalue_valkey::limit::Limits;
use keyvalue_valkey::pool::Pool;
use keyvalue_valkey::{Store, Valkey};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use redis::aio::MultiplexedConnection;
use redis::AsyncConnectionConfig;
use tempfile::TempDir;

/// The program of this name: `$VARIABLE`, the repository's `.tools/bin`, the PATH.
pub fn tool(variable: &str, name: &str) -> PathBuf {
    let local = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../.tools/bin")
        .join(name);
    let on_path = || {
        env::split_paths(&env::var_os("PATH")?)
            .map(|dir| dir.join(name))
            .find(|file| file.is_file())
    };
    env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| local.is_file().then_some(local))
        .or_else(on_path)
        .unwrap_or_else(|| panic!("{name} is neither in ${variable}, nor in .tools/bin, nor on the PATH: run `make setup`"))
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Polls until `holds` is true; fails the test after `limit`.
pub async fn eventually<F: Future<Output = bool>>(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> F,
) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

/// A directory in memory, where there is one: a disk that is busy with a build would hold up a server that syncs.
fn memory() -> TempDir {
    TempDir::new_in("/dev/shm")
        .or_else(|_| TempDir::new())
        .unwrap()
}

/// A `valkey-server` process.
pub struct Server {
    pub port: u16,
    pub dir: TempDir,
    args: Vec<String>,
    child: Option<Child>,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut server = Self {
            port: free_port(),
            dir: memory(),
            args,
            child: None,
        };
        server.revive();
        server
    }

    /// Starts the process (again), on the same port and directory, and waits until it accepts.
    pub fn revive(&mut self) {
        self.revive_with(&[]);
    }

    pub fn revive_with(&mut self, more: &[&str]) {
        assert!(self.child.is_none(), "already running");
        let mut command = Command::new(tool("VALKEY_SERVER", "valkey-server"));
        command
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &self.port.to_string(),
                "--dir",
            ])
            .arg(self.dir.path());
        command
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(&self.args)
            .args(more);
        self.child = Some(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let start = Instant::now();
        while !self.answers() {
            assert!(
                start.elapsed() < region::SOON,
                "valkey-server does not come up"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it speaks at all, be it `NOAUTH` or `LOADING`.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut first = [0];
        stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut first).is_ok()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("not running").id();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: "127.0.0.1".into(),
            port: self.port,
            database: 0,
            tls: None,
            credentials: Credentials::default(),
        }
    }

    /// A connection of the test's own, past everything under test. It is patient, as the machine may be busy.
    pub async fn admin(&self) -> MultiplexedConnection {
        let patient = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(region::SOON))
            .set_response_timeout(Some(region::SOON));
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let admin = client.get_multiplexed_async_connection_with_config(&patient);
        admin.await.unwrap()
    }

    /// A store with default buckets, bounds and deadline, connected.
    pub async fn store(&self) -> Store<Valkey> {
        store(&connected(self.endpoint()).await)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Of a call; long, as a busy machine is no reason to fail.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// A connection that is usable.
pub async fn connected(endpoint: Endpoint) -> Arc<Connection> {
    let connection = Pool::default().connection(endpoint).unwrap();
    usable(&connection).await;
    connection
}

pub async fn usable(connection: &Connection) -> Duration {
    eventually("usable connection", region::SOON, || async {
        connection.fault().is_none()
    })
    .await
}

pub async fn unusable(connection: &Connection) -> Duration {
    eventually("unusable connection", region::SOON, || async {
        connection.fault().is_some()
    })
    .await
}

pub fn store(connection: &Arc<Connection>) -> Store<Valkey> {
    Store::new(
        Valkey::new(connection.clone(), DEADLINE),
        Buckets::default(),
        Limits::DEFAULT,
    )
}
