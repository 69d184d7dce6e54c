//! The login host's token endpoint: one form in, one token out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::{Host, Url, form_urlencoded};
use zeroize::Zeroizing;

use super::token_error::{TokenRequest, error_from_response};
use super::token_response::{MAX_TOKEN_RESPONSE, parse_token_response};
use super::token_retry::{FailedAttempt, TokenRetrier};
use super::{AccessToken, validate_tenant};
use crate::classify::retry_after_from_headers;
use crate::clock::{Clock, seconds_to_duration};
use crate::error::{Error, Result};
use crate::retry::{AttemptFailure, RetryPolicy};
use crate::secret::{Secret, SecretUrl};
use crate::transport::{Destination, Request, Transport};

/// `{authority}/{tenant}/oauth2/v2.0/token`.
pub struct TokenEndpoint {
    transport: Arc<dyn Transport>,
    clock: Clock,
    url: Url,
    tenant: String,
    timeout: Duration,
    retrier: TokenRetrier,
}

impl TokenEndpoint {
    /// `timeout`: seconds of one request.
    pub fn new(
        transport: Arc<dyn Transport>,
        clock: Clock,
        authority: &str,
        tenant: &str,
        timeout: f64,
    ) -> Result<Self> {
        validate_tenant(tenant)?;
        let mut url = parse_authority(authority)?;
        url.set_path(&format!("{tenant}/oauth2/v2.0/token"));
        let timeout = seconds_to_duration(timeout);
        let retrier = TokenRetrier::new(clock, RetryPolicy::default());
        Ok(Self { transport, clock, url, tenant: tenant.to_owned(), timeout, retrier })
    }

    /// Also the audience of an assertion that is sent here.
    pub fn url(&self) -> &Url {
        &self.url
    }

    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Posts `form` until it is answered. `secrets` are those of the form; no error repeats them.
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
        // The token's life is counted from before the answer, so that it never seems longer than it is.
        let started = self.clock.now();
        let from_failure =
            |failure| FailedAttempt::from_failure(&token_request.failure_prefix(), failure);
        let response = self.transport.send(self.build_request(body)).await.map_err(from_failure)?;
        let (status, headers) = (response.status, response.headers.clone());
        let body = response.bytes(MAX_TOKEN_RESPONSE).await.map_err(from_failure)?;
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
        token.map_err(|error| FailedAttempt {
            outcome: AttemptFailure::Status(status.as_u16(), error.retry_after),
            error,
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

/// The form as it goes out, wiped from memory when it has gone.
fn encode_form(form: &[(&str, &str)]) -> Bytes {
    // Room for every character as %XX: a string that grows leaves copies behind.
    let room = form.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let body =
        form_urlencoded::Serializer::new(String::with_capacity(room)).extend_pairs(form).finish();
    Bytes::from_owner(Zeroizing::new(body.into_bytes()))
}

/// A login host, with or without its scheme: azure-identity takes both in AZURE_AUTHORITY_HOST.
fn parse_authority(authority: &str) -> Result<Url> {
    let refused = |why: &str| {
        Error::invalid(format!("authority {authority:?} {why}"))
            .with_hint("give scheme and host alone, as https://login.microsoftonline.com")
    };
    let text = if authority.contains("://") {
        authority.to_owned()
    } else {
        format!("https://{authority}")
    };
    let url = Url::parse(&text).map_err(|_| refused("is not the address of a login host"))?;
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return Err(refused("is not the address of a login host"));
    }
    let loopback = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        "http" => Err(refused("would send the secret unencrypted")),
        _ => Err(refused("is not the address of a login host")),
    }
}
