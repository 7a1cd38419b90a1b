//! The `keyvalue-valkey` provider; a wasmCloud host starts it.

use std::process::ExitCode;

fn main() -> ExitCode {
    provider_kit::run::<keyvalue_valkey::Provider>("keyvalue-valkey", keyvalue_valkey::serve)
}
