//! Tokens for the managed identity of a virtual machine (IMDS) or an App Service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::token_response::{MAX_TOKEN_RESPONSE, parse_token_response};
use super::token_retry::{FailedAttempt, TokenRetrier};
use super::{AccessToken, TokenSource};
use crate::classify::retry_after_from_headers;
use crate::clock::{Clock, seconds_to_duration};
use crate::error::{Error, Kind, Result};
use crate::retry::{AttemptFailure, RetryPolicy};
use crate::secret::{Secret, SecretUrl};
use crate::text::sanitize;
use crate::transport::{Destination, Request, RequestBody, Transport};

/// The address of IMDS (page "how-managed-identities-work-vm").
pub(super) const IMDS: &str = "http://169.254.169.254";
/// The page "how-to-use-vm-token" says that a 410 may last 70 s, and asks for short waits at first.
const RETRY_POLICY: RetryPolicy =
    RetryPolicy { attempts: 6, base: 1.0, cap: 30.0, window: 2.0, window_cap: 30.0 };

/// The platform and the identity to use.
#[derive(Clone, Debug)]
pub struct ManagedIdentity {
    pub platform: Platform,
    /// Client id of a user-assigned identity. The default is the system-assigned identity.
    pub client_id: Option<String>,
}

/// A platform with managed identities.
#[derive(Clone, Debug)]
pub enum Platform {
    /// A virtual machine, with the address of IMDS.
    Imds(String),
    AppService {
        endpoint: String,
        header: Secret,
    },
}

/// Requests tokens from the platform's token endpoint.
pub struct ManagedIdentityTokenSource {
    transport: Arc<dyn Transport>,
    clock: Clock,
    url: Url,
    headers: HeaderMap,
    description: String,
    timeout: Duration,
    retrier: TokenRetrier,
}

impl ManagedIdentityTokenSource {
    /// Checks the endpoint and the scope. `timeout` is in seconds, for one request.
    pub fn new(
        transport: Arc<dyn Transport>,
        clock: Clock,
        identity: &ManagedIdentity,
        scope: &str,
        timeout: f64,
    ) -> Result<Self> {
        let (mut url, headers, place) = identity.platform.token_endpoint()?;
        // The token endpoints of platforms are older than scopes and take a resource.
        let resource = scope.strip_suffix("/.default").unwrap_or(scope);
        if resource.trim().is_empty() {
            return Err(Error::invalid("scope is empty"));
        }
        url.query_pairs_mut().append_pair("resource", resource);
        if let Some(client_id) = &identity.client_id {
            url.query_pairs_mut().append_pair("client_id", client_id);
        }
        let whose = identity
            .client_id
            .as_deref()
            .map(|id| format!(" {}", sanitize(id, 80)))
            .unwrap_or_default();
        let description = format!("the managed identity{whose} of {place}");
        let (timeout, retrier) =
            (seconds_to_duration(timeout), TokenRetrier::new(clock, RETRY_POLICY));
        Ok(Self { transport, clock, url, headers, description, timeout, retrier })
    }

    async fn attempt(&self) -> Result<AccessToken, FailedAttempt> {
        let failure_prefix = format!("could not get a token for {}", self.description);
        // The lifetime counts from before the request. If it counted from the response, the token
        // would seem valid for longer than it is.
        let started = self.clock.now();
        let from_failure = |failure| FailedAttempt::from_failure(&failure_prefix, failure);
        let response = self.transport.send(self.request()).await.map_err(|failure| {
            let mut failed = from_failure(failure);
            failed.error.hint = Some(NOT_ON_AZURE_HINT.to_owned());
            // No connection means that there is no token endpoint: this is not an Azure machine.
            if failed.outcome == AttemptFailure::NotSent {
                failed.error.retryable = false;
            }
            failed
        })?;
        let (status, headers) = (response.status, response.headers.clone());
        let body = response.bytes(MAX_TOKEN_RESPONSE).await.map_err(from_failure)?;
        if status == StatusCode::OK {
            let token =
                parse_token_response(&failure_prefix, "the platform", &headers, &body, started);
            return token.map_err(|error| FailedAttempt {
                outcome: AttemptFailure::Status(200, None),
                error,
            });
        }
        let mut error = error_from_response(&failure_prefix, status, &body);
        error.retry_after = retry_after_from_headers(&headers, self.clock.now());
        // IMDS answers 404 and 410 while it is being updated (page "how-to-use-vm-token").
        let transient = matches!(status.as_u16(), 404 | 410);
        // The retry policy repeats a 503, but no 404.
        let outcome = AttemptFailure::Status(
            if transient { 503 } else { status.as_u16() },
            error.retry_after,
        );
        Err(FailedAttempt { outcome, error })
    }

