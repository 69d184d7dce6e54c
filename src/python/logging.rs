//! The core's log as Python's: `logging.getLogger("mde_live_response")`, and nothing of other crates, whose lines hold URLs.

use std::sync::OnceLock;

use log::LevelFilter;
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger};

use crate::pipeline::LOG;

/// Starts once. Not at import: `logging` is most of what an import would cost.
pub fn start(py: Python<'_>) -> PyResult<()> {
    static STARTED: OnceLock<()> = OnceLock::new();
    if STARTED.get().is_none() {
        let logger = Logger::new(py, Caching::Loggers)?
            .filter(LevelFilter::Off)
            .filter_target(LOG.to_owned(), LevelFilter::Debug);
        // Err when another part of the process has taken the crate's log, which is its right.
        let _ = logger.install();
        let _ = STARTED.set(());
    }
    Ok(())
}
