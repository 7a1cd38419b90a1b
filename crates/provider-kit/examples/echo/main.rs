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
    provider_kit::run::<provider::Echo>("echo", bindings::serve)
}
