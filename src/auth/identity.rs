//! The identity that a client signs in with.

use std::sync::Arc;

use super::{
    ApplicationConfig, ApplicationTokenSource, ClientCredential, ManagedIdentity,
    ManagedIdentityTokenSource, StaticToken, TokenSource,
};
use crate::clock::Clock;
use crate::config::ClientOptions;
use crate::error::Result;
use crate::secret::Secret;
use crate::transport::Transport;

/// An identity of the tenant, and how to get tokens for it.
#[derive(Clone, Debug)]
pub enum Identity {
    /// A bearer token that the caller gave.
    Token(Secret),
    Application {
        tenant_id: String,
        client_id: String,
        credential: ClientCredential,
        /// The login host. The default is that of the client's cloud.
        authority: Option<String>,
    },
    Managed(ManagedIdentity),
}

impl Identity {
    /// Returns the tenant, if the identity names one.
    pub fn tenant_id(&self) -> Option<&str> {
        match self {
            Self::Application { tenant_id, .. } => Some(tenant_id),
            Self::Token(_) | Self::Managed(_) => None,
        }
    }

    /// Creates the source of this identity's tokens.
    pub fn token_source(
        &self,
        options: &ClientOptions,
        transport: &Arc<dyn Transport>,
        clock: Clock,
    ) -> Result<Arc<dyn TokenSource>> {
        let (transport, timeout) = (transport.clone(), options.request_timeout);
        Ok(match self {
            Self::Token(token) => Arc::new(StaticToken::new(token.clone(), clock)?),
            Self::Application { tenant_id, client_id, credential, authority } => {
                let application = ApplicationConfig {
                    tenant_id: tenant_id.clone(),
                    client_id: client_id.clone(),
                    credential: credential.clone(),
                    authority: authority.clone().unwrap_or_else(|| options.authority.clone()),
                    scope: options.scope.clone(),
                };
                Arc::new(ApplicationTokenSource::new(transport, clock, application, timeout)?)
            }
            Self::Managed(identity) => Arc::new(ManagedIdentityTokenSource::new(
                transport,
                clock,
                identity,
                &options.scope,
                timeout,
            )?),
        })
    }
}
