//! Tokens for an application: the OAuth 2.0 client credentials grant with a secret, a certificate
//! or a federated token.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::assertion;
use super::certificate::Certificate;
use super::federated_token;
use super::{AccessToken, TokenEndpoint, TokenSource};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::transport::Transport;

/// An application, its credential and the scope of its tokens.
#[derive(Clone, Debug)]
pub struct ApplicationConfig {
    /// Tenant id, or a domain of the tenant.
    pub tenant_id: String,
    pub client_id: String,
    pub credential: ClientCredential,
    /// The login host.
    pub authority: String,
    pub scope: String,
}

/// The credential of an application.
#[derive(Clone, Debug)]
pub enum ClientCredential {
    Secret(Secret),
    Certificate(Arc<Certificate>),
    /// A file with a token of another issuer, which the platform replaces from time to time.
    FederatedToken(PathBuf),
}

/// Requests tokens for an application from the login host.
pub struct ApplicationTokenSource {
    endpoint: TokenEndpoint,
    clock: Clock,
    client_id: String,
    credential: ClientCredential,
    scope: String,
}

impl ApplicationTokenSource {
    /// Checks the fields of `application`. `timeout` is in seconds, for one request.
    pub fn new(
        transport: Arc<dyn Transport>,
        clock: Clock,
        application: ApplicationConfig,
        timeout: f64,
    ) -> Result<Self> {
        let ApplicationConfig { tenant_id, client_id, credential, authority, scope } = application;
        let endpoint = TokenEndpoint::new(transport, clock, &authority, &tenant_id, timeout)?;
        for (name, empty) in [
            ("client_id", client_id.trim().is_empty()),
            (
                "client_secret",
                matches!(&credential, ClientCredential::Secret(secret) if secret.expose().is_empty()),
            ),
            ("scope", scope.trim().is_empty()),
        ] {
            if empty {
                return Err(Error::invalid(format!("{name} is empty")));
            }
        }
        Ok(Self { endpoint, clock, client_id, credential, scope })
    }

    async fn request_token(&self, claims: Option<String>) -> Result<AccessToken> {
        let (name, secret) = self.client_credential_field().await?;
        let mut form = vec![("client_id", self.client_id.as_str()), ("scope", self.scope.as_str())];
        if name == assertion::FIELD {
            form.push((assertion::TYPE_FIELD, assertion::TYPE));
        }
        form.extend([(name, secret.expose()), ("grant_type", "client_credentials")]);
        // Claims of a challenge: without them the login host would return the refused kind of token.
        form.extend(claims.as_deref().map(|claims| ("claims", claims)));
        self.endpoint.request_token(&self.client_id, &form, &[&secret]).await
    }

    /// Returns the form field that authenticates the application.
    async fn client_credential_field(&self) -> Result<(&'static str, Cow<'_, Secret>)> {
        // Built for every request: an assertion is valid once and for 10 minutes, and the platform
        // replaces the federated token.
        Ok(match &self.credential {
            ClientCredential::Secret(secret) => ("client_secret", Cow::Borrowed(secret)),
            ClientCredential::Certificate(certificate) => {
                let (audience, now) = (self.endpoint.url().as_str(), self.clock.now());
                (
                    assertion::FIELD,
                    Cow::Owned(assertion::build_signed_jwt(
                        certificate,
                        audience,
                        &self.client_id,
                        now,
                    )?),
                )
            }
            ClientCredential::FederatedToken(path) => {
                (assertion::FIELD, Cow::Owned(federated_token::read_token(path).await?))
            }
        })
    }
}

impl TokenSource for ApplicationTokenSource {
    fn fetch(&self, claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        self.request_token(claims).boxed()
    }

    fn describe(&self) -> String {
        let by = match self.credential {
            ClientCredential::Secret(_) => "a client secret",
            ClientCredential::Certificate(_) => "a certificate",
            ClientCredential::FederatedToken(_) => "a federated token",
        };
        format!("{by} of application {} in tenant {}", self.client_id, self.endpoint.tenant())
    }
}

impl fmt::Debug for ApplicationTokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

#[cfg(test)]
#[path = "application_tests.rs"]
mod tests;
