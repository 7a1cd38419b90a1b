//! WIT to [`Store`] and back: the only place that makes WIT errors.
//!
//! A failure is `Ok(Err(..))`, since an outer error would trap the component.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use provider_kit::Context;
use tracing::Span;

use crate::backend::Page;
use crate::error::{Error, Result};
use crate::keeper::Keeper;
use crate::provider::Provider;
use crate::store::Store;

// Generated code keeps to nobody's lints.
#[allow(
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_debug_implementations
)]
mod bindings {
    // Not in `wit/worlds.wit`, as this macro's parser does not take the `wasi:http` beside it.
    wit_bindgen_wrpc::generate!({
        inline: "
            package resiliency:keyvalue-valkey@0.1.0;
            world keyvalue-provider {
                export wrpc:keyvalue/store@0.2.0-draft;
                export wrpc:keyvalue/atomics@0.2.0-draft;
                export wrpc:keyvalue/batch@0.2.0-draft;
            }
        ",
        path: "../../wit/deps/wrpc-keyvalue",
        world: "resiliency:keyvalue-valkey/keyvalue-provider",
        generate_all,
    });
}

pub use bindings::serve;

use bindings::exports::wrpc::keyvalue::{atomics, batch, store};

type Caller = Option<Context>;
type Answer<T> = anyhow::Result<Result<T, store::Error>>;

impl From<Error> for store::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NoSuchBucket => Self::NoSuchStore,
            Error::AccessDenied { .. } => Self::AccessDenied,
            error => Self::Other(error.to_string()),
        }
    }
}

async fn answer<T>(operation: impl Future<Output = Result<T>> + Send) -> Answer<T> {
    Ok(operation.await.map_err(Into::into))
}

/// The start of a key, for a span or a log line. What a guest calls a key may be of any length.
pub(crate) fn shown(key: &str) -> &str {
    match key.char_indices().nth(128) {
        Some((end, _)) => key.get(..end).unwrap_or_default(),
        None => key,
    }
}

impl Provider {
    /// The store of the link that a call for one key came by. The span of the call gets the key.
    fn store_of(&self, caller: Caller, key: &str) -> Result<Arc<Store<Keeper>>> {
        let store = self.store(caller);
        Span::current().record("key", shown(key));
        store
    }

    /// The store of the link that a call came by.
    fn store(&self, caller: Caller) -> Result<Arc<Store<Keeper>>> {
        self.links
            .of_call(caller.as_ref())
            .map_err(|error| Error::NoLink {
                reason: error.to_string(),
            })
    }
}

impl store::Handler<Caller> for Provider {
    async fn get(&self, caller: Caller, bucket: String, key: String) -> Answer<Option<Bytes>> {
        answer(async { self.store_of(caller, &key)?.get(&bucket, &key).await }).await
    }

    async fn set(&self, caller: Caller, bucket: String, key: String, value: Bytes) -> Answer<()> {
        answer(async {
            self.store_of(caller, &key)?
                .set(&bucket, &key, &value)
                .await
        })
        .await
    }

    async fn delete(&self, caller: Caller, bucket: String, key: String) -> Answer<()> {
        answer(async { self.store_of(caller, &key)?.delete(&bucket, &key).await }).await
    }

    async fn exists(&self, caller: Caller, bucket: String, key: String) -> Answer<bool> {
        answer(async { self.store_of(caller, &key)?.exists(&bucket, &key).await }).await
    }

    async fn list_keys(
        &self,
        caller: Caller,
        bucket: String,
        cursor: Option<u64>,
    ) -> Answer<store::KeyResponse> {
        answer(async {
            let Page { keys, cursor } = self.store(caller)?.list_keys(&bucket, cursor).await?;
            Ok(store::KeyResponse { keys, cursor })
        })
        .await
    }
}

impl atomics::Handler<Caller> for Provider {
    async fn increment(
        &self,
        caller: Caller,
        bucket: String,
        key: String,
        delta: u64,
    ) -> Answer<u64> {
        answer(async {
            self.store_of(caller, &key)?
                .increment(&bucket, &key, delta)
                .await
        })
        .await
    }
}

impl batch::Handler<Caller> for Provider {
    async fn get_many(
        &self,
        caller: Caller,
        bucket: String,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<(String, Bytes)>>> {
        answer(async { self.store(caller)?.get_many(&bucket, keys).await }).await
    }

    async fn set_many(
        &self,
        caller: Caller,
        bucket: String,
        entries: Vec<(String, Bytes)>,
    ) -> Answer<()> {
        answer(async { self.store(caller)?.set_many(&bucket, entries).await }).await
    }

    async fn delete_many(&self, caller: Caller, bucket: String, keys: Vec<String>) -> Answer<()> {
        answer(async { self.store(caller)?.delete_many(&bucket, keys).await }).await
    }
}
