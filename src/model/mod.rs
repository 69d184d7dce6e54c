//! The data types of the service. Unknown fields and unknown statuses are kept and never an error.

mod action;
mod collected_file;
mod command;
mod decode;
mod hresult;
mod id;
mod lenient;
mod library_file;
mod machine;
mod page;
mod quote;
mod record;
mod redaction;
mod script_output;
mod timestamp;

pub use action::{ActionCommand, MachineAction, is_final};
pub use collected_file::{CollectedFile, PayloadFormat};
pub use command::{Command, CommandType, LocalContent, Shell, check_commands, is_local_name};
pub use decode::{decode_entity, decode_page};
pub use id::{check_action_id, check_machine_name, is_guid, is_machine_id};
pub use library_file::{LibraryFile, check_library_name, check_stored_name};
pub use machine::Machine;
pub use page::Page;
pub use quote::{encode_json, is_powershell, quote_args};
pub use record::{Entity, NeededId, Raw};
pub use redaction::ArgumentRedactor;
pub use script_output::{ScriptOutput, decode_text, parse_object};
pub use timestamp::Timestamp;
