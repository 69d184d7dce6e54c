//! The core of an open client.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use super::LiveResponseClient;
use crate::error::{Error, Result};
use crate::python::client::config::ClientConfig;
use crate::python::convert::IntoPython;
use crate::python::gil_gate::enter;
use crate::python::runtime::{CoreTask, ForkSafe, check_memory};
use crate::session::Sessions;

/// A client's configuration and its core, until the client is closed.
pub struct ClientHandle {
    pub config: Arc<ClientConfig>,
    /// None once the client is closed.
    core: Mutex<Option<Arc<ForkSafe<Arc<Sessions>>>>>,
}

impl ClientHandle {
    pub fn new(py: Python<'_>, config: Arc<ClientConfig>) -> PyResult<Self> {
        let _inside = enter(py);
        check_memory()?;
        // Made here, so that wrong options raise now and not at the first call.
        let sessions = config.sessions(py)?;
        Ok(Self { config, core: Mutex::new(Some(Arc::new(ForkSafe::new(sessions)))) })
    }

    /// Returns the core of this process. A forked child makes its own.
    pub fn sessions(&self, py: Python<'_>) -> PyResult<Arc<Sessions>> {
        // Before the lock: a thread that holds it must not park.
        let _inside = enter(py);
        // Without the lock: a forked child runs Python code to make its core.
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match core {
            Some(core) => core.get_or_remake(|| Ok(self.config.sessions(py)?)),
            None => {
                let error = Error::invalid("the client is closed");
                Err(error.with_hint("make another one").into())
            }
        }
    }

    /// Returns the tenant that the caller named, or else that of the last token, or else that of
    /// the credential.
    pub fn tenant_id(&self, py: Python<'_>) -> Option<String> {
        let config = &self.config;
        let sessions = self.sessions(py).ok();
        let of_token = || sessions.and_then(|sessions| sessions.pipeline.tokens().tenant_id());
        let given = config.options.tenant_id.clone();
        given.or_else(of_token).or_else(|| config.credential.tenant_id())
    }

    /// Closes the client. Returns a task if the state store has writes to flush.
    pub fn close(&self) -> Option<CoreTask> {
        let closed = self.core.lock().unwrap_or_else(PoisonError::into_inner).take();
        let sessions = closed.as_ref().and_then(|core| core.get());
        let quota = sessions.and_then(|sessions| sessions.pipeline.quota_if_loaded());
        // Outside the lock: the drop of a credential may run the caller's code.
        drop(closed);
        quota.filter(|quota| quota.store().is_shared()).map(|quota| {
            CoreTask::without_client(async move {
                quota.flush().await;
                Ok(())
            })
        })
    }
}

impl LiveResponseClient {
    /// Makes the task of an operation.
    pub(super) fn make_task<T: IntoPython, F>(
        &self,
        py: Python<'_>,
        start: impl FnOnce(Arc<Sessions>) -> F,
    ) -> PyResult<CoreTask>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let sessions = self.handle.sessions(py)?;
        Ok(CoreTask::new(&sessions, start(sessions.clone())))
    }
}
