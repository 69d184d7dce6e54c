//! A fixed token.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{AccessToken, TokenSource, validate_token};
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// A bearer token that the caller gave. It is used until it expires.
///
/// After a 401 the same token is returned once more: a service that refuses a token by mistake must
/// not disable the client for good. The second 401 becomes the error, and its hint asks for a fresh
/// token.
#[derive(Debug)]
pub struct StaticToken {
    token: AccessToken,
    clock: Clock,
}

impl StaticToken {
    /// Refuses a token that no header may have.
    pub fn new(secret: Secret, clock: Clock) -> Result<Self> {
        validate_token(&secret)?;
        Ok(Self { token: AccessToken::new(secret, None), clock })
    }

    fn get(&self) -> Result<AccessToken> {
        let age = self.clock.now() - self.token.expires_at;
        if age < 0.0 {
            return Ok(self.token.clone());
        }
        let message = format!("the given token expired {age:.0} s ago");
        let hint = "give a fresh token, or a credential that can fetch one";
        Err(Error::new(Kind::Authentication, message).with_hint(hint))
    }
}

impl TokenSource for StaticToken {
    fn fetch(&self, _claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        std::future::ready(self.get()).boxed()
    }

    fn describe(&self) -> String {
        "a given token".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::tests::jwt;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_used_until_it_expires() {
        let clock = Clock::new();
        let token = jwt(&json!({"exp": clock.now() + 60.0, "tid": "t"}));
        let source = StaticToken::new(Secret::new(&token), clock).unwrap();
        assert_eq!(source.fetch(None).await.unwrap().claims.tid.as_deref(), Some("t"));
        clock.sleep(61.0).await;
        let error = source.fetch(None).await.unwrap_err();
        assert_eq!(error.kind, Kind::Authentication);
        assert!(
            error.message.contains("expired 1 s ago")
                && error.hint.as_deref().unwrap().contains("fresh"),
            "{error}"
        );
        assert!(!format!("{error:?} {source:?}").contains(&token));
    }

    #[tokio::test(start_paused = true)]
    async fn an_opaque_token_never_expires() {
        let clock = Clock::new();
        let source = StaticToken::new(Secret::new("opaque"), clock).unwrap();
        clock.sleep(1e6).await;
        assert_eq!(source.fetch(None).await.unwrap().expires_at, f64::INFINITY);
        assert_eq!(
            StaticToken::new(Secret::new("a\n"), clock).unwrap_err().kind,
            Kind::Authentication
        );
    }
}
