//! The macros that give every model its common methods and conversions.

/// Makes a model's `#[pymethods]`: its own methods, equality, hash, pickling and `to_dict`.
///
/// `equal` compares two core values, `hash` gives the key that is hashed. `json_dict!` gives the
/// dict.
macro_rules! common_methods {
    (
        $class:ident;
        equal: |$one:ident, $other:ident| $equal:expr;
        hash: |$value:ident| $key:expr;
        methods { $($methods:tt)* }
    ) => {
        #[pymethods]
        impl $class {
            $($methods)*

            /// Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC.
            fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                $crate::python::models::json_ready::JsonReady::to_json_ready(&*self.core, py)
            }

            fn _repr_html_<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                $crate::python::notebook::to_html(slf)
            }

            fn __eq__(&self, other: &Self) -> bool {
                let ($one, $other) = (&*self.core, &*other.core);
                $equal
            }

            fn __hash__(&self) -> u64 {
                // Equal models have equal keys. A key may leave out what is costly to hash.
                let $value = &*self.core;
                $crate::python::models::values::hash_of(&$key)
            }

            fn __reduce__<'py>(
                &self,
                py: Python<'py>,
            ) -> PyResult<$crate::python::models::pickle::ReduceValue<'py>> {
                $crate::python::models::pickle::reduce(py, stringify!($class), &*self.core)
            }
        }
    };
}

/// Lets a core value become its model. The listed fields are caches, empty at first.
macro_rules! into_model {
    ($core:ty => $class:ident { $($cache:ident),* }) => {
        impl From<$crate::python::models::shared::Shared<$core>> for $class {
            fn from(core: $crate::python::models::shared::Shared<$core>) -> Self {
                Self { core $(, $cache: Default::default())* }
            }
        }

        impl From<std::sync::Arc<$core>> for $class {
            fn from(core: std::sync::Arc<$core>) -> Self {
                $crate::python::models::shared::Shared::Own(core).into()
            }
        }

        impl From<$core> for $class {
            fn from(core: $core) -> Self {
                std::sync::Arc::new(core).into()
            }
        }

        impl $crate::python::convert::IntoPython for $core {
            fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                Ok(Py::new(py, $class::from(self))?.into_any())
            }

            fn list_into_python(
                values: Vec<Self>,
                py: Python<'_>,
            ) -> PyResult<Bound<'_, pyo3::types::PyTuple>> {
                $crate::python::models::shared::to_shared_tuple::<_, $class>(py, values)
            }
        }
    };
}

pub(crate) use {common_methods, into_model};
