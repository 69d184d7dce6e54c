//! How a client's core is made, and made again in a forked child, where the parent's threads and connections are not.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::future::BoxFuture;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::auth::{AccessToken, TokenCache, TokenSource};
use crate::clock::Clock;
use crate::config::ClientOptions;
use crate::error::Result;
use crate::limits::QuotaRegistry;
use crate::pipeline::Pipeline;
use crate::python::credentials::CredentialSource;
use crate::python::errors::to_pyerr;
use crate::python::runtime::{CoreTask, ProcessLocal, run_blocking};
use crate::session::Sessions;
use crate::transport::LoggingTransport;
use crate::transport::http::HttpTransport;

/// What a client was made with.
pub struct ClientConfig {
    pub options: ClientOptions,
    pub credential: CredentialSource,
    current: Mutex<Option<ProcessLocal<Weak<Sessions>>>>,
}

/// Keeps the config for as long as the core lives, whose client may be gone before its sessions.
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

/// The cores that live, and what each was made with: a Session or a Library knows its core alone.
static LIVE_CLIENTS: Mutex<Vec<(Weak<Sessions>, Weak<ClientConfig>)>> = Mutex::new(Vec::new());

/// What this process shares under its quota keys.
static QUOTAS: Mutex<Option<ProcessLocal<Arc<QuotaRegistry>>>> = Mutex::new(None);

fn get_or_create_quotas(_gil: Python<'_>) -> Arc<QuotaRegistry> {
    existing_quotas().unwrap_or_else(|| {
        let quotas = Arc::new(QuotaRegistry::default());
        *QUOTAS.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(ProcessLocal::new(quotas.clone()));
        quotas
    })
}

fn existing_quotas() -> Option<Arc<QuotaRegistry>> {
    QUOTAS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .and_then(ProcessLocal::get)
        .cloned()
}

/// Before a fork: SQLite's locks are the process's, and a child that inherits an open file would break them.
#[pyfunction]
fn before_fork(py: Python<'_>) {
    if let Some(quotas) = existing_quotas() {
        py.detach(|| quotas.quiesce());
    }
}

#[pyfunction]
fn after_fork_in_parent(py: Python<'_>) {
    if let Some(quotas) = existing_quotas() {
        py.detach(|| quotas.reopen());
    }
}

/// Before the runtime ends.
#[pyfunction]
fn at_exit(py: Python<'_>) -> PyResult<()> {
    let shared = existing_quotas().map(|quotas| quotas.shared_with_others()).unwrap_or_default();
    if shared.is_empty() {
        return Ok(());
    }
    let flushed = async move {
        for quota in shared {
            quota.flush().await;
        }
        Ok(())
    };
    run_blocking(py, CoreTask::without_client(flushed)).map(drop)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module
        .py()
        .import("atexit")?
        .call_method1("register", (pyo3::wrap_pyfunction!(at_exit, module)?,))?;
    let os = module.py().import("os")?;
    if os.hasattr("register_at_fork")? {
        let hooks = PyDict::new(module.py());
        hooks.set_item("before", pyo3::wrap_pyfunction!(before_fork, module)?)?;
        hooks.set_item("after_in_parent", pyo3::wrap_pyfunction!(after_fork_in_parent, module)?)?;
        os.call_method("register_at_fork", (), Some(&hooks))?;
    }
    Ok(())
}

impl ClientConfig {
    pub fn new(options: ClientOptions, credential: CredentialSource) -> Arc<Self> {
        Arc::new(Self { options, credential, current: Mutex::new(None) })
    }

    /// The core of this process.
    pub fn sessions(self: &Arc<Self>, py: Python<'_>) -> Result<Arc<Sessions>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sessions) = current.as_ref().and_then(ProcessLocal::get).and_then(Weak::upgrade)
        {
            return Ok(sessions);
        }
        let sessions = self.build(py)?;
        *current = Some(ProcessLocal::new(Arc::downgrade(&sessions)));
        let mut all = LIVE_CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(sessions, _)| sessions.strong_count() > 0);
        all.push((Arc::downgrade(&sessions), Arc::downgrade(self)));
        Ok(sessions)
    }

    fn build(self: &Arc<Self>, py: Python<'_>) -> Result<Arc<Sessions>> {
        let clock = Clock::new();
        let transport = LoggingTransport::wrap(HttpTransport::new(&self.options)?, clock);
        let source = self.credential.token_source(py, &self.options, &transport, clock)?;
        let source = Arc::new(ConfigRetainingSource { source, _config: self.clone() });
        let tokens = TokenCache::new(source, self.options.tenant_id.clone(), clock)?;
        let pipeline =
            Pipeline::new(self.options.clone(), transport, tokens, get_or_create_quotas(py), clock);
        Ok(Arc::new(Sessions::new(Arc::new(pipeline))))
    }

    fn find_by_sessions(sessions: &Arc<Sessions>) -> Option<Arc<Self>> {
        let all = LIVE_CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .find(|(made, _)| std::ptr::eq(made.as_ptr(), Arc::as_ptr(sessions)))
            .and_then(|(_, config)| config.upgrade())
    }
}

/// A core that finds itself again in a forked child.
pub struct ForkSafeClient {
    core: ProcessLocal<Arc<Sessions>>,
    config: Option<Arc<ClientConfig>>,
    /// The child's own.
    in_child: Mutex<Option<ProcessLocal<Arc<Sessions>>>>,
}

impl ForkSafeClient {
    pub fn new(sessions: Arc<Sessions>) -> Self {
        let config = ClientConfig::find_by_sessions(&sessions);
        Self { core: ProcessLocal::new(sessions), config, in_child: Mutex::new(None) }
    }

    pub fn sessions(&self, py: Python<'_>) -> PyResult<Arc<Sessions>> {
        if let Some(sessions) = self.core.get() {
            return Ok(sessions.clone());
        }
        let mut in_child = self.in_child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sessions) = in_child.as_ref().and_then(ProcessLocal::get) {
            return Ok(sessions.clone());
        }
        let config = self.config.as_ref().ok_or_else(|| {
            pyo3::exceptions::PyRuntimeError::new_err(
                "this belongs to the parent: make it anew in the forked child",
            )
        })?;
        let sessions = config.sessions(py).map_err(|error| to_pyerr(py, error))?;
        *in_child = Some(ProcessLocal::new(sessions.clone()));
        Ok(sessions)
    }
}
