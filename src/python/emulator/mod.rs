//! `EmulatorServer`. Private: `mde_live_response.emulator.Emulator` is the public class.

mod config;
mod script;
mod server;
mod values;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use self::config::EmulatorConfig;
use self::server::{RunningServer, ServerAddresses};
use crate::emulator::{
    Emulator, EmulatorClock, NewMachine, ScriptOutcome, ServerSettings, Settings, Switches,
    check_file_name,
};
use crate::error::Result;
use crate::python::gil_gate::detach;
use crate::python::models::{Limits, Machine};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<EmulatorConfig>()?;
    module.add_class::<EmulatorServer>()
}

/// An emulator behind a TCP port, with threads of its own.
#[pyclass(frozen, module = "mde_live_response._native")]
struct EmulatorServer {
    emulator: Emulator,
    running: Mutex<Option<RunningServer>>,
    reached_at: ServerAddresses,
    /// The process that has the server's threads. A forked child has none of them.
    pid: u32,
}

impl Drop for EmulatorServer {
    fn drop(&mut self) {
        if let Some(running) = self.take_running() {
            // Does not wait for the threads: the drop holds the GIL, which a running script needs.
            running.runtime.shutdown_background();
        }
    }
}

impl EmulatorServer {
    /// Takes the server, to stop it once. A forked child abandons its copy, which has no
    /// threads.
    fn take_running(&self) -> Option<RunningServer> {
        if self.pid != std::process::id() {
            if let Ok(mut running) = self.running.try_lock() {
                // Stopping would wait for threads that exist in the parent only.
                std::mem::forget(running.take());
            }
            return None;
        }
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Calls `act` without the GIL.
    fn with_emulator<T: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&Emulator) -> Result<T> + Send,
    ) -> PyResult<T> {
        // In a forked child, the emulator's lock may be held by a thread that does not exist
        // there.
        if self.pid != std::process::id() {
            return Err(PyRuntimeError::new_err(
                "this emulator belongs to the process that started it",
            ));
        }
        Ok(detach(py, || act(&self.emulator))?)
    }
}

