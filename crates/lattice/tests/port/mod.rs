//! A port of one's own.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A port of 127.0.0.1 that is given to nobody else while this lives. Bound without listening, it refuses connections
/// unless a server listens on it as well.
#[derive(Debug)]
pub struct Port {
    pub addr: SocketAddr,
    _bound: TcpSocket,
}

impl Port {
    pub fn take() -> Self {
        let bound = TcpSocket::new_v4().unwrap();
        // So that a server, which sets this too, can bind it beside us.
        bound.set_reuseaddr(true).unwrap();
        bound.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self {
            addr: bound.local_addr().unwrap(),
            _bound: bound,
        }
    }
}
