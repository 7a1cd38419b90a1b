//! Asking a platform's HTTP API.

use reqwest::RequestBuilder;

/// Why an API gave no usable answer. Names no URL and holds no header.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The request failed.
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    /// The API refused.
    #[error("it answers {0}")]
    Status(u16),
    /// The answer is longer than is read.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
}

/// The body of a successful answer, of at most `limit` bytes. The caller sets the deadline.
///
/// # Errors
///
/// [`FetchError`] for any other answer, and for none.
pub async fn fetch(request: RequestBuilder, limit: usize) -> Result<Vec<u8>, FetchError> {
    let failed = |err: reqwest::Error| FetchError::Request(err.without_url());
    let mut answer = request.send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(FetchError::Status(answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(FetchError::TooLong(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
