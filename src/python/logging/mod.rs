//! The core's log records as Python's: `logging.getLogger("mde_live_response")`.
//!
//! Records of other crates are dropped: they contain URLs, which may contain secrets.

pub mod queue;
pub mod spans;

use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::intern;
use pyo3::prelude::*;

use crate::python::gil_gate::enter;
use crate::python::logging::queue::{LogItem, enqueue_log};
use crate::python::modules::imported_modules;
use crate::text::printable;
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
                printable(&record.args().to_string()).into_owned(),
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
        // Python has no such level; 5 is below DEBUG.
        Level::Trace => 5,
    }
}

/// Sets the crate's log level to that of Python's logger. Called for every call of the core,
/// because `logging` may be configured at any time.
pub fn sync_level(py: Python<'_>) -> PyResult<()> {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        // This fails if another part of the process has set a logger: then that one is used.
        let _ = log::set_logger(&LOGGER);
    });
    log::set_max_level(read_python_level(py)?);
    Ok(())
}

fn read_python_level(py: Python<'_>) -> PyResult<LevelFilter> {
    let _inside = enter(py);
    // `logging` is not imported here: it takes most of the time of importing this package. If
    // nobody has imported it, warnings are enough.
    let Some(logging) = imported_modules(py)?.get_item(intern!(py, "logging"))? else {
        return Ok(LevelFilter::Warn);
    };
    // Another thread may be in the middle of importing it.
    let Ok(get_logger) = logging.getattr(intern!(py, "getLogger")) else {
        return Ok(LevelFilter::Warn);
    };
    let logger = get_logger.call1((LOG_TARGET,))?;
    let wants = |level: u8| logger.call_method1(intern!(py, "isEnabledFor"), (level,))?.is_truthy();
    // The core formats no record that Python would drop. The higher level is asked first: most
    // programs want neither, and then one question is enough.
    Ok(match wants(20)? {
        false => LevelFilter::Warn,
        true if wants(10)? => LevelFilter::Debug,
        true => LevelFilter::Info,
    })
}
