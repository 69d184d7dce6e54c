//! The models as frozen Python classes.
//!
//! Each shares its core value. A Python object of an attribute is made when it is first read.

mod action;
mod check;
mod collected_file;
mod command;
mod command_content;
mod command_result;
mod common;
pub mod json_ready;
mod library_file;
mod library_plan;
mod limits;
mod machine;
pub mod pickle;
mod profile;
mod rate;
mod run;
mod script_output;
mod session_result;
mod shared;
pub mod values;

use pyo3::prelude::*;

pub use action::MachineAction;
pub use check::{Check, Finding};
pub use collected_file::CollectedFile;
pub use command::Command;
pub use command_content::restore as restore_command;
pub use command_result::CommandResult;
pub use library_file::LibraryFile;
pub use library_plan::LibraryPlan;
pub use limits::Limits;
pub use machine::Machine;
pub use profile::Profile;
pub use rate::Rate;
pub use run::Run;
pub use script_output::ScriptOutput;
pub use session_result::SessionResult;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Command>()?;
    module.add_class::<Rate>()?;
    module.add_class::<Limits>()?;
    module.add_class::<ScriptOutput>()?;
    module.add_class::<CollectedFile>()?;
    module.add_class::<CommandResult>()?;
    module.add_class::<MachineAction>()?;
    module.add_class::<SessionResult>()?;
    module.add_class::<Machine>()?;
    module.add_class::<LibraryFile>()?;
    module.add_class::<LibraryPlan>()?;
    module.add_class::<Run>()?;
    module.add_class::<Finding>()?;
    module.add_class::<Check>()?;
    module.add_class::<Profile>()
}
