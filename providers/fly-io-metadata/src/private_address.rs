//! This Machine's own address in the private network.

use std::net::IpAddr;
use std::path::Path;

use tokio::io::AsyncReadExt as _;

/// Where Fly writes it, unless the config says otherwise.
pub const HOSTS_FILE: &str = "/etc/hosts";
/// The name it writes it under.
const NAME: &str = "fly-local-6pn";
const MAX_FILE: u64 = 1 << 20;

/// Reads it, if it is there.
pub async fn read(hosts_file: &Path) -> Option<IpAddr> {
    let file = tokio::fs::File::open(hosts_file).await.ok()?;
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).await.ok()?;
    find(&text)
}

fn find(hosts: &str) -> Option<IpAddr> {
    hosts.lines().find_map(|line| {
        let line = line.split('#').next()?;
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name == NAME).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_stands_beside_its_name() {
        let hosts = "127.0.0.1 localhost\n# ::2 fly-local-6pn\n\
                     fdaa:0:18:a7b:2809:1:7:2\tfly-local-6pn other\n";
        assert_eq!(
            find(hosts),
            Some("fdaa:0:18:a7b:2809:1:7:2".parse().unwrap())
        );
        assert_eq!(find("::1 localhost\nbroken fly-local-6pn\n"), None);
    }
}
