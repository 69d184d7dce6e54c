//! OAuth2 client credentials with a secret.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{AccessToken, LoginEndpoint, TokenSource};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::transport::Transport;

/// An application and its secret, and what a token is wanted for.
#[derive(Clone, Debug)]
pub struct ClientSecret {
    /// The tenant's id, or a domain of it.
    pub tenant_id: String,
    pub client_id: String,
    pub secret: Secret,
    /// The login host.
    pub authority: String,
    pub scope: String,
}

/// Tokens for an application, each by one POST to the login host.
pub struct ClientSecretSource {
    endpoint: LoginEndpoint,
    client_id: String,
    secret: Secret,
    scope: String,
}

impl ClientSecretSource {
    /// `timeout`: seconds of one request.
    pub fn new(transport: Arc<dyn Transport>, clock: Clock, client: ClientSecret, timeout: f64) -> Result<Self> {
        let ClientSecret { tenant_id, client_id, secret, authority, scope } = client;
        let endpoint = LoginEndpoint::new(transport, clock, &authority, &tenant_id, timeout)?;
        for (name, empty) in [
            ("client_id", client_id.trim().is_empty()),
            ("client_secret", secret.expose().is_empty()),
            ("scope", scope.trim().is_empty()),
        ] {
            if empty {
                return Err(Error::invalid(format!("{name} is empty")));
            }
        }
        Ok(Self { endpoint, client_id, secret, scope })
    }

    async fn request(&self) -> Result<AccessToken> {
        let form = [
            ("client_id", self.client_id.as_str()),
            ("scope", self.scope.as_str()),
            ("client_secret", self.secret.expose()),
            ("grant_type", "client_credentials"),
        ];
        self.endpoint.request(&self.client_id, &form, &[&self.secret]).await
    }
}

impl TokenSource for ClientSecretSource {
    fn fetch(&self) -> BoxFuture<'_, Result<AccessToken>> {
        self.request().boxed()
    }

    fn describe(&self) -> String {
        format!("a client secret of application {} in tenant {}", self.client_id, self.endpoint.tenant())
    }
}

impl fmt::Debug for ClientSecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

#[cfg(test)]
#[path = "client_secret_tests.rs"]
mod tests;
