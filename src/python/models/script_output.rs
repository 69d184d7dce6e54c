//! `ScriptOutput`.

use pyo3::prelude::*;

use super::common::{common_methods, into_model};
use super::json_ready::json_dict;
use super::shared::Shared;
use crate::model;
use crate::python::arguments::named;
use crate::python::gil_gate::enter;
use crate::text::printable;

/// The output of a script.
///
/// Args:
///     script_name: the script's name in the library.
///     exit_code: the exit code; None if the payload has none. Default 0.
///     stdout: the standard output. Default: empty.
///     stderr: the error output. Default: empty.
#[pyclass(frozen, module = "mde_live_response")]
pub struct ScriptOutput {
    core: Shared<model::ScriptOutput>,
}

into_model! { model::ScriptOutput => ScriptOutput {} }

json_dict! { model::ScriptOutput, |output| {
    "script_name": output.script_name,
    "exit_code": output.exit_code,
    "stdout": output.stdout,
    "stderr": output.stderr,
} }

common_methods! {
    ScriptOutput;
    equal: |one, other| one == other;
    hash: |output| (&output.script_name, output.exit_code, &output.stdout);
    methods {
        #[new]
        #[pyo3(
            signature = (script_name, *, exit_code=Some(0), stdout="", stderr=""),
            text_signature = "(script_name, *, exit_code=0, stdout='', stderr='')"
        )]
        fn new(
            #[pyo3(from_py_with = named::script_name)] script_name: &str,
            #[pyo3(from_py_with = named::exit_code)] exit_code: Option<i64>,
            #[pyo3(from_py_with = named::stdout)] stdout: &str,
            #[pyo3(from_py_with = named::stderr)] stderr: &str,
        ) -> Self {
            model::ScriptOutput::new(script_name, exit_code, stdout, stderr).into()
        }

        /// The script's name in the library.
        #[getter]
        fn script_name(&self) -> &str {
            &self.core.script_name
        }

        /// The exit code. None if the payload has none.
        #[getter]
        fn exit_code(&self) -> Option<i64> {
            self.core.exit_code
        }

        /// The standard output as received, without trailing NULs.
        #[getter]
        fn stdout(&self) -> &str {
            &self.core.stdout
        }

        /// The error output as received, without trailing NULs.
        #[getter]
        fn stderr(&self) -> &str {
            &self.core.stderr
        }

        /// `stdout` for display: without control characters, escape sequences, and the first line
        /// of a PowerShell transcript.
        #[getter]
        fn text(&self) -> String {
            self.core.text()
        }

        /// `stderr` for display, as `text`.
        #[getter]
        fn stderr_text(&self) -> String {
            self.core.stderr_text()
        }

        /// The payload as received. If it is not the documented JSON, the other attributes do
        /// not have its content.
        #[getter]
        fn raw(&self) -> &[u8] {
            &self.core.raw
        }

        /// Parse `stdout` as JSON, from the first line that starts a JSON value.
        ///
        /// Raises:
        ///     ValueError: there is no JSON value, or something follows it.
        fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            let _inside = enter(py);
            let parse = py.import("mde_live_response._records")?.getattr("parse_json")?;
            parse.call1((self.core.json_text(),))
        }

        /// Read `stdout` as a table: JSON lines, a JSON array of objects, or CSV with a header.
        ///
        /// Output before the first JSON value is skipped. The values of CSV are str. A CSV has two
        /// columns or more.
        ///
        /// Returns:
        ///     A dict for each record. Empty if the script printed nothing.
        ///
        /// Raises:
        ///     ValueError: `stdout` is no table.
        fn records<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            let _inside = enter(py);
            let parse = py.import("mde_live_response._records")?.getattr("parse_records")?;
            parse.call1((self.core.json_text(), self.core.body()))
        }

        fn __repr__(&self) -> String {
            let code = match self.core.exit_code {
                Some(code) => format!("exit code {code}"),
                None => "no exit code".to_owned(),
            };
            let length = self.core.stdout.chars().count();
            let name = &self.core.script_name;
            printable(&format!("<ScriptOutput of {name}: {code}, {length} characters>")).into_owned()
        }
    }
}
