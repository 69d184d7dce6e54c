//! What the service sends and takes. Unknown fields and unknown words of a status are kept, never an error.

mod action;
mod collected_file;
mod command;
mod decode;
mod library_file;
mod machine;
mod quote;
mod script_output;
mod timestamp;

pub use action::{ActionCommand, MachineAction, is_final};
pub use collected_file::{CollectedFile, PayloadFormat};
pub use command::{Command, CommandType, check_commands, check_library_name};
pub use decode::{Entity, Page, Raw, decode_entity, decode_page};
pub use library_file::LibraryFile;
pub use machine::{Machine, is_machine_id};
pub use quote::quote_args;
pub use script_output::ScriptOutput;
pub(crate) use script_output::is_bidi_control;
pub use timestamp::Timestamp;
