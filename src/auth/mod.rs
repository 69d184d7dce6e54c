//! Tokens: where they come from, how long they are kept, and whose they are.

mod application;
mod assertion;
mod cache;
mod certificate;
mod challenge;
mod claims;
mod environment;
mod federated_token;
mod identity;
mod managed_identity;
mod static_token;
mod tenant;
mod token_endpoint;
mod token_error;
mod token_response;
mod token_retry;

use futures_util::future::BoxFuture;
use http::HeaderValue;

use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

pub use application::{Application, ApplicationTokenSource, ClientCredential};
pub use cache::TokenCache;
pub use certificate::Certificate;
pub use challenge::parse_claims_challenge;
pub use claims::Claims;
pub use environment::{Environment, ResolvedCredential, managed_identity, workload_identity};
pub use identity::Identity;
pub use managed_identity::{ManagedIdentity, ManagedIdentityTokenSource};
pub use static_token::StaticToken;
pub use tenant::validate_tenant;
pub use token_endpoint::TokenEndpoint;

/// A bearer token, and what is known of it.
#[derive(Clone, Debug)]
pub struct AccessToken {
    pub secret: Secret,
    /// Unix time; infinite for one that does not say.
    pub expires_at: f64,
    pub claims: Claims,
}

/// Where tokens come from.
pub trait TokenSource: Send + Sync + 'static {
    /// Gets a token, which may be one that the source still holds; with `claims`, which a claims challenge asked for as
    /// JSON, a new one that has them.
    fn fetch(&self, claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>>;

    /// The source in a few words, without a secret.
    fn describe(&self) -> String;
}

impl AccessToken {
    /// A token that expires at `expires_at`, else when its own claim says, else not until it is refused.
    pub fn new(secret: Secret, expires_at: Option<f64>) -> Self {
        let claims = Claims::from_token(secret.expose());
        let expires_at =
            expires_at.filter(|at| !at.is_nan()).or(claims.exp).unwrap_or(f64::INFINITY);
        Self { secret, expires_at, claims }
    }

    /// The value of the Authorization header, marked sensitive.
    pub fn authorization_header(&self) -> Result<HeaderValue> {
        validate_token(&self.secret)?;
        let text = zeroize::Zeroizing::new(format!("Bearer {}", self.secret.expose()));
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| invalid_token_error("holds what no header can"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Refuses a token that no header can hold, in words that do not repeat it.
fn validate_token(secret: &Secret) -> Result<()> {
    let token = secret.expose();
    if token.is_empty() {
        return Err(invalid_token_error("is empty"));
    }
    if token.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return Err(invalid_token_error("holds a blank or a line break"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid_token_error("holds characters that no token has"));
    }
    Ok(())
}

fn invalid_token_error(why: &str) -> Error {
    Error::new(Kind::Authentication, format!("the token {why}")).with_hint(
        "give the token alone: no \"Bearer\" before it, no quotes, no line break after it",
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::Value;

    use super::*;

    /// A token with these claims; its signature is none.
    pub(crate) fn jwt(claims: &Value) -> String {
        format!(
            "{}.{}.sig",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        )
    }

    #[test]
    fn the_header_is_marked_and_prints_no_token() {
        let token = AccessToken::new(Secret::new("abc.d-e_f~+/="), None);
        let header = token.authorization_header().unwrap();
        assert!(header.is_sensitive() && header == "Bearer abc.d-e_f~+/=");
        assert!(!format!("{header:?} {token:?}").contains("abc"));
    }

    #[test]
    fn a_token_that_no_header_can_hold_is_refused_unprinted() {
        for token in
            ["", "hush\n", "hush\r\nX-Injected: 1", "Bearer hush", "hush\0", "hüsh", "hush\u{7f}"]
        {
            let error =
                AccessToken::new(Secret::new(token), None).authorization_header().unwrap_err();
            assert_eq!(error.kind, Kind::Authentication);
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
    }

    #[test]
    fn expiry_is_as_given_else_as_claimed_else_never() {
        let claimed = jwt(&serde_json::json!({"exp": 1000}));
        let expiry = |token: &str, given| AccessToken::new(Secret::new(token), given).expires_at;
        assert_eq!(expiry(&claimed, Some(7.0)), 7.0);
        assert_eq!(expiry(&claimed, Some(f64::NAN)), 1000.0);
        assert_eq!(expiry(&claimed, None), 1000.0);
        assert_eq!(expiry("opaque", None), f64::INFINITY);
    }
}
