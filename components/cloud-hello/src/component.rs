//! The component itself: `wasi:http` in, `wasi:keyvalue` and `cloud-metadata` out.

use std::time::Duration;

// The generated bindings are the one place with `unsafe`: it is how the canonical ABI is spoken.
#[allow(unsafe_code, clippy::all, missing_debug_implementations)]
pub mod bindings {
    wit_bindgen::generate!({
        world: "resiliency:demo/cloud-hello",
        path: ["../../wit/cloud-metadata", "../../wit"],
        generate_all,
    });

    export!(CloudHello with_types_in self);
    use super::CloudHello;
}

use bindings::exports::wasi::http::incoming_handler::Guest;
use bindings::resiliency::cloud_metadata::service;
use bindings::resiliency::cloud_metadata::types::Error as ServiceError;
use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::http::types::{
    Fields, IncomingRequest, Method as WasiMethod, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use bindings::wasi::io::streams::{OutputStream, StreamError};
use bindings::wasi::keyvalue::{atomics, store};
use bindings::wasi::logging::logging;

use crate::host::{
    Clock, Listing, Log, Metadata, MetadataError, Replication, Serving, Store, StoreError, Values,
};
use crate::http::{Method, Request, Response};
use crate::region::RegionCode;
use crate::route;
use crate::values;

/// The bucket of the counters; the link decides which store that is.
const BUCKET: &str = "default";

/// The bucket and the key in which a replicated store says how it is doing.
const STATUS_BUCKET: &str = "@replication";
const STATUS_KEY: &str = "status";

struct CloudHello;

impl Guest for CloudHello {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let headers = request.headers();
        let first = |name: &str| {
            let values = headers.get(name);
            values.into_iter().next().unwrap_or_default()
        };
        let response = route::respond(
            &mut WasiHost::default(),
            &Request {
                method: match request.method() {
                    WasiMethod::Get => Method::Get,
                    WasiMethod::Head => Method::Head,
                    _ => Method::Other,
                },
                path_with_query: &request.path_with_query().unwrap_or_default(),
                user_agent: &first("user-agent"),
                if_none_match: &first("if-none-match"),
            },
        );
        send(response, response_out);
    }
}

/// Hands the response to the host. A client that has gone away ends it early, and that is all.
fn send(response: Response, response_out: ResponseOutparam) {
    let headers = Fields::new();
    for (name, value) in &response.headers {
        if headers.append(name, value.as_bytes()).is_err() {
            log_error("a response header was refused by the host");
        }
    }
    if response.send_body {
        // Only then: a host may hold us to a length we announce, even for `HEAD`.
        let length = response.body.len().to_string().into_bytes();
        let _ = headers.append("content-length", &length);
    }
    let outgoing = OutgoingResponse::new(headers);
    if outgoing.set_status_code(response.status).is_err() {
        log_error("a status code was refused by the host");
    }
    let body = outgoing.body();
    // Before the body: nobody reads the stream until the response is set.
    ResponseOutparam::set(response_out, Ok(outgoing));

    let Ok(body) = body else { return };
    if response.send_body {
        let written = match body.write() {
            Ok(stream) => write_all(&stream, &response.body).is_ok(),
            Err(()) => false,
        };
        if !written {
            // Dropping the body unfinished tells the host that it is cut short.
            return;
        }
    }
    let _ = OutgoingBody::finish(body, None);
}

/// Writes as much at a time as the host has room for.
fn write_all(stream: &OutputStream, mut rest: &[u8]) -> Result<(), StreamError> {
    let ready = stream.subscribe();
    while !rest.is_empty() {
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        if room == 0 {
            ready.block();
            continue;
        }
        let (chunk, later) = rest.split_at(room.min(rest.len()));
        stream.write(chunk)?;
        rest = later;
    }
    stream.blocking_flush()
}

fn log_error(message: &'static str) {
    logging::log(logging::Level::Error, env!("CARGO_PKG_NAME"), message);
}

/// The imports of the world. The bucket is opened when the first call needs it.
#[derive(Default)]
struct WasiHost {
    bucket: Option<store::Bucket>,
}

impl WasiHost {
    fn bucket(&mut self) -> Result<&store::Bucket, StoreError> {
        let bucket = match self.bucket.take() {
            Some(bucket) => bucket,
            None => store::open(BUCKET)?,
        };
        Ok(self.bucket.insert(bucket))
    }
}

impl Metadata for WasiHost {
    fn metadata(&mut self) -> Result<Serving, MetadataError> {
        let found = service::get().map_err(|error| match error {
            ServiceError::Unavailable(_) => MetadataError::Unavailable,
            ServiceError::Misconfigured(_) => MetadataError::Misconfigured,
        })?;
        Ok(Serving {
            region: RegionCode::normalise(&found.region.code),
            name: found.region.name,
            city: found.region.city,
            instance: found.instance_id,
            platform: found.platform,
        })
    }
}

impl Store for WasiHost {
    fn increment(&mut self, key: &str) -> Result<u64, StoreError> {
        Ok(atomics::increment(self.bucket()?, key, 1)?)
    }

    fn list_keys(&mut self) -> Result<Listing, StoreError> {
        let page = self.bucket()?.list_keys(None)?;
        Ok(Listing {
            more: page.cursor.is_some(),
            keys: page.keys,
        })
    }

    fn get_many(&mut self, keys: &[String]) -> Result<Values, StoreError> {
        Ok(values::read(self.bucket()?, keys)?)
    }
}

impl Replication for WasiHost {
    fn status(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        // The host opens whatever it is asked for; the provider says at `get` that there is none.
        Ok(store::open(STATUS_BUCKET)?.get(STATUS_KEY)?)
    }
}

impl Clock for WasiHost {
    fn now(&mut self) -> Duration {
        Duration::from_nanos(monotonic_clock::now())
    }
}

impl Log for WasiHost {
    fn warn(&mut self, message: &'static str) {
        logging::log(logging::Level::Warn, env!("CARGO_PKG_NAME"), message);
    }

    fn error(&mut self, message: &'static str) {
        log_error(message);
    }
}

impl From<store::Error> for StoreError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NoSuchStore => Self::NoSuchStore,
            store::Error::AccessDenied => Self::AccessDenied,
            store::Error::Other(_) => Self::Other,
        }
    }
}
