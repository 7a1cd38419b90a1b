//! Visitors and neighbours in the store who mean no good, or know no better.

use e2e::stage::Running;
use redis::aio::MultiplexedConnection;
use redis::Cmd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::STAGE;

#[test]
fn a_hostile_user_agent_is_counted_once_and_shown_nowhere() {
    STAGE.play(async |running| {
        let long = vec![b'x'; 64 * 1024];
        let agents: [&[u8]; 4] = [
            b"<script>alert(1)</script>",
            b"\"><img src=x onerror=alert(1)>",
            b"\xff\xfe\x80 Firefox/1 \xc3\x28",
            &long,
        ];
        let start = running.counts().await.visits;
        let mut attempts = 0;
        for agent in agents {
            let before = running.counts().await;
            let (head, body) = request(running, "sin", agent).await;
            let shown = String::from_utf8_lossy(&agent[..agent.len().min(40)]).into_owned();
            assert!(head.starts_with("HTTP/1.1 200"), "{shown}: {head}");
            assert!(
                head.to_ascii_lowercase()
                    .contains("content-security-policy:"),
                "{head}"
            );
            for sign in ["alert(1)", "onerror", "\u{fffd}", "xxxxxxxx"] {
                assert!(!body.contains(sign), "{shown}: the page shows {sign}");
            }
            let after = running.counts().await;
            // Not sin, if the edge had to ask another region.
            let by = header(&head, "x-served-by");
            assert!(after.of(by) > before.of(by), "{shown}: {head}");
            // Of all so far: an attempt whose answer nobody waited for may count later.
            attempts += header(&head, "x-edge-attempts").parse::<u64>().unwrap();
            assert!(after.visits - start <= attempts, "{shown}: {head}");
            after.adds_up();
        }
    });
}

#[test]
fn keys_that_are_not_ours_change_no_sum() {
    STAGE.play(async |running| {
        let before = running.counts().await;
        let mut stores = Stores::of(running).await;
        let foreign: [(&[u8], &[u8]); 8] = [
            (b"todo:1", b"12"),
            (b"visits", b"1000"),
            (b"visits:v2:iad:firefox:linux", b"1000"),
            (b"visits:v1:iad:netscape:linux", b"1000"),
            (b"visits:v1:<script>:firefox:linux", b"1000"),
            (b"visits:v1:%69ad:firefox:linux", b"1000"),
            (b"\xff\xfe\x00", b"\xff"),
            (b"", b"1000"),
        ];
        for (key, value) in foreign {
            stores.run(&Cmd::set(key, value)).await;
        }
        let hash = Cmd::hset("someone:else", "field", "value");
        stores.run(&hash).await;
        let after = running.counts().await;
        assert_eq!(after.by_region(), before.by_region());
        assert_eq!(after.unreadable, 0);
        let page = running.visit("fra", "curl/8").await;
        assert!(!page.html.contains("<script>:"), "{}", page.html);
        for (key, _) in foreign {
            stores.run(&Cmd::del(key)).await;
        }
        stores.run(&Cmd::del("someone:else")).await;
    });
}

#[test]
fn counters_that_are_not_numbers_are_named_and_in_no_sum() {
    STAGE.play(async |running| {
        let before = running.counts().await;
        let mut stores = Stores::of(running).await;
        let broken: [(&str, &[u8]); 5] = [
            ("visits:v1:lhr:opera:macos", b"banana"),
            ("visits:v1:nrt:opera:macos", b"-5"),
            ("visits:v1:syd:opera:macos", b"99999999999999999999999999"),
            ("visits:v1:gru:opera:macos", b"\xff\xfe"),
            ("visits:v1:ams:opera:macos", b""),
        ];
        for (key, value) in broken {
            stores.run(&Cmd::set(key, value)).await;
        }
        let after = running.counts().await;
        assert_eq!((after.visits, after.unreadable), (before.visits, 5));
        let page = running.visit("iad", "curl/8").await;
        let notice = "id=\"notice-unreadable\" class=\"notice\" data-count=\"5\">";
        assert!(page.html.contains(notice), "{}", page.html);
        for (key, _) in broken {
            stores.run(&Cmd::del(key)).await;
        }

        // One that is not even a string, where a counter would be.
        let list = Cmd::rpush("visits:v1:mad:opera:macos", "1");
        stores.run(&list).await;
        let listed = running.counts().await;
        assert!(
            page.explains(listed.visits - before.visits),
            "the visit above and nothing else"
        );
        stores.run(&Cmd::del("visits:v1:mad:opera:macos")).await;
    });
}

#[test]
fn two_thousand_counters_are_summed_correctly() {
    STAGE.play(async |running| {
        let before = running.counts().await;
        let mut stores = Stores::of(running).await;
        let strangers = Strangers::add(&mut stores, 2_000).await;
        for region in running.regions() {
            let after = running.told(&region).await;
            assert!(!after.at_least, "nothing was left out");
            assert_eq!(after.visits, before.visits + 2_000 * 2_001 / 2, "{region}");
            after.adds_up();
        }
        let mut attempts = 0;
        for region in running.regions() {
            let page = running.visit(&region, "curl/8").await;
            assert!(page.html.contains("data-region=\"x2000\""), "{region}");
            assert!(page.html.ends_with("</html>\n"), "{region}");
            attempts += page.attempts;
        }
        strangers.remove(&mut stores).await;
        let grown = running.counts().await.visits - before.visits;
        assert!(
            (3..=attempts).contains(&grown),
            "{grown} visits in {attempts} attempts"
        );
    });
}

/// Counters of regions that do not exist: the first has one visit, the second two, and so on.
pub struct Strangers(Vec<String>);

impl Strangers {
    pub async fn add(stores: &mut Stores, many: usize) -> Self {
        let keys: Vec<String> = (1..=many)
            .map(|number| format!("visits:v1:x{number}:firefox:linux"))
            .collect();
        let pairs: Vec<(&String, usize)> = keys.iter().zip(1..).collect();
        stores.run(&Cmd::mset(&pairs)).await;
        Self(keys)
    }

    pub async fn remove(self, stores: &mut Stores) {
        stores.run(&Cmd::del(self.0)).await;
    }
}

/// Connections to every region's Valkey, behind the providers' backs: nothing of it replicates.
pub struct Stores(Vec<MultiplexedConnection>);

impl Stores {
    pub async fn of(running: &Running) -> Self {
        let mut connections = Vec::new();
        for port in running.store_ports() {
            connections.push(chaos::observer::connect(port).await.unwrap());
        }
        Self(connections)
    }

    /// Does the same in each.
    pub async fn run(&mut self, command: &Cmd) {
        for connection in &mut self.0 {
            let () = command.exec_async(connection).await.unwrap();
        }
    }
}

/// The value of an answer's header.
fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(": ");
    let found = head.lines().find_map(value);
    found.unwrap_or_else(|| panic!("no {name} in {head}"))
}

/// `GET /` with any bytes as the user agent, which no HTTP client would send.
async fn request(running: &Running, region: &str, agent: &[u8]) -> (String, String) {
    let address = running.lattice.url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let mut request = format!(
        "GET / HTTP/1.1\r\nhost: {address}\r\nx-home-region: {region}\r\nconnection: close\r\nuser-agent: "
    )
    .into_bytes();
    request.extend_from_slice(agent);
    request.extend_from_slice(b"\r\n\r\n");
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}
