//! Reads the token response of a login host or of the platform (RFC 6749, section 5.1).

use std::borrow::Cow;

use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;

use super::claims::positive_number;
use super::{AccessToken, validate_token};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::text::sanitize;

/// Bytes, far more than any token response has.
pub const MAX_TOKEN_RESPONSE: usize = 1 << 20;
/// Seconds, for a response without an expiry (page "v2-oauth2-client-creds-grant-flow").
const DEFAULT_TOKEN_LIFETIME: f64 = 3600.0;

// The token is borrowed from the body if possible, so that no unwiped copy is left in memory.
#[derive(Deserialize)]
struct TokenResponse<'a> {
    #[serde(borrow, default)]
    access_token: Option<Cow<'a, str>>,
    /// Seconds from now.
    #[serde(default)]
    expires_in: Value,
    /// Unix time; sent by the platform only.
    #[serde(default)]
    expires_on: Value,
}

/// Returns the token of a 200 response to a request sent at `started`. `who` names the responder in
/// messages.
pub fn parse_token_response(
    failure_prefix: &str,
    who: &str,
    headers: &HeaderMap,
    body: &[u8],
    started: f64,
) -> Result<AccessToken> {
    // The body is never quoted: it may hold a token even if it is not as documented.
    let unusable = |why: String| {
        Error::new(Kind::Authentication, format!("{failure_prefix}: {who} answered 200 {why}"))
            .with_hint("check the authority; a sign-in page or proxy may be answering")
    };
    let content_type = || {
        headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("no content type")
    };
    let response: TokenResponse<'_> = serde_json::from_slice(body).map_err(|error| {
        if error.classify() == serde_json::error::Category::Data {
            return unusable("without an access_token".to_owned());
        }
        let mut error =
            unusable(format!("with a body that is not JSON ({})", sanitize(content_type(), 80)));
        // A page stays a page, but JSON that cannot be read was damaged on its way.
        error.retryable = content_type().starts_with("application/json");
        error
    })?;
    let token =
        response.access_token.ok_or_else(|| unusable("without an access_token".to_owned()))?;
    let secret = Secret::new(token);
    validate_token(&secret)?;
    // An App Service sends `expires_on` only, a login host `expires_in` only.
    let expires_at = positive_number(&response.expires_on)
        .or_else(|| positive_number(&response.expires_in).map(|life| started + life));
    let mut token = AccessToken::new(secret, expires_at);
    if token.expires_at.is_infinite() {
        token.expires_at = started + DEFAULT_TOKEN_LIFETIME;
    }
    Ok(token)
}
