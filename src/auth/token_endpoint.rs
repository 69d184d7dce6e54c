//! The token endpoint of the login host.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::token_error::{TokenRequest, error_from_response};
use super::token_response::{MAX_TOKEN_RESPONSE, parse_token_response};
use super::token_retry::{FailedAttempt, TokenRetrier};
use super::{AccessToken, validate_tenant};
use crate::classify::retry_after_from_headers;
use crate::clock::{Clock, seconds_to_duration};
use crate::config::{OriginError, parse_origin};
use crate::error::{Error, Result};
use crate::retry::{AttemptFailure, RetryPolicy};
use crate::secret::{Secret, SecretUrl};
use crate::transport::{Destination, Request, Transport};

/// Requests tokens from `{authority}/{tenant}/oauth2/v2.0/token`.
pub struct TokenEndpoint {
    transport: Arc<dyn Transport>,
    clock: Clock,
    url: Url,
    tenant: String,
    timeout: Duration,
    retrier: TokenRetrier,
}

impl TokenEndpoint {
    /// Checks the address and the tenant. `timeout` is in seconds, for one request.
    pub fn new(
        transport: Arc<dyn Transport>,
        clock: Clock,
        authority: &str,
        tenant: &str,
        timeout: f64,
    ) -> Result<Self> {
        validate_tenant(tenant)?;
        let mut url = parse_authority(authority)?;
        // The tenant is validated above: it cannot add a segment to the path.
        url.set_path(&format!("{tenant}/oauth2/v2.0/token"));
        let timeout = seconds_to_duration(timeout);
        let retrier = TokenRetrier::new(clock, RetryPolicy::default());
        Ok(Self { transport, clock, url, tenant: tenant.to_owned(), timeout, retrier })
    }

    /// Returns the address, which is also the audience of a client assertion.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the tenant, as the caller named it.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Posts `form`, with retries. No error repeats the `secrets`, which are values in the form.
    pub async fn request_token(
        &self,
        client_id: &str,
        form: &[(&str, &str)],
        secrets: &[&Secret],
    ) -> Result<AccessToken> {
        let token_request = TokenRequest { client_id, tenant: &self.tenant, secrets };
        let body = encode_form(form);
        self.retrier.run(|| self.attempt(&token_request, body.clone()).boxed()).await
    }

    async fn attempt(
        &self,
        token_request: &TokenRequest<'_>,
        body: Bytes,
    ) -> Result<AccessToken, FailedAttempt> {
        // The lifetime counts from before the request. If it counted from the response, the token
        // would seem valid for longer than it is.
        let started = self.clock.now();
        let from_failure =
            |failure| FailedAttempt::from_failure(&token_request.failure_prefix(), failure);
        let response = self.transport.send(self.build_request(body)).await.map_err(from_failure)?;
        let (status, headers) = (response.status, response.headers.clone());
        let body = response.bytes(MAX_TOKEN_RESPONSE).await.map_err(from_failure)?;
        // Only a 200 has a token: a sign-in page of a proxy may come with another 2xx.
        let token = if status == StatusCode::OK {
            parse_token_response(
                &token_request.failure_prefix(),
                "the login host",
                &headers,
                &body,
                started,
            )
        } else {
            let mut error = error_from_response(token_request, status, &body);
            error.retry_after = retry_after_from_headers(&headers, self.clock.now());
            Err(error)
        };
        token.map_err(|error| {
            let is_damaged = status == StatusCode::OK && error.retryable;
            let outcome = if is_damaged {
                AttemptFailure::NoResponse
            } else {
                AttemptFailure::Status(status.as_u16(), error.retry_after)
            };
            FailedAttempt { outcome, error }
        })
    }

    fn build_request(&self, body: Bytes) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Request {
            destination: Destination::Login,
            method: Method::POST,
            url: SecretUrl::from(self.url.clone()),
            headers,
            body: body.into(),
            timeout: self.timeout,
        }
    }
}

/// Encodes the form into a buffer that is wiped when it is dropped.
fn encode_form(form: &[(&str, &str)]) -> Bytes {
    // Enough for every byte as %XX: a string that grows leaves unwiped copies behind.
    let capacity = form.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let body = form_urlencoded::Serializer::new(String::with_capacity(capacity))
        .extend_pairs(form)
        .finish();
    Bytes::from_owner(Zeroizing::new(body.into_bytes()))
}

/// Parses the address of a login host. The scheme may be missing: azure-identity accepts that in
/// AZURE_AUTHORITY_HOST.
fn parse_authority(authority: &str) -> Result<Url> {
    let text = if authority.contains("://") {
        authority.to_owned()
    } else {
        format!("https://{authority}")
    };
    parse_origin(&text).map_err(|error| {
        let why = match error {
            OriginError::NotAnOrigin => "is not the address of a login host",
            OriginError::Unencrypted => "would send the secret unencrypted",
        };
        Error::invalid(format!("authority {authority:?} {why}"))
            .with_hint("give scheme and host alone, as https://login.microsoftonline.com")
    })
}
