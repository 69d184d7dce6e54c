//! The `operations!` macro: one declaration of an operation makes `x()` and `x_async()`. Each reads
//! its arguments by name, so that its errors name them.

/// Makes a class's `#[pymethods]` from its operations and from its other methods.
///
/// An operation gives the names of its two methods, their docstring, their arguments, and the
/// [`CoreTask`](crate::python::runtime::CoreTask) that they run.
macro_rules! operations {
    (
        $class:ident;
        operations {
            $(
                $(#[$($doc:tt)*])*
                $name:ident / $name_async:ident ($($signature:tt)*)
                    [$($argument:ident: $type:ty),*]
                    |$this:ident, $py:ident| $task:expr;
            )*
        }
        methods { $($methods:tt)* }
    ) => {
        #[pymethods]
        impl $class {
            $(
                $(#[$($doc)*])*
                #[pyo3(signature = ($($signature)*))]
                #[allow(clippy::too_many_arguments, reason = "the contract's keywords")]
                fn $name(
                    $this: PyRef<'_, Self>,
                    $py: Python<'_>
                    $(,
                        #[pyo3(from_py_with = $crate::python::arguments::named::$argument)]
                        $argument: $type
                    )*
                ) -> PyResult<Py<PyAny>> {
                    let _inside = $crate::python::gil_gate::enter($py);
                    $crate::python::callers_object::free_dropped($py)?;
                    let task: $crate::python::runtime::CoreTask = $task?;
                    // The borrow must not last for the whole wait.
                    drop($this);
                    $crate::python::runtime::run_blocking($py, task)
                }

                $(#[$($doc)*])*
                #[pyo3(signature = ($($signature)*))]
                #[allow(clippy::too_many_arguments, reason = "the contract's keywords")]
                fn $name_async(
                    $this: PyRef<'_, Self>,
                    $py: Python<'_>
                    $(,
                        #[pyo3(from_py_with = $crate::python::arguments::named::$argument)]
                        $argument: $type
                    )*
                ) -> PyResult<$crate::python::runtime::Coroutine> {
                    let _inside = $crate::python::gil_gate::enter($py);
                    $crate::python::callers_object::free_dropped($py)?;
                    let task: $crate::python::runtime::CoreTask = $task?;
                    let name = concat!(stringify!($class), ".", stringify!($name_async));
                    Ok($crate::python::runtime::Coroutine::new(name, task))
                }
            )*

            $($methods)*
        }
    };
}

pub(crate) use operations;
