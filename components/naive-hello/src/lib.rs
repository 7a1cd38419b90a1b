//! cloud-hello as one would write it at first: a store call per key.
//!
//! Same routes, same data, same page, same library; only [`host::Store::get_many`] differs. It exists
//! for `make bench`, which shows beside cloud-hello what the calls cost. Nobody should deploy it.

#![cfg(target_family = "wasm")]

// cloud-hello, compiled in: as a dependency it would bring exports of its own, and a component has one of each.
#[path = "../../cloud-hello/src/api.rs"]
pub mod api;
#[path = "../../cloud-hello/src/asset.rs"]
pub mod asset;
#[path = "../../cloud-hello/src/counter.rs"]
pub mod counter;
#[path = "../../cloud-hello/src/geo.rs"]
pub mod geo;
#[path = "../../cloud-hello/src/host.rs"]
pub mod host;
#[path = "../../cloud-hello/src/html.rs"]
pub mod html;
#[path = "../../cloud-hello/src/http.rs"]
pub mod http;
#[path = "../../cloud-hello/src/map.rs"]
pub mod map;
#[path = "../../cloud-hello/src/notice.rs"]
pub mod notice;
#[path = "../../cloud-hello/src/page.rs"]
pub mod page;
#[path = "../../cloud-hello/src/region.rs"]
pub mod region;
#[path = "../../cloud-hello/src/route.rs"]
pub mod route;
#[path = "../../cloud-hello/src/table.rs"]
pub mod table;
#[path = "../../cloud-hello/src/tally.rs"]
pub mod tally;
#[path = "../../cloud-hello/src/user_agent.rs"]
pub mod user_agent;
#[path = "../../cloud-hello/src/view.rs"]
pub mod view;

use std::time::Duration;

// The generated bindings are the one place with `unsafe`: it is how the canonical ABI is spoken.
#[allow(unsafe_code, clippy::all, missing_debug_implementations)]
mod bindings {
    wit_bindgen::generate!({
        world: "resiliency:demo/cloud-hello",
        path: ["../../wit/cloud-metadata", "../../wit"],
        generate_all,
    });

    export!(NaiveHello with_types_in self);
    use super::NaiveHello;
}

use crate::host::{Clock, Listing, Log, Metadata, MetadataError, Serving, Store, StoreError};
use crate::http::{Method, Request, Response};
use crate::region::RegionCode;
use bindings::exports::wasi::http::incoming_handler::Guest;
use bindings::resiliency::cloud_metadata::service;
use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::http::types::{
    Fields, IncomingRequest, Method as WasiMethod, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use bindings::wasi::io::streams::{OutputStream, StreamError};
use bindings::wasi::keyvalue::{atomics, store};
use bindings::wasi::logging::logging;

struct NaiveHello;

impl Guest for NaiveHello {
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
        send(&response, response_out);
    }
}

/// Hands the response to the host; a client that has gone away ends it early.
fn send(response: &Response, response_out: ResponseOutparam) {
    let headers = Fields::new();
    for (name, value) in &response.headers {
        let _ = headers.append(name, value.as_bytes());
    }
    let length = response.body.len().to_string();
    let _ = headers.append("content-length", length.as_bytes());
    let outgoing = OutgoingResponse::new(headers);
    let _ = outgoing.set_status_code(response.status);
    let body = outgoing.body().ok().filter(|_| response.send_body);
    ResponseOutparam::set(response_out, Ok(outgoing));

    let Some(body) = body else { return };
    let Ok(stream) = body.write() else { return };
    let written = write_all(&stream, &response.body);
    drop(stream);
    if written.is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}

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

#[derive(Default)]
struct WasiHost {
    bucket: Option<store::Bucket>,
}

impl WasiHost {
    fn bucket(&mut self) -> Result<&store::Bucket, StoreError> {
        let bucket = match self.bucket.take() {
            Some(bucket) => bucket,
            None => store::open("default").map_err(refused)?,
        };
        Ok(self.bucket.insert(bucket))
    }
}

impl Metadata for WasiHost {
    fn metadata(&mut self) -> Result<Serving, MetadataError> {
        let found = service::get().map_err(|_| MetadataError::Unavailable)?;
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
        atomics::increment(self.bucket()?, key, 1).map_err(refused)
    }

    fn list_keys(&mut self) -> Result<Listing, StoreError> {
        let page = self.bucket()?.list_keys(None).map_err(refused)?;
        Ok(Listing {
            more: page.cursor.is_some(),
            keys: page.keys,
        })
    }

    /// The naive part: a round trip for each key.
    fn get_many(&mut self, keys: &[String]) -> Result<Vec<Option<(String, Vec<u8>)>>, StoreError> {
        let bucket = self.bucket()?;
        keys.iter()
            .map(|key| {
                let value = bucket.get(key).map_err(refused)?;
                Ok(value.map(|value| (key.clone(), value)))
            })
            .collect()
    }
}

fn refused(_: store::Error) -> StoreError {
    StoreError::Other
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
        logging::log(logging::Level::Error, env!("CARGO_PKG_NAME"), message);
    }
}
