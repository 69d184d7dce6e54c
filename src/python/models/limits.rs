//! `Rate` and `Limits`.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::pickle::{ReduceValue, reduce};

use crate::config;
use crate::python::errors::to_pyerr;
use crate::python::runtime::IntoPython;

/// At most `count` calls in any window of `per` seconds, wherever the window is laid.
///
/// Args:
///     count: calls, at least 1.
///     per: seconds, more than 0.
///
/// Raises:
///     InvalidRequestError: a value is out of its bounds.
#[pyclass(frozen, eq, module = "mde_live_response", from_py_object)]
#[derive(Clone, PartialEq)]
pub struct Rate(config::Rate);

#[pymethods]
impl Rate {
    #[new]
    fn new(py: Python<'_>, count: i64, per: f64) -> PyResult<Self> {
        let count = u32::try_from(count).unwrap_or_default();
        config::Rate::new(count, per).map(Self).map_err(|error| to_pyerr(py, error))
    }

    /// How many calls.
    #[getter]
    fn count(&self) -> u32 {
        self.0.count
    }

    /// In how many seconds.
    #[getter]
    fn per(&self) -> f64 {
        self.0.per
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyAny>, (u32, f64)) {
        let rate = slf.get();
        (slf.get_type().into_any(), (rate.0.count, rate.0.per))
    }

    fn __repr__(&self) -> String {
        format!("Rate({}, {})", self.0.count, self.0.per)
    }
}

/// What the service allows one application in one tenant, and how long it may take to show what it took.
///
/// The defaults are the service's own. Its page: learn.microsoft.com/defender-endpoint/api/run-live-response
///
/// Args:
///     submit: rates of starting sessions; 10 a minute.
///     read: rates of each other endpoint by itself; 100 a minute and 1,500 an hour.
///     sessions: sessions open at once, waiting ones included; 50.
///     queue_time: seconds that the service keeps a session for a machine it cannot reach; 7,200.
///     script_time: seconds that a script may run; 600.
///     settle_time: seconds that an accepted submit may be missing from what the service lists; 120.
///     upload_size: bytes of a library file; 20 MiB.
///
/// Raises:
///     InvalidRequestError: a value is out of its bounds: a count below 1, a time below 0.
#[pyclass(frozen, eq, module = "mde_live_response", from_py_object)]
#[derive(Clone, PartialEq)]
pub struct Limits(config::Limits);

impl Limits {
    pub fn core(&self) -> &config::Limits {
        &self.0
    }

    /// The service's own.
    pub fn service() -> Self {
        Self(config::Limits::default())
    }
}

impl IntoPython for config::Limits {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Limits(self))?.into_any())
    }
}

fn default_submit() -> Vec<Rate> {
    config::Limits::default().submit.into_iter().map(Rate).collect()
}

fn default_read() -> Vec<Rate> {
    config::Limits::default().read.into_iter().map(Rate).collect()
}

fn to_core_rates(rates: Vec<Rate>) -> Vec<config::Rate> {
    rates.into_iter().map(|rate| rate.0).collect()
}

#[pymethods]
impl Limits {
    #[new]
    #[pyo3(signature = (
        *, submit=default_submit(), read=default_read(), sessions=50, queue_time=7200.0, script_time=600.0, settle_time=120.0,
        upload_size=20971520
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords, as the contract names them")]
    fn new(
        py: Python<'_>,
        submit: Vec<Rate>,
        read: Vec<Rate>,
        sessions: i64,
        queue_time: f64,
        script_time: f64,
        settle_time: f64,
        upload_size: i64,
    ) -> PyResult<Self> {
        let limits = config::Limits {
            submit: to_core_rates(submit),
            read: to_core_rates(read),
            sessions: u32::try_from(sessions).unwrap_or_default(),
            queue_time,
            script_time,
            settle_time,
            upload_size: u64::try_from(upload_size).unwrap_or_default(),
        };
        limits.validated().map(Self).map_err(|error| to_pyerr(py, error))
    }

    /// Rates of starting sessions.
    #[getter]
    fn submit<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.submit.iter().copied().map(Rate))
    }

    /// Rates of each other endpoint by itself.
    #[getter]
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.read.iter().copied().map(Rate))
    }

    /// Sessions open at once, waiting ones included.
    #[getter]
    fn sessions(&self) -> u32 {
        self.0.sessions
    }

    /// Seconds that the service keeps a session for a machine it cannot reach.
    #[getter]
    fn queue_time(&self) -> f64 {
        self.0.queue_time
    }

    /// Seconds that a script may run.
    #[getter]
    fn script_time(&self) -> f64 {
        self.0.script_time
    }

    /// Seconds that an accepted submit may be missing from what the service lists.
    #[getter]
    fn settle_time(&self) -> f64 {
        self.0.settle_time
    }

    /// Bytes of a library file.
    #[getter]
    fn upload_size(&self) -> u64 {
        self.0.upload_size
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<ReduceValue<'py>> {
        reduce(py, "Limits", &self.0)
    }

    fn __repr__(&self) -> String {
        let tuple = |rates: &[config::Rate]| {
            let texts: Vec<_> =
                rates.iter().map(|rate| format!("Rate({}, {}),", rate.count, rate.per)).collect();
            format!("({})", texts.join(" "))
        };
        format!(
            "Limits(submit={}, read={}, sessions={}, queue_time={}, script_time={}, settle_time={}, upload_size={})",
            tuple(&self.0.submit),
            tuple(&self.0.read),
            self.0.sessions,
            self.0.queue_time,
            self.0.script_time,
            self.0.settle_time,
            self.0.upload_size
        )
    }
}
