//! The path of every call to the service:
//!
//! 1. limits: waits in the queue of the endpoint's rate window;
//! 2. auth: gets a token, and a fresh one if the service refuses it;
//! 3. transport: sends one request, without retries of its own;
//! 4. classify: reads the response as a success, a refusal or an unknown outcome;
//! 5. decode: undoes the content coding; the caller gives the decoder of the model;
//! 6. retry: decides in [`Pipeline::call`]. A submit decides for itself, in `session::submit`.

mod api_call;
mod blob_storage;
mod body;
mod call;
mod exchange;
mod result_hosts;
mod service_clock;

use std::fmt;
use std::sync::atomic::AtomicU16;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

pub use api_call::ApiCall;
pub use blob_storage::is_access_blocked;
pub use result_hosts::ResultHosts;
pub use service_clock::ServiceClock;

use crate::auth::TokenCache;
use crate::classify::Throttle;
use crate::clock::Clock;
use crate::config::ClientOptions;
use crate::error::{Error, Result};
use crate::limits::{Quota, QuotaRegistry};
use crate::retry::RetryBudget;
use crate::state::settings::StoreSettings;
use crate::state::{QuotaKey, memory_warning, service_name};
use crate::transport::Transport;

/// A successful response.
pub struct ApiResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl fmt::Debug for ApiResponse {
    /// Omits the body, which may be a result link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiResponse({}, {} bytes)", self.status.as_u16(), self.body.len())
    }
}

/// How one request ended.
#[derive(Debug)]
pub enum AttemptOutcome {
    Succeeded(ApiResponse),
    /// The service refused the call, or it was not sent and a retry cannot help.
    Refused(Error),
    /// The service refused the token, which is dropped. One retry with a fresh token may succeed.
    TokenRefused(Error),
    Throttled(Throttle, Error),
    /// No byte of the request was sent. A retry may succeed.
    NotSent(Error),
    /// The service may have acted: the response was lost, or it was a 5xx.
    Ambiguous(Error),
}

/// Sends the calls of one client.
pub struct Pipeline {
    pub options: ClientOptions,
    pub clock: Clock,
    pub transport: Arc<dyn Transport>,
    tokens: TokenCache,
    quotas: Arc<QuotaRegistry>,
    quota: Mutex<Option<(QuotaKey, Arc<Quota>)>>,
    budget: RetryBudget,
    /// The service's time, which decides whether an action is older than a POST.
    pub service_clock: ServiceClock,
    pub result_hosts: ResultHosts,
    /// The status with which the service accepted the last submit. 0: it accepted none.
    pub accepted_status: AtomicU16,
}

impl Pipeline {
    pub fn new(
        options: ClientOptions,
        transport: Arc<dyn Transport>,
        tokens: TokenCache,
        quotas: Arc<QuotaRegistry>,
        clock: Clock,
    ) -> Self {
        let budget = RetryBudget::default();
        Self {
            options,
            clock,
            transport,
            tokens,
            quotas,
            quota: Mutex::new(None),
            budget,
            result_hosts: ResultHosts::default(),
            service_clock: ServiceClock::default(),
            accepted_status: AtomicU16::new(0),
        }
    }

    pub fn tokens(&self) -> &TokenCache {
        &self.tokens
    }

    /// Returns the key by which the service counts the limits, and the state that is shared under
    /// it. Fetches a token if there is none, because the key is in its claims.
    pub async fn shared_quota(&self) -> Result<(QuotaKey, Arc<Quota>)> {
        let known = self.quota.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let claims = self.tokens.get_token().await?.claims.clone();
        let key = QuotaKey {
            host: service_name(self.options.endpoint.authority()),
            tenant: claims.tid.unwrap_or_default(),
            application: claims.appid.unwrap_or_default(),
        };
        let ClientOptions { state, limits, connect_timeout, request_timeout, network, .. } =
            &self.options;
        let settings = StoreSettings {
            ca_bundle: network.ca_bundle.clone(),
            ..StoreSettings::new(&key, limits, self.clock)
        };
        // A call that lasts longer than this belongs to a process that crashed.
        let call_lease = connect_timeout + 2.0 * request_timeout;
        let quota = self.quotas.get_with(state.expose(), settings, call_lease).await?;
        if !quota.store().is_shared() {
            memory_warning::warn_once();
        }
        let mut known = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.get_or_insert((key, quota)).clone())
    }

    /// Adds the call's machine and action, and the tenant, to an error that does not name them yet.
    fn annotate(&self, call: &ApiCall, error: Error) -> Error {
        let mut error = call.annotate(error);
        error.tenant_id = error.tenant_id.take().or_else(|| self.tokens.tenant_id());
        error
    }

    /// Returns the shared state if it is loaded already.
    pub fn quota_if_loaded(&self) -> Option<Arc<Quota>> {
        self.quota
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(|(_, quota)| quota.clone())
    }
}
