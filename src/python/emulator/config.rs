//! `EmulatorConfig`. Private: `Emulator(config=)` is the public way.

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::emulator;
use crate::error::Error;
use crate::python::gil_gate::detach;
use crate::python::models::Limits;

/// A config that was read and checked.
#[pyclass(frozen, module = "mde_live_response._native")]
pub struct EmulatorConfig {
    core: emulator::EmulatorConfig,
}

impl EmulatorConfig {
    pub fn core(&self) -> &emulator::EmulatorConfig {
        &self.core
    }
}

#[pymethods]
impl EmulatorConfig {
    /// Read a file, in YAML or JSON.
    #[staticmethod]
    fn from_file(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let core = detach(py, || emulator::EmulatorConfig::from_file(&path))?;
        Ok(Self { core })
    }

    /// Read the JSON of a mapping.
    #[staticmethod]
    fn from_json(py: Python<'_>, text: &str) -> PyResult<Self> {
        let core = detach(py, || match serde_json::from_str(text) {
            Ok(value) => emulator::EmulatorConfig::from_value(value),
            Err(error) => Err(Error::invalid(format!("config: {error}"))),
        })?;
        Ok(Self { core })
    }

    #[getter]
    fn machines(&self) -> Option<usize> {
        self.core.machines
    }

    /// The number of machines that it lists.
    #[getter]
    fn listed_machines(&self) -> usize {
        self.core.listed_machines()
    }

    #[getter]
    fn speed(&self) -> Option<f64> {
        self.core.speed
    }

    #[getter]
    fn seed(&self) -> Option<u64> {
        self.core.seed
    }

    #[getter]
    fn limits(&self) -> Option<Limits> {
        self.core.limits.clone().map(Limits::from)
    }

    /// The switches as JSON.
    #[getter]
    fn switches(&self) -> String {
        serde_json::json!(self.core.switches).to_string()
    }
}
