//! The macros that give every model its common methods and conversions.

/// Makes a model's `#[pymethods]`: its own methods, equality, hash, pickling and `to_dict`.
///
/// `equal` compares two core values, `hash` gives the key that is hashed, `dict` names the
/// attributes of `to_dict()`.
macro_rules! common_methods {
    (
        $class:ident;
        equal: |$one:ident, $other:ident| $equal:expr;
        hash: |$value:ident| $key:expr;
        dict: [$($name:literal),* $(,)?];
        methods { $($methods:tt)* }
    ) => {
        #[pymethods]
        impl $class {
            $($methods)*

            /// Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC.
            fn to_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, pyo3::types::PyDict>> {
                $crate::python::models::values::attributes_to_dict(slf.as_any(), &[$($name),*])
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
        impl From<std::sync::Arc<$core>> for $class {
            fn from(core: std::sync::Arc<$core>) -> Self {
                Self { core $(, $cache: Default::default())* }
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
        }
    };
}

pub(crate) use {common_methods, into_model};