    fn request(&self) -> Request {
        Request {
            destination: Destination::ManagedIdentity,
            method: Method::GET,
            url: SecretUrl::from(self.url.clone()),
            headers: self.headers.clone(),
            body: RequestBody::default(),
            timeout: self.timeout,
        }
    }
}

const NOT_ON_AZURE_HINT: &str = "managed identities exist only on machines, App Services and \
    containers in Azure: elsewhere give another credential";

impl Platform {
    /// Returns the endpoint's URL without the resource, its headers, and a name for messages.
    fn token_endpoint(&self) -> Result<(Url, HeaderMap, &'static str)> {
        let parsed = |text: &str, name: &str| {
            let url = Url::parse(text)
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            url.ok_or_else(|| {
                Error::invalid(format!("{name} is not the address of a token endpoint"))
            })
        };
        let mut headers = HeaderMap::new();
        match self {
            Self::Imds(host) => {
                let mut url = parsed(host, "AZURE_POD_IDENTITY_AUTHORITY_HOST")?;
                url.set_path("/metadata/identity/oauth2/token");
                url.set_query(Some("api-version=2018-02-01"));
                headers.insert("metadata", HeaderValue::from_static("true"));
                Ok((url, headers, "this machine"))
            }
            Self::AppService { endpoint, header } => {
                let mut url = parsed(endpoint, "IDENTITY_ENDPOINT")?;
                url.set_query(Some("api-version=2019-08-01"));
                let value = HeaderValue::from_str(header.expose());
                let mut value = value.map_err(|_| {
                    Error::invalid("IDENTITY_HEADER holds characters that no header may have")
                })?;
                value.set_sensitive(true);
                headers.insert("x-identity-header", value);
                Ok((url, headers, "this App Service"))
            }
        }
    }
}

/// Returns the error of a refusal. IMDS sends `{"error": ..., "error_description": ...}`, an App
/// Service sends `{"message": ...}`.
fn error_from_response(failure_prefix: &str, status: StatusCode, body: &[u8]) -> Error {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let field = |name: &str| {
        Some(sanitize(answer.get(name)?.as_str()?, 400)).filter(|text| !text.is_empty())
    };
    let description =
        field("error_description").or_else(|| field("message")).or_else(|| field("error"));
    let description = description.unwrap_or_else(|| sanitize(&String::from_utf8_lossy(body), 200));
    let message =
        format!("{failure_prefix}: the platform answered {}: {description}", status.as_u16());
    let mut error = Error::new(Kind::Authentication, message);
    error.code = field("error");
    error.status = Some(status.as_u16());
    error.retryable = status.is_server_error() || matches!(status.as_u16(), 404 | 410 | 429);
    let hint = match status.as_u16() {
        400 => {
            "assign an identity to this resource (Azure portal > Identity), or correct client_id"
        }
        401 | 403 => {
            "the token endpoint requires its own header: run this where the platform sets the \
             variables"
        }
        _ => "the platform's token endpoint failed: try again later",
    };
    error.with_hint(hint)
}

impl TokenSource for ManagedIdentityTokenSource {
    /// Ignores `claims`, since no platform accepts them, and requests a new token.
    fn fetch(&self, _claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        self.retrier.run(|| self.attempt().boxed()).boxed()
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}

impl fmt::Debug for ManagedIdentityTokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}
