//! The core's spans as OpenTelemetry spans, below the caller's current span.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;

use crate::python::gil_gate::enter;
use crate::python::logging::queue::{LogItem, enqueue_log};
use crate::python::modules::imported_modules;
use crate::trace::{SpanEnd, SpanStart, TraceContext, Tracer};

/// The caller's `opentelemetry.context`.
struct ContextTracer(Arc<Py<PyAny>>);

impl Tracer for ContextTracer {
    fn on_start(&self, span: SpanStart) {
        enqueue_log(LogItem::SpanStart(self.0.clone(), span));
    }

    fn on_end(&self, span: SpanEnd) {
        enqueue_log(LogItem::SpanEnd(span));
    }
}

/// Returns the caller's trace. None if OpenTelemetry was not imported: then tracing costs
/// nothing.
pub fn current_trace(py: Python<'_>) -> PyResult<Option<TraceContext>> {
    let _inside = enter(py);
    let modules = imported_modules(py)?;
    if modules.get_item(intern!(py, "opentelemetry.trace"))?.is_none() {
        return Ok(None);
    }
    let Some(context) = modules.get_item(intern!(py, "opentelemetry.context"))? else {
        return Ok(None);
    };
    // Another thread may be in the middle of importing it.
    let Ok(get_current) = context.getattr(intern!(py, "get_current")) else { return Ok(None) };
    let tracer = ContextTracer(Arc::new(get_current.call0()?.unbind()));
    Ok(Some(TraceContext::new(Arc::new(tracer))))
}
