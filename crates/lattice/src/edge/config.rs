//! What an edge is told at start.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderValue;

use super::EdgeError;

/// A region the edge can send visitors to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Region code, such as `fra`; unique within an edge.
    pub region: String,
    /// Where the region's HTTP server listens.
    pub addr: SocketAddr,
}

/// Configuration of an [`Edge`](super::Edge). [`EdgeConfig::new`] gives the defaults named at each field.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Regions in configured order: the first is home to a visitor who names none.
    pub upstreams: Vec<Upstream>,
    /// How long the first attempt runs before another region is asked too: 700 ms. A region that is known to be
    /// slower gets longer, up to half the deadline; later attempts get less.
    pub attempt_timeout: Duration,
    /// From the last byte of the request to the head of the response, over all attempts: 1.8 s.
    pub deadline: Duration,
    /// How often a region may be asked for one request: 2.
    pub rounds: usize,
    /// Pause before a region is asked again: 100 ms.
    pub round_pause: Duration,
    /// The active health check.
    pub health: HealthCheck,
    /// Bounds on what a visitor or an upstream may take.
    pub limits: Limits,
}

/// The active health check: `GET path` on every upstream, on a fresh connection; any 2xx is good. One good check
/// marks a region healthy.
#[derive(Debug, Clone)]
pub struct HealthCheck {
    /// Path asked for: `/health`.
    pub path: String,
    /// Time between checks: 1 s.
    pub interval: Duration,
    /// Bound on one check: 800 ms.
    pub timeout: Duration,
    /// Bad checks in a row that mark a region down: 2. A refused connection does so at once.
    pub fall: u32,
    /// Attempts in a row that failed, after which a region is asked last for a while though its checks pass: 3.
    pub avoid_after: u32,
    /// That while: 1 s.
    pub avoid_for: Duration,
}

/// Bounds on what a visitor or an upstream may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Visitors' connections at once: 1,024; more wait in the backlog.
    pub connections: usize,
    /// Bytes of a request's or a response's head: 128 KiB, then 431.
    pub head_bytes: usize,
    /// Time a visitor has to send a head, idle keep-alive included: 10 s.
    pub head_timeout: Duration,
    /// Bytes of a request body: 8 MiB, then 413.
    pub body_bytes: usize,
    /// Time a visitor has to send a body: 60 s, then 408.
    pub body_timeout: Duration,
    /// Bytes of a request body kept for another attempt: 64 KiB. Larger bodies are streamed and sent once.
    pub replay_bytes: usize,
    /// Bytes of an answer read before it is passed on, so that an upstream that dies within them can be replaced
    /// unseen: 256 KiB.
    pub read_ahead_bytes: usize,
    /// Time spent on that: 250 ms, then the answer is passed on as it comes.
    pub read_ahead_for: Duration,
    /// Silence in the middle of an answer's body that ends it: 15 s.
    pub answer_idle: Duration,
    /// Time a visitor may leave an answer unread before the connection is closed: 30 s.
    pub visitor_stall: Duration,
}

impl EdgeConfig {
    /// The defaults, for these regions.
    #[must_use]
    pub fn new(listen: SocketAddr, upstreams: Vec<Upstream>) -> Self {
        Self {
            listen,
            upstreams,
            attempt_timeout: Duration::from_millis(700),
            deadline: Duration::from_millis(1800),
            rounds: 2,
            round_pause: Duration::from_millis(100),
            health: HealthCheck {
                path: "/health".to_owned(),
                interval: Duration::from_secs(1),
                timeout: Duration::from_millis(800),
                fall: 2,
                avoid_after: 3,
                avoid_for: Duration::from_secs(1),
            },
            limits: Limits {
                connections: 1024,
                head_bytes: 128 * 1024,
                head_timeout: Duration::from_secs(10),
                body_bytes: 8 * 1024 * 1024,
                body_timeout: Duration::from_secs(60),
                replay_bytes: 64 * 1024,
                read_ahead_bytes: 256 * 1024,
                read_ahead_for: Duration::from_millis(250),
                answer_idle: Duration::from_secs(15),
                visitor_stall: Duration::from_secs(30),
            },
        }
    }

    pub(super) fn validate(&self) -> Result<(), EdgeError> {
        let positive = [
            ("attempt_timeout", self.attempt_timeout),
            ("deadline", self.deadline),
            ("health.interval", self.health.interval),
            ("health.timeout", self.health.timeout),
            ("limits.head_timeout", self.limits.head_timeout),
            ("limits.body_timeout", self.limits.body_timeout),
            ("limits.answer_idle", self.limits.answer_idle),
            ("limits.visitor_stall", self.limits.visitor_stall),
        ];
        for (key, value) in positive {
            if value.is_zero() {
                return Err(EdgeError::invalid(key, "must be more than zero"));
            }
        }
        if self.attempt_timeout > self.deadline {
            return Err(EdgeError::invalid(
                "attempt_timeout",
                "must not exceed the deadline",
            ));
        }
        if self.rounds == 0 {
            return Err(EdgeError::invalid("rounds", "must be at least 1"));
        }
        if self.limits.connections == 0 {
            return Err(EdgeError::invalid(
                "limits.connections",
                "must be at least 1",
            ));
        }
        // The HTTP implementation refuses smaller buffers.
        if self.limits.head_bytes < 8192 {
            return Err(EdgeError::invalid(
                "limits.head_bytes",
                "must be at least 8192",
            ));
        }
        if !self.health.path.starts_with('/') || self.health.path.parse::<http::Uri>().is_err() {
            return Err(EdgeError::invalid("health.path", "must be a path"));
        }
        validate_upstreams(&self.upstreams)
    }
}

/// Region codes end up in response headers and logs, so they are checked once, here.
pub(super) fn validate_upstreams(upstreams: &[Upstream]) -> Result<(), EdgeError> {
    let mut seen = BTreeSet::new();
    for Upstream { region, .. } in upstreams {
        let plain = !region.is_empty()
            && region.len() <= 63
            && region
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !plain || HeaderValue::from_str(region).is_err() {
            return Err(EdgeError::invalid(
                "upstreams",
                "a region code is 1 to 63 letters, digits, '-' or '_'",
            ));
        }
        if !seen.insert(region.as_str()) {
            return Err(EdgeError::invalid("upstreams", "a region is named twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(region: &str) -> Upstream {
        Upstream {
            region: region.to_owned(),
            addr: SocketAddr::from(([127, 0, 0, 1], 1)),
        }
    }

    #[test]
    fn the_defaults_are_valid_and_no_regions_are_allowed() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        EdgeConfig::new(listen, Vec::new()).validate().unwrap();
    }

    #[test]
    fn a_region_code_that_could_split_a_header_is_refused() {
        for bad in ["", "a,b", "a b", "a\r\nb", "é"] {
            assert!(validate_upstreams(&[upstream(bad)]).is_err(), "{bad:?}");
        }
        assert!(validate_upstreams(&[upstream("iad"), upstream("iad")]).is_err());
        validate_upstreams(&[upstream("iad"), upstream("home_1")]).unwrap();
    }

    #[test]
    fn an_error_names_the_key() {
        let mut config = EdgeConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), Vec::new());
        config.attempt_timeout = Duration::from_secs(5);
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("attempt_timeout"), "{error}");
    }
}
