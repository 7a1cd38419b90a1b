//! The naive part: a round trip for each key.

use crate::component::bindings::wasi::keyvalue::store::{Bucket, Error};
use crate::host::Values;

pub fn read(bucket: &Bucket, keys: &[String]) -> Result<Values, Error> {
    keys.iter()
        .map(|key| Ok(bucket.get(key)?.map(|value| (key.clone(), value))))
        .collect()
}