#[pymethods]
impl EmulatorServer {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "the parts of the public class's constructor")]
    fn new(
        py: Python<'_>,
        machines: usize,
        limits: Bound<'_, Limits>,
        speed: f64,
        seed: u64,
        host: String,
        port: u16,
        tls: bool,
        switches: String,
        tls_names: Vec<String>,
        certificate: Option<(PathBuf, PathBuf)>,
        ca_folder: Option<PathBuf>,
        proxy: Option<u16>,
        control: bool,
        config: Option<Bound<'_, EmulatorConfig>>,
    ) -> PyResult<Self> {
        let limits = limits.get().core().clone();
        let config = config.map(|config| config.get().core().clone()).unwrap_or_default();
        let network =
            ServerSettings { host, port, tls, tls_names, certificate, ca_folder, proxy, control };
        let start = move || -> Result<(Emulator, RunningServer)> {
            let switches = Switches::from_json(&switches)?;
            let clock = EmulatorClock::scaled(speed);
            let settings = Settings { machines, limits, seed, switches, clock };
            RunningServer::start(settings, &config, &network)
        };
        let (emulator, running) = detach(py, start)?;
        let (reached_at, pid) = (running.addresses(), std::process::id());
        Ok(Self { emulator, running: Mutex::new(Some(running)), reached_at, pid })
    }

    /// Stop serving and close every connection.
    fn close(&self, py: Python<'_>) {
        let Some(running) = self.take_running() else { return };
        detach(py, || {
            running.stop();
            // A script may refer to the public object, which refers to this one: break the
            // cycle.
            self.emulator.forget_scripts();
        });
    }

    #[getter]
    fn ca(&self) -> Option<&str> {
        self.reached_at.ca.as_deref()
    }

    #[getter]
    fn proxy_url(&self) -> Option<&str> {
        self.reached_at.proxy_url.as_deref()
    }

    /// The hosts and ports on which it listens: of the API, of the blob storage and of the proxy.
    #[getter]
    fn addresses(&self) -> Vec<(String, u16)> {
        let listening = self.reached_at.listening.iter();
        listening.map(|address| (address.ip().to_string(), address.port())).collect()
    }

    /// Return addresses and credentials: `url`, `login_url`, `tenant_id`, `client_id`,
    /// `client_secret`, `token`.
    fn credentials(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.with_emulator(py, |emulator| {
            let mut all = vec![emulator.url(), emulator.login_url()];
            all.extend([emulator.tenant_id(), emulator.client_id()]);
            all.extend([emulator.client_secret(), emulator.token()]);
            Ok(all)
        })
    }

    fn token_with(&self, py: Python<'_>, roles: Vec<String>) -> PyResult<String> {
        self.with_emulator(py, |emulator| Ok(emulator.token_with(roles)))
    }

    fn add_certificate(&self, py: Python<'_>, certificate: &[u8]) -> PyResult<()> {
        self.with_emulator(py, |emulator| emulator.add_certificate(certificate))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of the public class's method")]
    fn add_machine(
        &self,
        py: Python<'_>,
        name: String,
        online: bool,
        start_delay: f64,
        remediation_level: bool,
        supported: bool,
        properties: String,
    ) -> PyResult<Machine> {
        let added = self.with_emulator(py, |emulator| {
            let (id, properties) = values::machine_properties(&properties)?;
            emulator.add_machine(NewMachine {
                name,
                id,
                online,
                start_delay,
                remediation_level,
                supported,
                properties,
            })
        });
        added.map(Machine::from)
    }

    fn set_online(&self, py: Python<'_>, machine: &str, online: bool) -> PyResult<()> {
        self.with_emulator(py, |emulator| emulator.set_online(machine, online))
    }

    fn set_stuck(&self, py: Python<'_>, machine: &str, stuck: bool) -> PyResult<()> {
        self.with_emulator(py, |emulator| emulator.set_stuck(machine, stuck))
    }

    fn add_library_file(&self, py: Python<'_>, name: &str, content: &[u8]) -> PyResult<()> {
        self.with_emulator(py, |emulator| {
            check_file_name(name)?;
            emulator.add_library_file(name, content);
            Ok(())
        })
    }

    /// Set what a script does. `call`, if given, gets the machine's id and the arguments, and
    /// returns `(stdout, stderr, exit_code)`.
    #[expect(clippy::too_many_arguments, reason = "the parts of the public class's method")]
    fn on_script(
        &self,
        py: Python<'_>,
        name: &str,
        stdout: String,
        stderr: String,
        exit_code: Option<i64>,
        duration: f64,
        fails: Option<String>,
        call: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let outcome = ScriptOutcome { stdout, stderr, exit_code, duration, fails, raw: None };
        let behaviour = script::behaviour(outcome, call);
        self.with_emulator(py, |emulator| {
            check_file_name(name)?;
            emulator.on_script(name, behaviour);
            Ok(())
        })
    }

    /// Put a file on a machine. `content` is bytes or the path of a local file.
    fn put_remote_file(
        &self,
        py: Python<'_>,
        machine: &str,
        path: &str,
        content: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let content = values::content(content)?;
        self.with_emulator(py, |emulator| emulator.put_remote_file(machine, path, content))
    }

    /// Add an entry of a section of a config, as JSON. Return what a caller may want to know of it,
    /// as JSON.
    fn add_entry(&self, py: Python<'_>, section: &str, entry: &str) -> PyResult<String> {
        self.with_emulator(py, |emulator| Ok(emulator.add_json_entry(section, entry)?.to_string()))
    }

    fn advance(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        self.with_emulator(py, |emulator| {
            emulator.advance(seconds);
            Ok(())
        })
    }

    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.with_emulator(py, |emulator| {
            emulator.reset();
            Ok(())
        })
    }

    /// Return the request log as JSON.
    fn requests(&self, py: Python<'_>) -> PyResult<String> {
        self.with_emulator(py, |emulator| Ok(values::requests(emulator)))
    }

    /// Return the calls that ended since the last time, and how many more there were, as JSON.
    fn take_calls(&self, py: Python<'_>) -> PyResult<String> {
        self.with_emulator(py, |emulator| Ok(values::take_calls(emulator)))
    }

    /// Return the counters as JSON.
    fn counters(&self, py: Python<'_>) -> PyResult<String> {
        self.with_emulator(py, |emulator| Ok(serde_json::json!(emulator.counters()).to_string()))
    }

    /// Return the violations as JSON.
    fn violations(&self, py: Python<'_>) -> PyResult<String> {
        self.with_emulator(py, |emulator| Ok(serde_json::json!(emulator.violations()).to_string()))
    }
}
