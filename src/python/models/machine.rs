//! `Machine`.

use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyTuple};

use super::common::{common_methods, into_model};
use super::json_ready::json_dict;
use super::shared::Shared;
use super::values::{self, LazyTuple};
use crate::model;
use crate::text::printable;

/// A device as returned by the service. Compared and hashed by its id. Unknown fields are in
/// `raw`.
///
/// The service's page: learn.microsoft.com/defender-endpoint/api/machine
#[pyclass(frozen, module = "mde_live_response")]
pub struct Machine {
    core: Shared<model::Machine>,
    machine_tags: LazyTuple,
}

impl Machine {
    pub fn id(&self) -> String {
        self.core.id.clone()
    }

    pub fn name(&self) -> Option<String> {
        self.core.computer_dns_name.clone().filter(|name| !name.trim().is_empty())
    }
}

into_model! { model::Machine => Machine { machine_tags } }

json_dict! { model::Machine, |machine| {
    "id": machine.id,
    "computer_dns_name": machine.computer_dns_name,
    "os_platform": machine.os_platform,
    "version": machine.version,
    "health_status": machine.health_status,
    "onboarding_status": machine.onboarding_status,
    "last_seen": machine.last_seen,
    "rbac_group_name": machine.rbac_group_name,
    "machine_tags": machine.machine_tags,
} }

common_methods! {
    Machine;
    equal: |one, other| one.id == other.id;
    hash: |machine| &machine.id;
    methods {
        /// The machine id, 40 hexadecimal digits.
        #[getter(id)]
        fn get_id(&self) -> &str {
            &self.core.id
        }

        /// The full name.
        #[getter]
        fn computer_dns_name(&self) -> Option<&str> {
            self.core.computer_dns_name.as_deref()
        }

        /// The operating system, such as `Windows11`.
        #[getter]
        fn os_platform(&self) -> Option<&str> {
            self.core.os_platform.as_deref()
        }

        /// The operating system's version, such as `21H2`.
        #[getter]
        fn version(&self) -> Option<&str> {
            self.core.version.as_deref()
        }

        /// The health of its sensor, such as `Active`.
        #[getter]
        fn health_status(&self) -> Option<&str> {
            self.core.health_status.as_deref()
        }

        /// Whether it is onboarded, such as `Onboarded`.
        #[getter]
        fn onboarding_status(&self) -> Option<&str> {
            self.core.onboarding_status.as_deref()
        }

        /// When it last sent a full report, about once a day. Does not say whether it is
        /// online.
        #[getter]
        fn last_seen<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
            values::to_datetime(py, self.core.last_seen)
        }

        /// The device group.
        #[getter]
        fn rbac_group_name(&self) -> Option<&str> {
            self.core.rbac_group_name.as_deref()
        }

        /// The tags.
        #[getter]
        fn machine_tags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.machine_tags.get_or_build(py, || Ok(self.core.machine_tags.clone()))
        }

        /// The service's complete JSON.
        #[getter]
        fn raw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            values::parse_raw(py, &self.core.raw)
        }

        fn __repr__(&self) -> String {
            let name = self.core.computer_dns_name.as_deref().unwrap_or("without a name");
            printable(&format!("<Machine {name} {}>", self.core.id)).into_owned()
        }
    }
}
