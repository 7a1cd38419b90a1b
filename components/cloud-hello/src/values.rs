//! How the values of many keys are read: all in one round trip.

use crate::component::bindings::wasi::keyvalue::batch;
use crate::component::bindings::wasi::keyvalue::store::{Bucket, Error};
use crate::host::Values;

pub fn read(bucket: &Bucket, keys: &[String]) -> Result<Values, Error> {
    batch::get_many(bucket, keys)
}
