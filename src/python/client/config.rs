//! The configuration of a client. It makes the client's core, and makes a new one in a forked
//! child, which does not have the parent's threads and connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::future::BoxFuture;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::auth::{AccessToken, TokenCache, TokenSource};
use crate::clock::Clock;
use crate::config::ClientOptions;
use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::python::client::fork_hooks::{get_or_create_quotas, http_clients};
use crate::python::credentials::CredentialSource;
use crate::python::gil_gate::enter;
use crate::python::runtime::{ForkSafe, ProcessLocal};
use crate::session::Sessions;
use crate::transport::LoggingTransport;
use crate::transport::http::HttpTransport;

/// The arguments of a client, and the core that it made for this process.
pub struct ClientConfig {
    pub options: ClientOptions,
    pub credential: CredentialSource,
    current: Mutex<CurrentCore>,
}

type CurrentCore = Option<ProcessLocal<Weak<Sessions>>>;

/// Returns the core if this process made it and something uses it.
fn alive(current: &CurrentCore) -> Option<Arc<Sessions>> {
    current.as_ref().and_then(ProcessLocal::get).and_then(Weak::upgrade)
}

/// Keeps the configuration alive as long as the core: a session may outlive its client, and
/// needs the configuration in a forked child.
struct ConfigRetainingSource {
    source: Arc<dyn TokenSource>,
    _config: Arc<ClientConfig>,
}

impl TokenSource for ConfigRetainingSource {
    fn fetch(&self, claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        self.source.fetch(claims)
    }

    fn describe(&self) -> String {
        self.source.describe()
    }
}

impl ClientConfig {
    pub fn new(options: ClientOptions, credential: CredentialSource) -> Arc<Self> {
        Arc::new(Self { options, credential, current: Mutex::new(None) })
    }

    /// Returns the core of this process.
    pub fn sessions(self: &Arc<Self>, py: Python<'_>) -> Result<Arc<Sessions>> {
        if let Some(sessions) = alive(&self.current()) {
            return Ok(sessions);
        }
        // Without the lock: this runs Python code, which gives the GIL to other threads.
        let sessions = self.build(py)?;
        let mut current = self.current();
        // Another thread may have been faster. All use its core.
        if let Some(first) = alive(&current) {
            return Ok(first);
        }
        // Weak: the core lives as long as a client, a session or a library uses it.
        *current = Some(ProcessLocal::new(Arc::downgrade(&sessions)));
        Ok(sessions)
    }

    fn current(&self) -> MutexGuard<'_, CurrentCore> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn build(self: &Arc<Self>, py: Python<'_>) -> Result<Arc<Sessions>> {
        let clock = Clock::new();
        // Other connections in each process: one cannot be shared across a fork.
        let http = HttpTransport::new(&self.options, &http_clients(py))?;
        let transport = LoggingTransport::wrap(http, clock);
        let source = self.credential.token_source(py, &self.options, &transport, clock)?;
        let source = Arc::new(ConfigRetainingSource { source, _config: self.clone() });
        let tokens = TokenCache::new(source, self.options.tenant_id.clone(), clock)?;
        let pipeline =
            Pipeline::new(self.options.clone(), transport, tokens, get_or_create_quotas(py), clock);
        let config: Weak<Self> = Arc::downgrade(self);
        Ok(Arc::new(Sessions::with_owner(Arc::new(pipeline), config)))
    }
}

/// The core of a client, for an object that outlives the client. A forked child makes its own.
pub struct ForkSafeClient {
    core: ForkSafe<Arc<Sessions>>,
    config: Option<Arc<ClientConfig>>,
}

impl ForkSafeClient {
    pub fn new(sessions: Arc<Sessions>) -> Self {
        let config = sessions.owner().and_then(|owner| owner.downcast().ok());
        Self { core: ForkSafe::new(sessions), config }
    }

    pub fn sessions(&self, py: Python<'_>) -> PyResult<Arc<Sessions>> {
        // Before the locks: a thread that holds one must not park.
        let _inside = enter(py);
        self.core.get_or_remake(|| match &self.config {
            Some(config) => Ok(config.sessions(py)?),
            None => Err(PyRuntimeError::new_err(
                "this object belongs to the parent process: make a new one in the forked child",
            )),
        })
    }
}
