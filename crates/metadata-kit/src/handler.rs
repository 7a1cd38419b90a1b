//! The WIT boundary.

use provider_kit::Context;

use crate::bindings::exports::resiliency::cloud_metadata::service;
use crate::bindings::resiliency::cloud_metadata::types;
use crate::resolver::Answer;
use crate::{Metadata, Platform, Provider};

impl<P: Platform> service::Handler<Option<Context>> for Provider<P> {
    /// Answers from memory. Never an outer error: that would trap the component.
    async fn get(
        &self,
        context: Option<Context>,
    ) -> anyhow::Result<Result<types::Metadata, types::Error>> {
        Ok(match self.links.of_call(context.as_ref()) {
            Ok(resolver) => match resolver.answer() {
                Answer::Known(metadata) => Ok(to_wit(&metadata)),
                Answer::Unavailable(reason) => Err(types::Error::Unavailable(reason)),
                Answer::Misconfigured(reason) => Err(types::Error::Misconfigured(reason)),
            },
            Err(err) if err.is_temporary() => Err(types::Error::Unavailable(err.to_string())),
            Err(err) => Err(types::Error::Misconfigured(err.to_string())),
        })
    }
}

fn to_wit(metadata: &Metadata) -> types::Metadata {
    types::Metadata {
        region: types::Region {
            code: metadata.region.code.as_str().to_owned(),
            name: metadata.region.name.clone(),
            city: metadata.region.city.clone(),
        },
        instance_id: metadata.instance_id.clone(),
        private_address: metadata.private_address.map(|address| address.to_string()),
        public_address: metadata.public_address.map(|address| address.to_string()),
        platform: metadata.platform.clone(),
    }
}
