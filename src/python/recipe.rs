//! How a client's core is made, and made again in a forked child, where the parent's threads and connections are not.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::future::BoxFuture;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::credentials::Given;
use super::errors::to_python;
use super::runtime::{Call, Own, run_blocking};
use crate::auth::{AccessToken, TokenCache, TokenSource};
use crate::clock::Clock;
use crate::config::Options;
use crate::error::Result;
use crate::limits::Quotas;
use crate::pipeline::Pipeline;
use crate::session::Sessions;
use crate::transport::Told;
use crate::transport::http::HttpTransport;

/// What a client was made with.
pub struct Recipe {
    pub options: Options,
    pub given: Given,
    made: Mutex<Option<Own<Weak<Sessions>>>>,
}

/// Keeps the recipe for as long as the core lives, whose client may be gone before its sessions.
struct Keeping {
    source: Arc<dyn TokenSource>,
    _recipe: Arc<Recipe>,
}

impl TokenSource for Keeping {
    fn fetch(&self, claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        self.source.fetch(claims)
    }

    fn describe(&self) -> String {
        self.source.describe()
    }
}

/// The cores that live, and what each was made with: a Session or a Library knows its core alone.
static MADE: Mutex<Vec<(Weak<Sessions>, Weak<Recipe>)>> = Mutex::new(Vec::new());

/// What this process shares under its quota keys.
static QUOTAS: Mutex<Option<Own<Arc<Quotas>>>> = Mutex::new(None);

fn quotas(_gil: Python<'_>) -> Arc<Quotas> {
    known_quotas().unwrap_or_else(|| {
        let quotas = Arc::new(Quotas::default());
        *QUOTAS.lock().unwrap_or_else(PoisonError::into_inner) = Some(Own::new(quotas.clone()));
        quotas
    })
}

fn known_quotas() -> Option<Arc<Quotas>> {
    QUOTAS.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Own::get).cloned()
}

/// Before a fork: SQLite's locks are the process's, and a child that inherits an open file would break them.
#[pyfunction]
fn before_fork(py: Python<'_>) {
    if let Some(quotas) = known_quotas() {
        py.detach(|| quotas.quiesce());
    }
}

#[pyfunction]
fn after_fork_in_parent(py: Python<'_>) {
    if let Some(quotas) = known_quotas() {
        py.detach(|| quotas.reopen());
    }
}

/// Before the runtime ends.
#[pyfunction]
fn at_exit(py: Python<'_>) -> PyResult<()> {
    let shared = known_quotas().map(|quotas| quotas.shared_with_others()).unwrap_or_default();
    if shared.is_empty() {
        return Ok(());
    }
    let flushed = async move {
        for quota in shared {
            quota.flush().await;
        }
        Ok(())
    };
    run_blocking(py, Call::alone(flushed)).map(drop)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.py().import("atexit")?.call_method1("register", (pyo3::wrap_pyfunction!(at_exit, module)?,))?;
    let os = module.py().import("os")?;
    if os.hasattr("register_at_fork")? {
        let hooks = PyDict::new(module.py());
        hooks.set_item("before", pyo3::wrap_pyfunction!(before_fork, module)?)?;
        hooks.set_item("after_in_parent", pyo3::wrap_pyfunction!(after_fork_in_parent, module)?)?;
        os.call_method("register_at_fork", (), Some(&hooks))?;
    }
    Ok(())
}

impl Recipe {
    pub fn new(options: Options, given: Given) -> Arc<Self> {
        Arc::new(Self { options, given, made: Mutex::new(None) })
    }

    /// The core of this process.
    pub fn sessions(self: &Arc<Self>, py: Python<'_>) -> Result<Arc<Sessions>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sessions) = made.as_ref().and_then(Own::get).and_then(Weak::upgrade) {
            return Ok(sessions);
        }
        let sessions = self.build(py)?;
        *made = Some(Own::new(Arc::downgrade(&sessions)));
        let mut all = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(sessions, _)| sessions.strong_count() > 0);
        all.push((Arc::downgrade(&sessions), Arc::downgrade(self)));
        Ok(sessions)
    }

    fn build(self: &Arc<Self>, py: Python<'_>) -> Result<Arc<Sessions>> {
        let clock = Clock::new();
        let transport = Told::over(HttpTransport::new(&self.options)?, clock);
        let source = self.given.source(py, &self.options, &transport, clock)?;
        let source = Arc::new(Keeping { source, _recipe: self.clone() });
        let tokens = TokenCache::new(source, self.options.tenant_id.clone(), clock)?;
        let pipeline = Pipeline::new(self.options.clone(), transport, tokens, quotas(py), clock);
        Ok(Arc::new(Sessions::new(Arc::new(pipeline))))
    }

    fn of(sessions: &Arc<Sessions>) -> Option<Arc<Self>> {
        let all = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .find(|(made, _)| std::ptr::eq(made.as_ptr(), Arc::as_ptr(sessions)))
            .and_then(|(_, recipe)| recipe.upgrade())
    }
}

/// A core that finds itself again in a forked child.
pub struct Home {
    core: Own<Arc<Sessions>>,
    recipe: Option<Arc<Recipe>>,
    /// The child's own.
    reborn: Mutex<Option<Own<Arc<Sessions>>>>,
}

impl Home {
    pub fn new(sessions: Arc<Sessions>) -> Self {
        let recipe = Recipe::of(&sessions);
        Self { core: Own::new(sessions), recipe, reborn: Mutex::new(None) }
    }

    pub fn sessions(&self, py: Python<'_>) -> PyResult<Arc<Sessions>> {
        if let Some(sessions) = self.core.get() {
            return Ok(sessions.clone());
        }
        let mut reborn = self.reborn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sessions) = reborn.as_ref().and_then(Own::get) {
            return Ok(sessions.clone());
        }
        let recipe = self.recipe.as_ref().ok_or_else(|| {
            pyo3::exceptions::PyRuntimeError::new_err("this belongs to the parent: make it anew in the forked child")
        })?;
        let sessions = recipe.sessions(py).map_err(|error| to_python(py, error))?;
        *reborn = Some(Own::new(sessions.clone()));
        Ok(sessions)
    }
}
