//! What the service sends and takes. Unknown fields and unknown words of a status are kept, never an error.

mod action;
mod collected;
mod command;
mod decode;
mod library;
mod machine;
mod quote;
mod timestamp;
mod transcript;

pub use action::{ActionCommand, MachineAction, is_final};
pub use collected::{CollectedFile, Payload};
pub use command::{Command, CommandType, check_commands, check_library_name};
pub use decode::{Entity, Page, Raw, entity, page};
pub use library::LibraryFile;
pub use machine::{Machine, is_machine_id};
pub use quote::quote_args;
pub use timestamp::Timestamp;
pub use transcript::ScriptOutput;
pub(crate) use transcript::is_bidi_control;
