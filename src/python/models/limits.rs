//! `Limits`.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::common::{common_methods, into_model};
use super::json_ready::json_dict;
use super::rate::Rate;
use super::shared::Shared;
use super::values::LazyTuple;
use crate::config;
use crate::error::Error;
use crate::python::arguments::named;

/// The service's limits for one application in one tenant.
///
/// The defaults are the service's own.
/// The service's page: learn.microsoft.com/defender-endpoint/api/run-live-response
///
/// Args:
///     submit: rates of starting sessions. Default: 10 a minute.
///     read: rates of each other endpoint. Default: 100 a minute and 1,500 an hour.
///     sessions: the most open sessions, including queued ones. Default 50, at least 1.
///     queue_time: seconds or a timedelta that the service queues a session for a machine it
///         cannot reach. Default 7,200.
///     script_time: seconds or a timedelta that a script may run. Default 600.
///     settle_time: seconds or a timedelta that an accepted submit may be missing from the
///         service's list. Default 120.
///     upload_size: the largest library file in bytes. Default 20 MiB.
///
/// Raises:
///     InvalidRequestError: a count is below 1 or a time is negative.
#[pyclass(frozen, module = "mde_live_response")]
pub struct Limits {
    core: Shared<config::Limits>,
    submit: LazyTuple,
    read: LazyTuple,
}

impl Limits {
    pub fn core(&self) -> &config::Limits {
        &self.core
    }
}

into_model! { config::Limits => Limits { submit, read } }

fn default_submit() -> Vec<Rate> {
    config::Limits::default().submit.into_iter().map(Rate).collect()
}

fn default_read() -> Vec<Rate> {
    config::Limits::default().read.into_iter().map(Rate).collect()
}

fn to_core_rates(rates: Vec<Rate>) -> Vec<config::Rate> {
    rates.into_iter().map(|rate| rate.0).collect()
}

json_dict! { config::Limits, |limits| {
    "submit": limits.submit,
    "read": limits.read,
    "sessions": limits.sessions,
    "queue_time": limits.queue_time,
    "script_time": limits.script_time,
    "settle_time": limits.settle_time,
    "upload_size": limits.upload_size,
} }

common_methods! {
    Limits;
    equal: |one, other| one == other;
    hash: |limits| (
        limits.submit.iter().chain(&limits.read).map(|rate| rate.count).collect::<Vec<_>>(),
        limits.sessions,
        limits.upload_size,
    );
    methods {
        #[new]
        #[pyo3(signature = (
            *, submit=default_submit(), read=default_read(), sessions=50, queue_time=7200.0,
            script_time=600.0, settle_time=120.0, upload_size=20971520
        ))]
        fn new(
            #[pyo3(from_py_with = named::submit)] submit: Vec<Rate>,
            #[pyo3(from_py_with = named::read)] read: Vec<Rate>,
            #[pyo3(from_py_with = named::sessions)] sessions: i64,
            #[pyo3(from_py_with = named::queue_time)] queue_time: f64,
            #[pyo3(from_py_with = named::script_time)] script_time: f64,
            #[pyo3(from_py_with = named::settle_time)] settle_time: f64,
            #[pyo3(from_py_with = named::upload_size)] upload_size: i64,
        ) -> PyResult<Self> {
            if upload_size < 1 {
                return Err(Error::invalid(format!("limits: upload_size is {upload_size}"))
                    .with_hint("give the largest library file in bytes, 1 or more")
                    .into());
            }
            // A number that does not fit becomes 0, which the check refuses.
            let limits = config::Limits {
                submit: to_core_rates(submit),
                read: to_core_rates(read),
                sessions: u32::try_from(sessions).unwrap_or_default(),
                queue_time,
                script_time,
                settle_time,
                upload_size: u64::try_from(upload_size).unwrap_or_default(),
            };
            Ok(limits.validated()?.into())
        }

        /// The rates of starting sessions.
        #[getter]
        fn submit<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            let rates = self.core.submit.iter().copied().map(Rate);
            self.submit.get_or_build(py, || Ok(rates.collect()))
        }

        /// The rates of each other endpoint.
        #[getter]
        fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            let rates = self.core.read.iter().copied().map(Rate);
            self.read.get_or_build(py, || Ok(rates.collect()))
        }

        /// The most open sessions, including queued ones.
        #[getter]
        fn sessions(&self) -> u32 {
            self.core.sessions
        }

        /// How long the service queues a session for a machine it cannot reach, in seconds.
        #[getter]
        fn queue_time(&self) -> f64 {
            self.core.queue_time
        }

        /// How long a script may run, in seconds.
        #[getter]
        fn script_time(&self) -> f64 {
            self.core.script_time
        }

        /// How long an accepted submit may be missing from the service's list, in seconds.
        #[getter]
        fn settle_time(&self) -> f64 {
            self.core.settle_time
        }

        /// The largest library file in bytes.
        #[getter]
        fn upload_size(&self) -> u64 {
            self.core.upload_size
        }

        fn __repr__(&self) -> String {
            let tuple = |rates: &[config::Rate]| {
                let rates = rates.iter().map(|it| format!("Rate({}, {}),", it.count, it.per));
                format!("({})", rates.collect::<Vec<_>>().join(" "))
            };
            let config::Limits { submit, read, sessions, .. } = &*self.core;
            let config::Limits { queue_time, script_time, settle_time, upload_size, .. } =
                &*self.core;
            format!(
                "Limits(submit={}, read={}, sessions={sessions}, queue_time={queue_time}, \
                 script_time={script_time}, settle_time={settle_time}, upload_size={upload_size})",
                tuple(submit),
                tuple(read),
            )
        }
    }
}
