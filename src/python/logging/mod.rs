//! The core's log as Python's: `logging.getLogger("mde_live_response")`, and nothing of other crates, whose lines hold URLs.

pub mod spans;

use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::python::runtime::{LogItem, enqueue_log};
use crate::trace::LOG_TARGET;

struct PythonLogger;

static LOGGER: PythonLogger = PythonLogger;

impl Log for PythonLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().split("::").next() == Some(LOG_TARGET)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let name = record.target().replace("::", ".");
            let file = record.file().unwrap_or_default().to_owned();
            let line = record.line().unwrap_or(0);
            enqueue_log(LogItem::Record((
                name,
                python_level(record.level()),
                record.args().to_string(),
                file,
                line,
            )));
        }
    }

    fn flush(&self) {}
}

fn python_level(level: Level) -> u8 {
    match level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug => 10,
        Level::Trace => 5,
    }
}

/// Looks up what `logging` wants to hear by now; at every call, since it may be configured at any time.
///
/// `logging` is not imported for it: it is most of what an import would cost, and where nobody has, only warnings count.
pub fn sync_level(py: Python<'_>) -> PyResult<()> {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        // Err when another part of the process has taken the crate's log, which is its right.
        let _ = log::set_logger(&LOGGER);
    });
    log::set_max_level(read_python_level(py)?);
    Ok(())
}

fn read_python_level(py: Python<'_>) -> PyResult<LevelFilter> {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let modules = MODULES.get_or_try_init(py, || {
        PyResult::Ok(py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?.unbind())
    })?;
    let Some(logging) = modules.bind(py).get_item(intern!(py, "logging"))? else {
        return Ok(LevelFilter::Warn);
    };
    // Half imported, in another thread.
    let Ok(get_logger) = logging.getattr(intern!(py, "getLogger")) else {
        return Ok(LevelFilter::Warn);
    };
    let logger = get_logger.call1((LOG_TARGET,))?;
    let wants = |level: u8| logger.call_method1(intern!(py, "isEnabledFor"), (level,))?.is_truthy();
    Ok(if wants(10)? {
        LevelFilter::Debug
    } else if wants(20)? {
        LevelFilter::Info
    } else {
        LevelFilter::Warn
    })
}
