//! `Profile`.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use serde_json::{Map, Value};

use super::common::{common_methods, into_model};
use super::json_ready::{JsonReady, json_dict, to_list};
use super::shared::Shared;
use crate::probe;
use crate::python::arguments::named;
use crate::python::gil_gate::detach;
use crate::python::paths::PathArgument;

/// Observed behaviour of a tenant's service.
///
/// It has no names, ids, paths, addresses and texts of the tenant. `client.probe()` makes it, and
/// `Emulator(profile=...)` behaves like that tenant.
#[pyclass(frozen, module = "mde_live_response")]
pub struct Profile {
    core: Shared<probe::Profile>,
}

into_model! { probe::Profile => Profile {} }

json_dict! { probe::Profile, |profile| {
    "observed": profile.observed,
    "counts": profile.counts,
    "facts": profile.facts,
} }

common_methods! {
    Profile;
    equal: |one, other| one == other;
    hash: |profile| profile.counts.iter().collect::<Vec<_>>();
    methods {
        /// The observed value of each emulator switch, by name. What was not observed is absent.
        ///
        /// The switches:
        /// https://github.com/mde-live-response/mde-live-response/blob/main/docs/emulator.md
        #[getter]
        fn observed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            self.core.observed.to_json_ready(py)
        }

        /// How many observations support each switch.
        #[getter]
        fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            self.core.counts.to_json_ready(py)
        }

        /// What was observed beside the switches, such as the shapes of error texts.
        #[getter]
        fn facts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            self.core.facts.to_json_ready(py)
        }

        /// Save the profile as JSON. Replaces a file that exists.
        ///
        /// Args:
        ///     path: the file.
        ///
        /// Raises:
        ///     OSError: the file cannot be written.
        fn save(
            &self,
            py: Python<'_>,
            #[pyo3(from_py_with = named::path)] path: PathArgument,
        ) -> PyResult<()> {
            Ok(detach(py, || self.core.save(&path.0))?)
        }

        /// Load a saved profile.
        ///
        /// Args:
        ///     path: the file that `save` wrote.
        ///
        /// Raises:
        ///     OSError: the file cannot be read.
        ///     InvalidRequestError: it is not a profile, or one of a newer version.
        #[classmethod]
        fn load(
            _class: &Bound<'_, PyType>,
            py: Python<'_>,
            #[pyo3(from_py_with = named::path)] path: PathArgument,
        ) -> PyResult<Self> {
            Ok(detach(py, || probe::Profile::load(&path.0))?.into())
        }

        fn __repr__(&self) -> String {
            let (observed, facts) = (self.core.observed.len(), self.core.facts.len());
            format!("<Profile: {observed} switches and {facts} other facts>")
        }
    }
}

impl JsonReady for Value {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Null => Ok(py.None().into_bound(py)),
            Self::Bool(flag) => flag.to_json_ready(py),
            Self::String(text) => text.to_json_ready(py),
            Self::Array(items) => to_list(py, items),
            Self::Object(entries) => entries.to_json_ready(py),
            Self::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(whole), _) => whole.to_json_ready(py),
                (None, Some(whole)) => whole.to_json_ready(py),
                (None, None) => number.as_f64().unwrap_or_default().to_json_ready(py),
            },
        }
    }
}

impl JsonReady for Map<String, Value> {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_dict(py, self.iter())
    }
}

impl JsonReady for BTreeMap<String, u64> {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_dict(py, self.iter())
    }
}

fn to_dict<'py, 'a, V: JsonReady + 'a>(
    py: Python<'py>,
    entries: impl Iterator<Item = (&'a String, &'a V)>,
) -> PyResult<Bound<'py, PyAny>> {
    let dict = PyDict::new(py);
    for (name, value) in entries {
        dict.set_item(name, value.to_json_ready(py)?)?;
    }
    Ok(dict.into_any())
}
