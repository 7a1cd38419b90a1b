//! cloud-hello as one would write it at first: a store call per key.
//!
//! Same routes, same data, same page, same library; only `values` differs. It exists
//! for `make bench`, which shows beside cloud-hello what the calls cost. Nobody should deploy it.

#![cfg(target_family = "wasm")]

// cloud-hello, compiled in: as a dependency it would bring exports of its own, and a component has one of each.
#[path = "../../cloud-hello/src/api.rs"]
pub mod api;
#[path = "../../cloud-hello/src/asset.rs"]
pub mod asset;
#[path = "../../cloud-hello/src/component.rs"]
mod component;
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
#[path = "../../cloud-hello/src/replication.rs"]
pub mod replication;
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

mod values;
