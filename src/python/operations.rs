//! The table's form: each operation declared once, with one docstring, gives `x()` and `x_async()`.

/// Makes a class's `#[pymethods]` of a table of operations, and of the methods that do no I/O.
///
/// An operation says how its two methods are named, what they take, and the [`CoreTask`](crate::python::runtime::CoreTask) they start.
macro_rules! operations {
    (
        $class:ident;
        operations {
            $(
                $(#[$($doc:tt)*])*
                $name:ident / $name_async:ident ($($signature:tt)*) [$($argument:ident: $type:ty),*]
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
                #[allow(clippy::too_many_arguments, reason = "keywords, as the contract names them")]
                fn $name($this: PyRef<'_, Self>, $py: Python<'_> $(, $argument: $type)*) -> PyResult<Py<PyAny>> {
                    let task: $crate::python::runtime::CoreTask = $task?;
                    drop($this);
                    $crate::python::runtime::run_blocking($py, task)
                }

                $(#[$($doc)*])*
                #[pyo3(signature = ($($signature)*))]
                #[allow(clippy::too_many_arguments, reason = "keywords, as the contract names them")]
                fn $name_async(
                    $this: PyRef<'_, Self>,
                    $py: Python<'_>
                    $(, $argument: $type)*
                ) -> PyResult<$crate::python::runtime::Coroutine> {
                    let _ = $py;
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
