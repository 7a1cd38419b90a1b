//! The provider as a process, started and called the way a wasmCloud host does it.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use base64::Engine as _;
use nkeys::XKey;
use tempfile::TempDir;
use wasmcloud_provider_sdk::core::secrets::SecretValue;
use wasmcloud_provider_sdk::{HealthCheckResponse, HostData, InterfaceLinkDefinition};

use crate::support::{eventually, free_port, tool};

const LATTICE: &str = "test";
const PROVIDER: &str = "VKEYVALUE";

/// A `nats-server` process.
pub struct Nats {
    pub port: u16,
    child: Child,
}

impl Nats {
    pub fn start() -> Self {
        let port = free_port();
        let mut command = Command::new(tool("NATS_SERVER", "nats-server"));
        command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "nats-server does not come up"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { port, child }
    }

    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(format!("127.0.0.1:{}", self.port))
            .await
            .unwrap()
    }

    /// A wRPC client of the provider, whichever instance answers.
    pub async fn wrpc(&self) -> wrpc_transport_nats::Client {
        wrpc_transport_nats::Client::new(self.client().await, format!("{LATTICE}.{PROVIDER}"), None)
            .await
            .unwrap()
    }

    pub async fn health(&self) -> HealthCheckResponse {
        let subject = format!("wasmbus.rpc.{LATTICE}.{PROVIDER}.health");
        let reply = self
            .client()
            .await
            .request(subject, "{}".into())
            .await
            .unwrap();
        serde_json::from_slice(&reply.payload).unwrap()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Headers of a call from a component.
pub fn from(component: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert("source-id", component);
    headers.insert("link-name", "default");
    Some(headers)
}

/// What a link says.
#[derive(Default)]
pub struct Link {
    pub component: &'static str,
    pub config: HashMap<String, String>,
    pub secrets: HashMap<String, SecretValue>,
}

impl Link {
    pub fn new(component: &'static str, url: &str) -> Self {
        let config = [("url".to_owned(), url.to_owned())].into();
        Self {
            component,
            config,
            ..Self::default()
        }
    }

    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    pub fn secret(mut self, key: &str, value: &str) -> Self {
        self.secrets
            .insert(key.into(), SecretValue::String(value.into()));
        self
    }
}

/// A provider process.
pub struct ProviderProcess {
    child: Child,
    output: PathBuf,
    _dir: TempDir,
}

impl ProviderProcess {
    /// Starts it with links; `label_valkey` becomes the host label `valkey`.
    pub fn start(nats: &Nats, links: Vec<Link>, label_valkey: &str) -> Self {
        let (host, provider) = (XKey::new(), XKey::new());
        let sealed = |secrets: HashMap<String, SecretValue>| {
            (!secrets.is_empty()).then(|| {
                host.seal(&serde_json::to_vec(&secrets).unwrap(), &provider)
                    .unwrap()
            })
        };
        let link_definitions = links.into_iter().map(|link| InterfaceLinkDefinition {
            source_id: link.component.into(),
            target: PROVIDER.into(),
            name: "default".into(),
            wit_namespace: "wasi".into(),
            wit_package: "keyvalue".into(),
            interfaces: vec!["store".into(), "atomics".into(), "batch".into()],
            target_config: link.config,
            target_secrets: sealed(link.secrets),
            ..InterfaceLinkDefinition::default()
        });
        let data = HostData {
            host_id: "NHOST".into(),
            lattice_rpc_prefix: LATTICE.into(),
            lattice_rpc_url: format!("nats://127.0.0.1:{}", nats.port),
            provider_key: PROVIDER.into(),
            link_definitions: link_definitions.collect(),
            host_xkey_public_key: host.public_key(),
            provider_xkey_private_key: provider.seed().unwrap(),
            ..HostData::default()
        };
        let dir = TempDir::new().unwrap();
        let output = dir.path().join("output");
        let file = std::fs::File::create(&output).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_keyvalue-valkey"))
            .env_clear()
            .env("RUST_LOG", "trace")
            .env("OTEL_RESOURCE_ATTRIBUTES", format!("valkey={label_valkey}"))
            .stdin(Stdio::piped())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let line =
            base64::engine::general_purpose::STANDARD.encode(serde_json::to_vec(&data).unwrap());
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
        Self {
            child,
            output,
            _dir: dir,
        }
    }

    /// All it has written so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap()).into_owned()
    }

    pub async fn says(&self, text: &str) {
        eventually(text, Duration::from_secs(20), || async {
            self.output().contains(text)
        })
        .await;
    }
}

impl Drop for ProviderProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let start = output.len().saturating_sub(6000);
            eprintln!("--- provider:\n{}", output.get(start..).unwrap_or(&output));
        }
    }
}
