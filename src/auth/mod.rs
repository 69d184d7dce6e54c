//! Access tokens: credentials, the token cache and claims challenges.

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

use std::sync::OnceLock;

use futures_util::future::BoxFuture;
use http::HeaderValue;

use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

pub use application::{ApplicationConfig, ApplicationTokenSource, ClientCredential};
pub use cache::TokenCache;
pub use certificate::Certificate;
pub use challenge::parse_claims_challenge;
pub use claims::TokenClaims;
pub use environment::{Environment, ResolvedCredential, managed_identity, workload_identity};
pub use identity::Identity;
pub use managed_identity::{ManagedIdentity, ManagedIdentityTokenSource};
pub use static_token::StaticToken;
pub use tenant::validate_tenant;
pub use token_endpoint::TokenEndpoint;

/// A bearer token with its expiry and claims.
#[derive(Clone, Debug)]
pub struct AccessToken {
    pub secret: Secret,
    /// Unix time; infinite if the token does not name its expiry.
    pub expires_at: f64,
    pub claims: TokenClaims,
    /// The value of the Authorization header, made once.
    header: OnceLock<Result<HeaderValue>>,
}

/// A source of tokens, such as an application or a managed identity.
pub trait TokenSource: Send + Sync + 'static {
    /// Fetches a token; the source may return one that it holds. `claims` is the JSON of a claims
    /// challenge: with it, the source requests a new token that has these claims.
    fn fetch(&self, claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>>;

    /// Describes the source in a few words, without a secret.
    fn describe(&self) -> String;
}

impl AccessToken {
    /// Creates a token. Its expiry is `expires_at`, or else its claim `exp`, or else infinite.
    pub fn new(secret: Secret, expires_at: Option<f64>) -> Self {
        let claims = TokenClaims::from_token(secret.expose());
        let expires_at =
            expires_at.filter(|at| !at.is_nan()).or(claims.exp).unwrap_or(f64::INFINITY);
        Self { secret, expires_at, claims, header: OnceLock::new() }
    }

    /// Returns the value of the Authorization header, marked sensitive.
    pub fn authorization_header(&self) -> Result<HeaderValue> {
        self.header.get_or_init(|| self.make_header()).clone()
    }

    fn make_header(&self) -> Result<HeaderValue> {
        validate_token(&self.secret)?;
        let text = zeroize::Zeroizing::new(format!("Bearer {}", self.secret.expose()));
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| invalid_token_error("holds characters that no header may have"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Refuses a token that no header may have. The error does not repeat the token.
fn validate_token(secret: &Secret) -> Result<()> {
    let token = secret.expose();
    if token.is_empty() {
        return Err(invalid_token_error("is empty"));
    }
    // Checked first, for a better message: a pasted token often has "Bearer " or a line break.
    if token.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return Err(invalid_token_error("holds a space or a line break"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid_token_error("holds characters that no token may have"));
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

    /// Returns a token with these claims and an invalid signature.
    pub(crate) fn jwt(claims: &Value) -> String {
        format!(
            "{}.{}.sig",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        )
    }

    #[test]
    fn the_header_is_sensitive_and_not_printed() {
        let token = AccessToken::new(Secret::new("abc.d-e_f~+/="), None);
        let header = token.authorization_header().unwrap();
        assert!(header.is_sensitive() && header == "Bearer abc.d-e_f~+/=");
        assert!(!format!("{header:?} {token:?}").contains("abc"));
    }

    #[test]
    fn an_invalid_token_is_refused_and_not_printed() {
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
    fn expiry_falls_back_to_the_claim_and_to_never() {
        let claimed = jwt(&serde_json::json!({"exp": 1000}));
        let expiry = |token: &str, given| AccessToken::new(Secret::new(token), given).expires_at;
        assert_eq!(expiry(&claimed, Some(7.0)), 7.0);
        assert_eq!(expiry(&claimed, Some(f64::NAN)), 1000.0);
        assert_eq!(expiry(&claimed, None), 1000.0);
        assert_eq!(expiry("opaque", None), f64::INFINITY);
    }
}
