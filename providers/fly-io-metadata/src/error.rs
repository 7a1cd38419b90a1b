//! Why Fly.io gave no answer.

use hickory_resolver::ResolveError;
use metadata_kit::FetchError;
use provider_kit::DeadlineExceeded;

/// A failed question to Fly.io.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name server did not answer, or with an error.
    #[error("failed to look up {name}")]
    Lookup {
        /// The name asked for.
        name: String,
        /// Why.
        source: ResolveError,
    },
    /// There is such a name, but it says nothing that can be understood.
    #[error("the text of {name} is malformed")]
    Text {
        /// The name asked for.
        name: String,
    },
    /// No name says anything about this Machine.
    #[error("the internal DNS does not know this Machine")]
    Unknown,
    /// Neither labels, nor config, nor the DNS say in which region this Machine is.
    #[error("the region of this Machine is unknown")]
    NoRegion,
    /// The Machines API did not answer, or refused.
    #[error("failed to ask the Machines API for its regions")]
    Ask(#[source] FetchError),
    /// The answer is not what the API's documentation says.
    #[error("the Machines API's list of regions is malformed")]
    Regions,
    /// A question took too long.
    #[error(transparent)]
    Late(#[from] DeadlineExceeded),
}
