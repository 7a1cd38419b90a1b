//! The Kubernetes API over TLS, as in a cluster: trusted by the service account's authority and
//! by no other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use provider_harness::metadata::get_until;
use provider_harness::{command, eventually, link, Host, HttpServer, NatsServer, Process, Reply};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const NODE: &str = r#"{"metadata":{"labels":{"topology.kubernetes.io/region":"eu-west-1"}}}"#;

/// A certificate for `localhost`, and the authority that signed it.
struct Identity {
    authority: String,
    acceptor: TlsAcceptor,
}

fn identity() -> Identity {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = authority.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority, &authority_key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    Identity {
        authority: authority.pem(),
        acceptor: TlsAcceptor::from(Arc::new(config)),
    }
}

/// Takes TLS off and passes on to `plain`. Returns the port.
async fn terminate(acceptor: TlsAcceptor, plain: &HttpServer) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = plain.url().trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                let mut outside = acceptor.accept(stream).await?;
                let mut inside = TcpStream::connect(target).await?;
                tokio::io::copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    port
}

/// A provider in a pod whose service account trusts `authority`.
async fn start(
    nats: &NatsServer,
    port: u16,
    authority: &str,
) -> (Host, Process, tempfile::TempDir) {
    let account = tempfile::tempdir().unwrap();
    std::fs::write(account.path().join("token"), "sesame").unwrap();
    std::fs::write(account.path().join("namespace"), "demo").unwrap();
    std::fs::write(account.path().join("ca.crt"), authority).unwrap();
    let host = Host::new(nats, "NHOST", "VKIND")
        .await
        .unwrap()
        .with_link(link("hello", "default", []))
        .with_config([
            (
                "kubernetes_api",
                format!("https://localhost:{port}").as_str(),
            ),
            ("service_account_dir", account.path().to_str().unwrap()),
        ]);
    let labels = [("kubernetes_node_name", "node-7"), ("region", "iad")];
    host.answer_inventory(labels).await.unwrap();
    let provider = Process::start(command(env!("CARGO_BIN_EXE_kind-metadata")), &host);
    let provider = provider.await.unwrap();
    (host, provider, account)
}

async fn api() -> HttpServer {
    HttpServer::start(|request| match request.uri().path() {
        "/api/v1/nodes/node-7" => Reply::ok(NODE),
        _ => Reply::status(404),
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn the_clusters_own_authority_is_trusted() {
    let nats = NatsServer::start().await.unwrap();
    let (api, identity) = (api().await, identity());
    let port = terminate(identity.acceptor, &api).await;
    let (host, _provider, _account) = start(&nats, port, &identity.authority).await;
    let metadata = get_until(&host, Result::is_ok).await.unwrap().unwrap();
    assert_eq!(metadata.region.code, "eu-west-1");
    assert_eq!(metadata.instance_id, "node-7");
}

#[tokio::test]
async fn another_authority_gets_no_token() {
    let nats = NatsServer::start().await.unwrap();
    let (api, served, trusted) = (api().await, identity(), identity());
    let port = terminate(served.acceptor, &api).await;
    let (host, provider, _account) = start(&nats, port, &trusted.authority).await;
    let metadata = get_until(&host, Result::is_ok).await.unwrap().unwrap();
    assert_eq!(metadata.region.code, "iad");
    eventually(Duration::from_secs(20), || async {
        let said = host.health().await?.message.unwrap_or_default();
        anyhow::ensure!(said.contains("certificate"), "{said}");
        Ok(())
    })
    .await
    .unwrap();
    assert!(!provider.log().contains("sesame"));
}
