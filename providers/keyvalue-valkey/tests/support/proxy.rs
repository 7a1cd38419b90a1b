//! A TCP proxy between the provider and its Valkey that can lose replies, or speak TLS.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::ServerConfig;
use tokio::io::{copy_bidirectional, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// Forwards to a port until dropped.
pub struct Proxy {
    pub port: u16,
    /// When set, the next command that contains the trigger is passed on, its reply is not, and the
    /// connection is closed instead.
    pub armed: Arc<AtomicBool>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Loses the reply to a command that contains `trigger`, once armed.
    pub async fn losing_the_reply_to(trigger: &'static str, target: u16) -> Self {
        let armed = Arc::new(AtomicBool::new(false));
        let flag = armed.clone();
        let (port, task) = listen(move |client| {
            let flag = flag.clone();
            async move {
                let server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                relay(client, server, trigger.as_bytes(), &flag).await
            }
        })
        .await;
        Self {
            port,
            armed,
            _task: task,
        }
    }

    /// Speaks TLS to clients, with a certificate for `localhost`; its PEM is returned too.
    pub async fn tls(target: u16) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap();
        let config =
            ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key)
                .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (port, task) = listen(move |client| {
            let acceptor = acceptor.clone();
            async move {
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(("127.0.0.1", target)).await?;
                copy_bidirectional(&mut client, &mut server)
                    .await
                    .map(|_| ())
            }
        })
        .await;
        (
            Self {
                port,
                armed: Arc::default(),
                _task: task,
            },
            made.cert.pem(),
        )
    }
}

async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (u16, AbortOnDropHandle<()>)
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut clients = tokio::task::JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            clients.spawn(serve(client));
        }
    });
    (port, AbortOnDropHandle::new(task))
}

async fn relay(
    client: impl AsyncRead + AsyncWrite,
    server: impl AsyncRead + AsyncWrite,
    trigger: &[u8],
    armed: &AtomicBool,
) -> std::io::Result<()> {
    let (client_read, mut client_write) = tokio::io::split(client);
    let (server_read, mut server_write) = tokio::io::split(server);
    tokio::pin!(client_read, server_read);
    let (mut request, mut reply) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            n = client_read.read(&mut request) => {
                let n = n?;
                server_write.write_all(&request[..n]).await?;
                let hit = request[..n].windows(trigger.len()).any(|window| window == trigger);
                if n == 0 || hit && armed.swap(false, Ordering::SeqCst) {
                    // Wait until the server has done it; nobody will know.
                    let _ = server_read.read(&mut reply).await?;
                    return Ok(());
                }
            }
            n = server_read.read(&mut reply) => {
                let n = n?;
                if n == 0 {
                    return Ok(());
                }
                client_write.write_all(&reply[..n]).await?;
            }
        }
    }
}
