//! A complete provider: greets with the words that the link's config gives.
//!
//! It stands for providers with a backend: while the file that its own config calls
//! `pause_file` exists, the backend counts as gone, and the provider leaves its queue group.

mod config;
mod provider;

mod bindings {
    wit_bindgen_wrpc::generate!({ world: "provider", path: "wit" });
}

fn main() -> std::process::ExitCode {
    let mut options = provider_kit::ServeOptions::default();
    // No wasmCloud host hands this on: it is for tests, on machines that are busy.
    let drain = std::env::var("ECHO_DRAIN_MS").ok();
    if let Some(drain) = drain.and_then(|text| text.parse().ok()) {
        options.drain = std::time::Duration::from_millis(drain);
    }
    provider_kit::run_with::<provider::Echo>("echo", options, bindings::serve)
}
