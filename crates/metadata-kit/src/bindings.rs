//! Generated from `wit/cloud-metadata`.
#![allow(missing_debug_implementations)]

wit_bindgen_wrpc::generate!({
    world: "provider",
    path: "../../wit/cloud-metadata",
});
