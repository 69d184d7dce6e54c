//! The core's spans as OpenTelemetry's, below what is current where a call is made.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::runtime::{Letter, post_letter};
use crate::trace::{Closed, Opened, Trace, Tracer};

/// `opentelemetry.context` where the call was made.
struct Below(Arc<Py<PyAny>>);

impl Tracer for Below {
    fn opened(&self, span: Opened) {
        post_letter(Letter::Opened(self.0.clone(), span));
    }

    fn closed(&self, span: Closed) {
        post_letter(Letter::Closed(span));
    }
}

/// None where nobody has imported OpenTelemetry: then nobody traces, and nothing is spent on it.
pub fn current(py: Python<'_>) -> PyResult<Option<Trace>> {
    let modules = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?.cast_into::<PyDict>()?;
    if modules.get_item(intern!(py, "opentelemetry.trace"))?.is_none() {
        return Ok(None);
    }
    let Some(context) = modules.get_item(intern!(py, "opentelemetry.context"))? else { return Ok(None) };
    // Half imported, in another thread.
    let Ok(get_current) = context.getattr(intern!(py, "get_current")) else { return Ok(None) };
    let below = Below(Arc::new(get_current.call0()?.unbind()));
    Ok(Some(Trace::new(Arc::new(below))))
}
