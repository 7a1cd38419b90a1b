//! Serves the page natively with made-up visits, to look at it while working on it:
//! `cargo run -p cloud-hello --example preview -- 127.0.0.1:8080 iad`.
//!
//! A third argument `empty` starts without visits and replication, `odd` with keys, values and a
//! replication status nobody expects.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/fake/mod.rs"]
mod fake;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use cloud_hello::http::{Method, Request, Response};
use cloud_hello::route;
use fake::FakeHost;

const VISITS: &[(&str, u64)] = &[
    ("visits:v1:iad:chrome:windows", 1_284),
    ("visits:v1:iad:safari:macos", 611),
    ("visits:v1:iad:firefox:linux", 87),
    ("visits:v1:fra:firefox:linux", 702),
    ("visits:v1:fra:chrome:android", 340),
    ("visits:v1:fra:edge:windows", 95),
    ("visits:v1:sin:chrome:android", 418),
    ("visits:v1:sin:samsung-internet:android", 77),
    ("visits:v1:syd:safari:ios", 203),
    ("visits:v1:gru:opera:windows", 131),
    ("visits:v1:lhr:safari:macos", 66),
    ("visits:v1:nrt:chrome:chromeos", 39),
    ("visits:v1:kind:curl:other", 12),
    ("visits:v1:ord:bot:other", 8),
];

/// As seen by the serving region; `@` stands for its code.
const STATUS: &str = r#"{
  "region": "@", "group": "default", "phase": "ready", "behind_operations": 0, "behind_ms": 0,
  "peers": [
    { "region": "fra", "live": true, "behind_operations": 0, "silent_ms": 310, "digest_equal": true, "received_bytes": 81734 },
    { "region": "sin", "live": true, "behind_operations": 3, "behind_ms": 740, "silent_ms": 720, "digest_equal": true, "received_bytes": 40961 },
    { "region": "syd", "live": false, "behind_operations": 1204, "behind_ms": 92800, "silent_ms": 93021, "digest_equal": true, "received_bytes": 1961 },
    { "region": "gru", "live": false, "evicted": true, "behind_operations": 60211, "silent_ms": 700000000, "digest_equal": null },
    { "region": "nrt", "live": true, "behind_operations": 0, "silent_ms": 480, "digest_equal": false }
  ],
  "ahead": ["visits:v1:sin:firefox:linux"], "conflict_count": 2, "sent_bytes": 1234567, "conflicts": []
}"#;

/// Text where none is expected, in every place that takes text.
const ODD_STATUS: &str = r#"{
  "region": "<b>", "group": "<script>", "phase": "</script>", "behind_operations": 18446744073709551615,
  "peers": [{ "region": "<img/src=x>", "live": true, "behind_operations": 9007199254740993 },
            { "region": "<script>", "live": false, "behind_operations": 0 }],
  "ahead": ["<script>alert(1)</script>"], "sent_bytes": 18446744073709551615
}"#;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let region = arguments.next().unwrap_or_else(|| "iad".to_owned());
    let mut host = FakeHost::in_region(&region);
    if let Ok(serving) = &mut host.metadata {
        serving.name = "Ashburn, Virginia (US)".to_owned();
        serving.instance = "e286de4f711e86".to_owned();
        serving.platform = "fly.io".to_owned();
    }
    match arguments.next().as_deref() {
        Some("empty") => {}
        Some("odd") => fill_oddly(&mut host),
        _ => {
            host.status = Ok(Some(STATUS.replace('@', &region).into()));
            for (key, visits) in VISITS {
                host.store.put(key, visits.to_string());
            }
        }
    }
    let host = Mutex::new(host);
    let listener = TcpListener::bind(&address).expect("failed to listen");
    println!("http://{}/", listener.local_addr().expect("no address"));
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            let host = &host;
            scope.spawn(move || serve(stream, host));
        }
    });
}

fn fill_oddly(host: &mut FakeHost) {
    host.status = Ok(Some(ODD_STATUS.into()));
    host.store.more = true;
    host.store.put("visits:v1:iad:chrome:linux", "banana");
    host.store
        .put("visits:v1:%3Cscript%3E:chrome:linux", u64::MAX.to_string());
    host.store.put(
        &format!("visits:v1:{}:edge:windows", "long".repeat(16)),
        "5",
    );
    for number in 0..200 {
        host.store
            .put(&format!("visits:v1:region-{number}:edge:windows"), "3");
    }
}

/// One request per connection is plenty for a person with a browser.
fn serve(mut stream: TcpStream, host: &Mutex<FakeHost>) {
    let mut lines = BufReader::new(stream.try_clone().expect("failed to clone")).take(1 << 16);
    let mut first = String::new();
    if lines.read_line(&mut first).is_err() {
        return;
    }
    let (mut user_agent, mut if_none_match) = (String::new(), String::new());
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|read| read > 2) {
        if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "user-agent" => user_agent = value.trim().to_owned(),
                "if-none-match" => if_none_match = value.trim().to_owned(),
                _ => {}
            }
        }
        line.clear();
    }
    let mut words = first.split(' ');
    let method = match words.next() {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        _ => Method::Other,
    };
    let request = Request {
        method,
        path_with_query: words.next().unwrap_or_default(),
        user_agent: user_agent.as_bytes(),
        if_none_match: if_none_match.as_bytes(),
    };
    let response = route::respond(&mut *host.lock().expect("poisoned"), &request);
    let _ = write(&mut stream, &response);
}

fn write(stream: &mut TcpStream, response: &Response) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {} -\r\nconnection: close\r\n",
        response.status
    )?;
    for (name, value) in &response.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(stream, "content-length: {}\r\n\r\n", response.body.len())?;
    if response.send_body {
        stream.write_all(&response.body)?;
    }
    stream.flush()
}
