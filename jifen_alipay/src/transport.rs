//! One HTTP exchange with a time-out and a limit on the answer.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};

use crate::error::TransportError;

/// Sends once and reads the body of HTTP 200.
pub(crate) async fn send(
    request: RequestBuilder,
    timeout: Duration,
    bytes_max: usize,
) -> Result<Vec<u8>, TransportError> {
    let classify = |error: reqwest::Error| {
        // The URL holds the signature, and for bills a token.
        let error = error.without_url();
        if error.is_connect() || error.is_builder() {
            TransportError::NotConnected(error)
        } else if error.is_timeout() {
            TransportError::TimedOut {
                timeout_milliseconds: timeout.as_millis(),
            }
        } else {
            TransportError::Interrupted(error)
        }
    };
    let mut response = request.timeout(timeout).send().await.map_err(classify)?;
    if response.status() != StatusCode::OK {
        return Err(TransportError::Status {
            status: response.status().as_u16(),
        });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(classify)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(TransportError::AnswerTooLarge { bytes_max });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
