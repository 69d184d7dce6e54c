//! The Python binding: the core's futures and models as Python classes.
//!
//! The module `_native` is private; `mde_live_response` re-exports its public classes.

mod arguments;
mod callers_object;
mod client;
mod convert;
mod credentials;
mod emulator;
mod errors;
mod files;
mod fleet;
mod gil_gate;
mod logging;
mod models;
mod modules;
mod notebook;
mod operations;
mod paths;
mod restore;
mod runtime;
mod seconds;

use pyo3::prelude::*;

/// The Rust core. Private: import from `mde_live_response` instead.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    runtime::refuse_isolated(module.py())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    models::register(module)?;
    module.add_class::<credentials::ClientSecretCredential>()?;
    module.add_class::<credentials::ClientCertificateCredential>()?;
    module.add_class::<credentials::WorkloadIdentityCredential>()?;
    module.add_class::<credentials::ManagedIdentityCredential>()?;
    module.add_class::<client::LiveResponseClient>()?;
    module.add_class::<client::session::Session>()?;
    module.add_class::<files::stream::FileStream>()?;
    module.add_class::<fleet::Fleet>()?;
    module.add_class::<fleet::outcome::Outcome>()?;
    module.add_class::<fleet::report::FleetReport>()?;
    module.add_class::<files::library::Library>()?;
    // Every class registered so far is public; those below are not.
    let public: Vec<String> = module.index()?.extract()?;
    module.add_class::<fleet::iterator::FleetIterator>()?;
    emulator::register(module)?;
    module.add_function(wrap_pyfunction!(restore::restore, module)?)?;
    module.add_function(wrap_pyfunction!(client::submit_args::new_correlation_id, module)?)?;
    module.add_function(wrap_pyfunction!(client::state_inspect::show_state, module)?)?;
    module.add_function(wrap_pyfunction!(client::state_inspect::prune_state, module)?)?;
    module.add_function(wrap_pyfunction!(client::state_inspect::prune_memory, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::runtime_tasks, module)?)?;
    module.setattr("__all__", public)?;
    runtime::register(module, client::fork_hooks::flush_quotas)?;
    client::fork_hooks::register(module)
}
