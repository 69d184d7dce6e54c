//! `Finding` and `Check`.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::common::{common_methods, into_model};
use super::json_ready::json_dict;
use super::shared::Shared;
use super::values::LazyTuple;
use crate::check;
use crate::text::printable;

/// A problem that would prevent a session or limit it.
#[pyclass(frozen, module = "mde_live_response")]
pub struct Finding {
    core: Shared<check::Finding>,
}

into_model! { check::Finding => Finding {} }

json_dict! { check::Finding, |finding| {
    "code": finding.code,
    "level": finding.level,
    "message": finding.message,
    "hint": finding.hint,
} }

common_methods! {
    Finding;
    equal: |one, other| one == other;
    hash: |finding| (&finding.code, &finding.message);
    methods {
        /// The kind of problem as a keyword.
        #[getter]
        fn code(&self) -> &str {
            &self.core.code
        }

        /// `error`: no session would start or return results. `warning`: it would be limited.
        #[getter]
        fn level(&self) -> &str {
            &self.core.level
        }

        /// What was found, as a sentence.
        #[getter]
        fn message(&self) -> &str {
            &self.core.message
        }

        /// How to fix it.
        #[getter]
        fn hint(&self) -> &str {
            &self.core.hint
        }

        fn __repr__(&self) -> String {
            let (level, code, message) = (&self.core.level, &self.core.code, &self.core.message);
            printable(&format!("<Finding {level} {code}: {message}>")).into_owned()
        }
    }
}

/// Problems that would prevent or limit a session: permissions, machine, library or store.
#[pyclass(frozen, module = "mde_live_response")]
pub struct Check {
    core: Shared<check::Check>,
    findings: LazyTuple,
}

into_model! { check::Check => Check { findings } }

json_dict! { check::Check, |check| {
    "ok": check.is_ok(),
    "findings": check.findings,
} }

common_methods! {
    Check;
    equal: |one, other| one == other;
    hash: |check| check.findings.iter().map(|it| &it.message).collect::<Vec<_>>();
    methods {
        /// Whether there is no finding of level `error`.
        #[getter]
        fn ok(&self) -> bool {
            self.core.is_ok()
        }

        /// The findings, errors first.
        #[getter]
        fn findings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.findings.get_or_build(py, || {
                Ok(self.core.findings.iter().cloned().map(Finding::from).collect())
            })
        }

        fn __repr__(&self) -> String {
            let outcome = if self.core.is_ok() { "ok" } else { "not ok" };
            format!("<Check {outcome}: {} findings>", self.core.findings.len())
        }
    }
}
