//! The login host's token endpoint: one form in, one token out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use url::{Host, Url, form_urlencoded};

use super::claims::number;
use super::login_error::{Asked, refused};
use super::{AccessToken, check, validate_tenant};
use crate::classify::told_by_headers;
use crate::classify::words::printable;
use crate::clock::{Clock, seconds_to_duration};
use crate::error::{Error, Kind, Result};
use crate::retry::{Budget, Decision, Outcome, Policy, decide};
use crate::secret::{Secret, SecretUrl};
use crate::transport::{Audience, Failure, Request, Transport};

/// Far more than any token.
const LARGEST_ANSWER: usize = 1 << 20;
/// Seconds; a login that asks for more patience than this is an error that says so.
const LONGEST_WAIT: f64 = 30.0;
/// Seconds that a token lives by the page "v2-oauth2-client-creds-grant-flow", where it does not say itself.
const USUAL_LIFE: f64 = 3600.0;

/// `{authority}/{tenant}/oauth2/v2.0/token`.
pub struct LoginEndpoint {
    transport: Arc<dyn Transport>,
    clock: Clock,
    url: Url,
    tenant: String,
    timeout: Duration,
    budget: Budget,
}

/// A try that brought no token, and what the retry has to know of it.
struct Failed {
    outcome: Outcome,
    error: Error,
}

impl LoginEndpoint {
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
        Ok(Self { transport, clock, url, tenant: tenant.to_owned(), timeout, budget: Budget::default() })
    }

    /// Also the audience of an assertion that is sent here.
    pub fn url(&self) -> &Url {
        &self.url
    }

    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Posts `form` until it is answered. `secrets` are those of the form; no error repeats them.
    pub async fn request(&self, client_id: &str, form: &[(&str, &str)], secrets: &[&Secret]) -> Result<AccessToken> {
        let asked = Asked { client_id, tenant: &self.tenant, secrets };
        let body: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let body = Bytes::from(body);
        let policy = Policy::default();
        let mut attempt = 1;
        loop {
            let failed = match self.exchange(&asked, body.clone()).await {
                Ok(token) => {
                    self.budget.refill();
                    return Ok(token);
                }
                Err(failed) => failed,
            };
            let decision = decide(attempt, &failed.outcome, true, &policy, fastrand::f64());
            match self.budget.afford(&failed.outcome, decision) {
                Decision::Retry { after } if attempt < policy.attempts && after <= LONGEST_WAIT => {
                    log::debug!("{}; the login is tried again in {after:.1} s", failed.error);
                    self.clock.sleep(after).await;
                    attempt += 1;
                }
                _ => return Err(failed.error),
            }
        }
    }

    async fn exchange(&self, asked: &Asked<'_>, body: Bytes) -> Result<AccessToken, Failed> {
        // The token's life is counted from before the answer, so that it never seems longer than it is.
        let started = self.clock.now();
        let lost = |failure: Failure| {
            let mut error = failure.error;
            error.message = format!("{}: {}", asked.could_not(), error.message);
            Failed { outcome: if failure.sent { Outcome::Lost } else { Outcome::NotSent }, error }
        };
        let response = self.transport.send(self.form_post(body)).await.map_err(lost)?;
        let (status, headers) = (response.status, response.headers.clone());
        let body = response.bytes(LARGEST_ANSWER).await.map_err(lost)?;
        let token = if status == StatusCode::OK {
            granted(asked, &headers, &body, started)
        } else {
            let mut error = refused(asked, status, &body);
            error.retry_after = told_by_headers(&headers, self.clock.now());
            Err(error)
        };
        token.map_err(|error| Failed { outcome: Outcome::Status(status.as_u16(), error.retry_after), error })
    }

    fn form_post(&self, body: Bytes) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Request {
            audience: Audience::Login,
            method: Method::POST,
            url: SecretUrl::from(self.url.clone()),
            headers,
            body,
            timeout: self.timeout,
        }
    }
}

/// The token of a 200. Its body is never quoted: it may hold one even where it is not as documented.
fn granted(asked: &Asked<'_>, headers: &HeaderMap, body: &[u8], started: f64) -> Result<AccessToken> {
    let unusable = |why: String| {
        let message = format!("{}: the login host answered 200 {why}", asked.could_not());
        Error::new(Kind::Authentication, message).with_hint("check the authority; a sign-in page or proxy may be there")
    };
    let kind = || headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("no content type");
    let answer: Value = serde_json::from_slice(body)
        .map_err(|_| unusable(format!("with a body that is not JSON ({})", printable(kind(), 80))))?;
    let token = answer.get("access_token").and_then(Value::as_str);
    let secret = Secret::new(token.ok_or_else(|| unusable("without an access_token".to_owned()))?);
    check(&secret)?;
    let life = answer.get("expires_in").and_then(number);
    let mut token = AccessToken::new(secret, life.map(|life| started + life));
    if token.expires_at.is_infinite() {
        token.expires_at = started + USUAL_LIFE;
    }
    Ok(token)
}

/// A login host, with or without its scheme: azure-identity takes both in AZURE_AUTHORITY_HOST.
fn parse_authority(authority: &str) -> Result<Url> {
    let refused = |why: &str| {
        Error::invalid(format!("authority {authority:?} {why}"))
            .with_hint("give scheme and host alone, as https://login.microsoftonline.com")
    };
    let text = if authority.contains("://") { authority.to_owned() } else { format!("https://{authority}") };
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
