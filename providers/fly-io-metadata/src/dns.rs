//! The questions to Fly's internal DNS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfigGroup, ResolveHosts, ResolverConfig};
use hickory_resolver::name_server::TokioConnectionProvider;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::TXT;
use hickory_resolver::proto::{ProtoError, ProtoErrorKind};
use hickory_resolver::{ResolveError, TokioResolver};
use provider_kit::within;

use crate::error::Error;
use crate::instance::{read_instances, read_vms, Instance};

/// Asks one name server. It caches nothing, so how old an answer is depends on our own refresh
/// interval alone, not on what the server says of it.
pub struct Dns {
    resolver: TokioResolver,
    limit: Duration,
}

impl Dns {
    /// Asks `nameserver`, each question at most for `limit`.
    pub fn new(nameserver: SocketAddr, limit: Duration) -> Self {
        let (address, port) = (nameserver.ip(), nameserver.port());
        // With TCP beside UDP: an organization's list of instances outgrows a datagram.
        let servers = NameServerConfigGroup::from_ips_clear(&[address], port, true);
        let config = ResolverConfig::from_parts(None, vec![], servers);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioConnectionProvider::default());
        let options = builder.options_mut();
        options.timeout = limit;
        options.attempts = 1;
        options.cache_size = 0;
        options.edns0 = true;
        options.use_hosts_file = ResolveHosts::Never;
        Self {
            resolver: builder.build(),
            limit,
        }
    }

    /// Every Machine of the organization.
    pub async fn instances(&self) -> Result<Vec<Instance>, Error> {
        let name = "_instances.internal.".to_owned();
        let text = self.text(&name).await?;
        read_instances(&text).ok_or(Error::Text { name })
    }

    /// The Machines of one app.
    pub async fn vms(&self, app: &str) -> Result<Vec<Instance>, Error> {
        let name = format!("vms.{app}.internal.");
        let text = self.text(&name).await?;
        read_vms(&text).ok_or(Error::Text { name })
    }

    /// The private address of one Machine.
    pub async fn address(&self, app: &str, id: &str) -> Result<Option<IpAddr>, Error> {
        let name = format!("{id}.vm.{app}.internal.");
        let found = within(
            self.limit,
            "the internal DNS",
            self.resolver.ipv6_lookup(&*name),
        );
        match found.await? {
            Ok(addresses) => Ok(addresses.iter().next().map(|address| address.0.into())),
            Err(err) if is_nothing(&err) => Ok(None),
            Err(source) => Err(Error::Lookup { name, source }),
        }
    }

    /// All TXT strings of a name, joined as if never cut; empty when there is no such name.
    async fn text(&self, name: &str) -> Result<String, Error> {
        let found = within(
            self.limit,
            "the internal DNS",
            self.resolver.txt_lookup(name),
        );
        let bytes: Vec<u8> = match found.await? {
            Ok(texts) => texts
                .iter()
                .flat_map(TXT::iter)
                .flatten()
                .copied()
                .collect(),
            Err(err) if is_nothing(&err) => Vec::new(),
            Err(source) => {
                let name = name.to_owned();
                return Err(Error::Lookup { name, source });
            }
        };
        String::from_utf8(bytes).map_err(|_| Error::Text {
            name: name.to_owned(),
        })
    }
}

/// Whether the server said that there is nothing. The resolver says "no records" of a server
/// that failed, too.
fn is_nothing(err: &ResolveError) -> bool {
    matches!(
        err.proto().map(ProtoError::kind),
        Some(ProtoErrorKind::NoRecordsFound {
            response_code: ResponseCode::NXDomain | ResponseCode::NoError,
            ..
        })
    )
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}
