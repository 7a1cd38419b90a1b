//! The application of a run: the local manifest, with a bucket for the clients and digests that come often.

use std::path::Path;

use anyhow::{anyhow, Context as _};
use lattice::manifest::render;
use serde_yaml::Value;

use crate::store::BUCKET;

/// Seconds between two digests.
const DIGEST: &str = "5";

/// Composes the manifest from `local`, for the region `pattern` among others.
///
/// # Errors
///
/// `local` is no such manifest.
pub fn compose(local: &Path, pattern: &str) -> anyhow::Result<String> {
    // Rendering makes the images' paths absolute; the lattice renders the servers for its regions again.
    let text = render(local, &[(pattern.to_owned(), 1)]).map_err(|error| anyhow!(error.chain()))?;
    let mut manifest: Value = serde_yaml::from_str(&text)?;
    let stores = declare(&mut manifest);
    (stores == 1)
        .then_some(())
        .with_context(|| format!("{} has {stores} links to a store, not one", local.display()))?;
    Ok(serde_yaml::to_string(&manifest)?)
}

/// Adds to the config of every link to a store, which is what has a `url` of Valkey; how many there are.
fn declare(value: &mut Value) -> usize {
    match value {
        Value::Sequence(items) => items.iter_mut().map(declare).sum(),
        Value::Mapping(entries) => {
            let url = entries.get("url").and_then(Value::as_str);
            if url.is_some_and(|url| url.starts_with("redis://")) {
                entries.insert("buckets".into(), format!("default,{BUCKET}").into());
                entries.insert("digest_s".into(), DIGEST.into());
                return 1;
            }
            entries.iter_mut().map(|(_, entry)| declare(entry)).sum()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_get_a_bucket_in_the_local_manifest() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let composed = compose(&root.join("local.wadm.yaml"), "iad").unwrap();
        assert_eq!(composed.matches("buckets: default,chaos").count(), 1);
        assert_eq!(composed.matches("digest_s: '5'").count(), 1);
    }
}
