//! How many tasks the runtime has, for the endurance test.

use pyo3::prelude::*;

use super::process_runtime;

/// Return how many tasks of the runtime have not ended: 0 before the first call.
#[pyfunction]
pub fn runtime_tasks() -> usize {
    process_runtime::running().map_or(0, |process| process.handle().metrics().num_alive_tasks())
}
