//! Why the Kubernetes API gave no answer.

use std::path::PathBuf;

use metadata_kit::FetchError;
use provider_kit::DeadlineExceeded;

/// A failed question to the Kubernetes API.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the service account cannot be read.
    #[error("failed to read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate authority or the token is not what it should be.
    #[error("{0} of the service account is malformed")]
    Malformed(&'static str),
    /// The API did not answer, or refused.
    #[error("failed to ask the Kubernetes API for {what}")]
    Ask {
        /// What was asked for.
        what: &'static str,
        /// Why.
        source: FetchError,
    },
    /// The answer is not what the API's documentation says.
    #[error("the Kubernetes API's answer for {what} is malformed")]
    Answer {
        /// What was asked for.
        what: &'static str,
    },
    /// The pod is not on a node yet, or this process runs in no pod.
    #[error("the node of this pod is unknown")]
    NoNode,
    /// The API took too long.
    #[error(transparent)]
    Late(#[from] DeadlineExceeded),
}
