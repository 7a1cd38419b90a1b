//! The configuration of the servers in a lattice.

use std::path::Path;

/// JetStream domain of the hub.
pub const HUB_DOMAIN: &str = "hub";

// A server that vanished keeps its subscriptions until pings fail; the defaults take minutes.
// Compression is for networks that are slower than a processor. Payloads are chunked by the
// smallest `max_payload` on the way, so it is the same everywhere.
const COMMON: &str = r#"
host: "127.0.0.1"
ping_interval: "2s"
ping_max: 2
write_deadline: "5s"
max_payload: 1048576
max_pending: 67108864
"#;

/// Configuration of the hub: JetStream and a port for leaf nodes, which it must not advertise: a
/// leaf would otherwise learn the hub's own address and reconnect past its WAN link.
#[must_use]
pub fn hub(port: u16, monitor: u16, leaf_port: u16, store: &Path) -> String {
    format!(
        r#"server_name: "hub"
port: {port}
http: "127.0.0.1:{monitor}"{COMMON}
jetstream {{ domain: "{HUB_DOMAIN}", store_dir: {store:?}, max_memory_store: 256MB, max_file_store: 1GB }}
leafnodes {{ host: "127.0.0.1", port: {leaf_port}, compression: "off", no_advertise: true }}
"#
    )
}

/// Configuration of a region's leaf node, which reaches the hub at `remote_port`.
#[must_use]
pub fn leaf(region: &str, port: u16, monitor: u16, remote_port: u16) -> String {
    format!(
        r#"server_name: "{region}"
port: {port}
http: "127.0.0.1:{monitor}"{COMMON}
leafnodes {{
  reconnect: "1s"
  remotes: [ {{ url: "nats-leaf://127.0.0.1:{remote_port}", compression: "off" }} ]
}}
"#
    )
}

/// Configuration of a region's Valkey: a write is with the kernel before it is acknowledged, so that
/// SIGKILL loses nothing, and nothing is evicted. Not `everysec`: then a write waits in Valkey's own
/// memory while an earlier one is being synced, and 2 of 25 SIGKILLs under full load lost some. Not
/// `always`: then every visit waits for a disk that it shares with compilers, up to seconds. Only
/// the machine's own end may lose the last half minute; production pays for `always`.
#[must_use]
pub fn valkey(port: u16, directory: &Path) -> String {
    format!(
        r#"bind 127.0.0.1
port {port}
dir {directory:?}
appendonly yes
appendfsync no
maxmemory-policy noeviction
save ""
daemonize no
"#
    )
}
