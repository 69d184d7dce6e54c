//! The data types of the service. Unknown fields and unknown statuses are kept and never an error.

mod action;
mod collected_file;
mod command;
mod decode;
mod id;
mod library_file;
mod machine;
mod quote;
mod script_output;
mod timestamp;

pub use action::{ActionCommand, MachineAction, is_final};
pub use collected_file::{CollectedFile, PayloadFormat};
pub use command::{Command, CommandType, check_commands};
pub use decode::{Entity, Page, Raw, decode_entity, decode_page};
pub use id::{is_guid, is_machine_id};
pub use library_file::{LibraryFile, check_library_name};
pub use machine::Machine;
pub use quote::quote_args;
pub use script_output::ScriptOutput;
pub use timestamp::Timestamp;
