//! OAuth2 client credentials: an application that proves itself by a secret, a certificate or another issuer's token.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::assertion;
use super::certificate::Certificate;
use super::federated;
use super::{AccessToken, LoginEndpoint, TokenSource};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::transport::Transport;

/// An application, and what a token is wanted for.
#[derive(Clone, Debug)]
pub struct Application {
    /// The tenant's id, or a domain of it.
    pub tenant_id: String,
    pub client_id: String,
    pub proof: Proof,
    /// The login host.
    pub authority: String,
    pub scope: String,
}

/// How an application shows that it is itself.
#[derive(Clone, Debug)]
pub enum Proof {
    Secret(Secret),
    Certificate(Arc<Certificate>),
    /// A file with another issuer's token, which is replaced from time to time.
    FederatedToken(PathBuf),
}

/// Tokens for an application, each by one POST to the login host.
pub struct ApplicationSource {
    endpoint: LoginEndpoint,
    clock: Clock,
    client_id: String,
    proof: Proof,
    scope: String,
}

impl ApplicationSource {
    /// `timeout`: seconds of one request.
    pub fn new(transport: Arc<dyn Transport>, clock: Clock, application: Application, timeout: f64) -> Result<Self> {
        let Application { tenant_id, client_id, proof, authority, scope } = application;
        let endpoint = LoginEndpoint::new(transport, clock, &authority, &tenant_id, timeout)?;
        for (name, empty) in [
            ("client_id", client_id.trim().is_empty()),
            ("client_secret", matches!(&proof, Proof::Secret(secret) if secret.expose().is_empty())),
            ("scope", scope.trim().is_empty()),
        ] {
            if empty {
                return Err(Error::invalid(format!("{name} is empty")));
            }
        }
        Ok(Self { endpoint, clock, client_id, proof, scope })
    }

    async fn request(&self, claims: Option<String>) -> Result<AccessToken> {
        let (name, secret) = self.proof().await?;
        let mut form = vec![("client_id", self.client_id.as_str()), ("scope", self.scope.as_str())];
        if name == assertion::FIELD {
            form.push((assertion::TYPE_FIELD, assertion::TYPE));
        }
        form.extend([(name, secret.expose()), ("grant_type", "client_credentials")]);
        form.extend(claims.as_deref().map(|claims| ("claims", claims)));
        self.endpoint.request(&self.client_id, &form, &[&secret]).await
    }

    /// The form's field that proves it, made anew for each request.
    async fn proof(&self) -> Result<(&'static str, Cow<'_, Secret>)> {
        Ok(match &self.proof {
            Proof::Secret(secret) => ("client_secret", Cow::Borrowed(secret)),
            Proof::Certificate(certificate) => {
                let (audience, now) = (self.endpoint.url().as_str(), self.clock.now());
                (assertion::FIELD, Cow::Owned(assertion::signed(certificate, audience, &self.client_id, now)?))
            }
            Proof::FederatedToken(path) => (assertion::FIELD, Cow::Owned(federated::token(path).await?)),
        })
    }
}

impl TokenSource for ApplicationSource {
    fn fetch(&self, claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        self.request(claims).boxed()
    }

    fn describe(&self) -> String {
        let by = match self.proof {
            Proof::Secret(_) => "a client secret",
            Proof::Certificate(_) => "a certificate",
            Proof::FederatedToken(_) => "a federated token",
        };
        format!("{by} of application {} in tenant {}", self.client_id, self.endpoint.tenant())
    }
}

impl fmt::Debug for ApplicationSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

#[cfg(test)]
#[path = "application_tests.rs"]
mod tests;
