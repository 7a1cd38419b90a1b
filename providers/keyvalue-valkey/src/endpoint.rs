//! Which Valkey, as whom.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use provider_kit::Secret;
use redis::{
    io::tcp::TcpSettings, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisError, TlsCertificates,
};

/// Everything that decides whether two links can share a connection.
///
/// `Display` is `redis://host:port/db` and names no user; `Debug` redacts the credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Name or address of the server.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database number.
    pub database: u16,
    /// TLS, when the URL says `rediss` or `valkeys`.
    pub tls: Option<Tls>,
    /// User and password.
    pub credentials: Credentials,
}

/// How the server proves who it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    /// PEM of the only certificate authorities to trust; the public ones when `None`.
    pub ca_pem: Option<String>,
}

/// Who we say we are. Never printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The ACL user; `None` is the user `default`.
    pub username: Option<Secret>,
    /// Its password.
    pub password: Option<Secret>,
}

impl Hash for Credentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.username.as_ref().map(Secret::expose).hash(state);
        self.password.as_ref().map(Secret::expose).hash(state);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roots = if self.ca_pem.is_some() {
            "custom"
        } else {
            "public"
        };
        write!(f, "Tls(roots: {roots})")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() {
            "rediss"
        } else {
            "redis"
        };
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        write!(
            f,
            "{scheme}://{open}{}{close}:{}/{}",
            self.host, self.port, self.database
        )
    }
}

impl Endpoint {
    /// Whether both lead to one database, whoever they say we are.
    pub fn is_same_database(&self, other: &Self) -> bool {
        (&self.host, self.port, self.database) == (&other.host, other.port, other.database)
    }

    /// A short label that tells endpoints apart in logs, credentials included, without showing them.
    pub fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        format!("{:08x}", hasher.finish() >> 32)
    }

    /// A client for this endpoint. Does no I/O.
    ///
    /// # Errors
    ///
    /// A CA certificate that rustls cannot use.
    pub(crate) fn client(&self) -> Result<Client, RedisError> {
        let mut settings = RedisConnectionInfo::default()
            // RESP3 reports a closed connection at once, not with the next command.
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
            .set_db(i64::from(self.database));
        if let Some(username) = &self.credentials.username {
            settings = settings.set_username(username.expose());
        }
        if let Some(password) = &self.credentials.password {
            settings = settings.set_password(password.expose());
        }
        let Some(tls) = &self.tls else {
            return Client::open(
                self.info(ConnectionAddr::Tcp(self.host.clone(), self.port), settings)?,
            );
        };
        // One of several compiled-in providers has to be chosen; a second choice is refused, and harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = ConnectionAddr::TcpTls {
            host: self.host.clone(),
            port: self.port,
            insecure: false,
            tls_params: None,
        };
        let root_cert = tls.ca_pem.as_ref().map(|pem| pem.clone().into_bytes());
        Client::build_with_tls(
            self.info(address, settings)?,
            TlsCertificates {
                client_tls: None,
                root_cert,
            },
        )
    }

    fn info(
        &self,
        address: ConnectionAddr,
        settings: RedisConnectionInfo,
    ) -> Result<redis::ConnectionInfo, RedisError> {
        if !address.is_supported() {
            return Err((ErrorKind::InvalidClientConfig, "TLS is not compiled in").into());
        }
        Ok(address
            .into_connection_info()?
            .set_redis_settings(settings)
            .set_tcp_settings(TcpSettings::default().set_nodelay(true)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(password: &str) -> Endpoint {
        Endpoint {
            host: "::1".into(),
            port: 6379,
            database: 2,
            tls: Some(Tls {
                ca_pem: Some("a-certificate".into()),
            }),
            credentials: Credentials {
                username: Some(Secret::new("alice")),
                password: Some(Secret::new(password)),
            },
        }
    }

    #[test]
    fn neither_form_of_an_endpoint_shows_who_we_are() {
        let endpoint = endpoint("hunter2");
        assert_eq!(endpoint.to_string(), "rediss://[::1]:6379/2");
        let debug = format!("{endpoint:?}");
        for secret in ["hunter2", "alice", "a-certificate"] {
            assert!(!debug.contains(secret), "{debug}");
        }
    }

    #[test]
    fn endpoints_that_differ_in_the_password_alone_are_told_apart() {
        assert_ne!(endpoint("one"), endpoint("two"));
        assert_ne!(endpoint("one").fingerprint(), endpoint("two").fingerprint());
    }
}
