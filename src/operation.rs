//! The API operations of the service that the client calls: one table with the properties of each.

use serde::{Deserialize, Serialize};

/// The properties of an operation: one row of the table.
struct Properties {
    name: &'static str,
    is_idempotent: bool,
    permissions: &'static [&'static str],
    description: &'static str,
    subject: (&'static str, Subject),
    not_found_hint: &'static str,
}

/// What a call is about: the object that an error message names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Machine,
    Action,
    /// An object without an id, such as a library file.
    Named,
}

/// Makes `Operation` from its table, so that no list can miss a row and no row a property.
macro_rules! operation_table {
    ($($operation:ident $properties:tt)*) => {
        /// One API operation. The service counts its rate limits for each operation, application
        /// and tenant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Operation {
            $($operation,)*
        }

        impl Operation {
            pub const ALL: [Self; [$(Self::$operation),*].len()] = [$(Self::$operation),*];

            fn properties(self) -> Properties {
                match self {
                    $(Self::$operation => Properties $properties,)*
                }
            }
        }
    };
}

operation_table! {
    RunLiveResponse {
        name: "runliveresponse",
        // A second submit would run the commands twice.
        is_idempotent: false,
        permissions: LIVE_RESPONSE,
        description: "submit a live response session",
        subject: (" to machine ", Subject::Machine),
        not_found_hint: NO_MACHINE,
    }
    GetMachineAction {
        name: "machineaction",
        is_idempotent: true,
        permissions: READ_MACHINES,
        description: "read the machine action",
        subject: (" ", Subject::Action),
        not_found_hint: NO_ACTION,
    }
    ListMachineActions {
        name: "machineactions",
        is_idempotent: true,
        permissions: READ_MACHINES,
        description: "list machine actions",
        subject: (" of ", Subject::Named),
        not_found_hint: NO_ACTION,
    }
    GetResultLink {
        name: "resultlink",
        is_idempotent: true,
        permissions: READ_MACHINES,
        description: "get the link of a command's result",
        subject: (" of machine action ", Subject::Action),
        not_found_hint: NO_RESULT,
    }
    CancelMachineAction {
        name: "cancel",
        is_idempotent: true,
        permissions: LIVE_RESPONSE,
        description: "cancel the machine action",
        subject: (" ", Subject::Action),
        not_found_hint: NO_ACTION,
    }
    ListLibraryFiles {
        name: "libraryfiles",
        is_idempotent: true,
        permissions: MANAGE_LIBRARY,
        description: "list the library",
        subject: (" of ", Subject::Named),
        not_found_hint: NO_FILE,
    }
    UploadLibraryFile {
        name: "upload",
        // A second upload would fail with a conflict.
        is_idempotent: false,
        permissions: MANAGE_LIBRARY,
        description: "upload to the library",
        subject: (" the file ", Subject::Named),
        not_found_hint: NO_FILE,
    }
    DeleteLibraryFile {
        name: "delete",
        is_idempotent: true,
        permissions: MANAGE_LIBRARY,
        description: "delete from the library",
        subject: (" the file ", Subject::Named),
        not_found_hint: NO_FILE,
    }
    GetMachine {
        name: "machine",
        is_idempotent: true,
        permissions: READ_MACHINES,
        description: "read the machine",
        subject: (" ", Subject::Machine),
        not_found_hint: NO_MACHINE,
    }
    ListMachines {
        name: "machines",
        is_idempotent: true,
        permissions: READ_MACHINES,
        description: "list machines",
        subject: (" of ", Subject::Named),
        not_found_hint: NO_MACHINE,
    }
}

const LIVE_RESPONSE: &[&str] = &["Machine.LiveResponse"];
const READ_MACHINES: &[&str] = &["Machine.Read.All", "Machine.ReadWrite.All"];
const MANAGE_LIBRARY: &[&str] = &["Library.Manage"];

const NO_MACHINE: &str = "check the machine's id or name, that the machine is onboarded, and that the token is for its \
     tenant";
const NO_ACTION: &str =
    "check the action's id and the token's tenant; a new action may take two minutes to appear";
const NO_RESULT: &str =
    "a result is available some seconds after its command ended; PutFile has none";
const NO_FILE: &str = "library.list_files() returns all file names";

impl Operation {
    /// Returns the name of the operation in a store and in the log.
    pub fn name(self) -> &'static str {
        self.properties().name
    }

    /// Returns whether a retry after a lost response is safe.
    pub fn is_idempotent(self) -> bool {
        self.properties().is_idempotent
    }

    /// Returns whether the response is a page of a list.
    pub fn is_list(self) -> bool {
        matches!(self, Self::ListMachineActions | Self::ListMachines | Self::ListLibraryFiles)
    }

    /// Returns the application permissions. The call needs one of them (page of each operation).
    pub fn permissions(self) -> &'static [&'static str] {
        self.properties().permissions
    }

    /// Returns the permissions of a person's token, one of which is required.
    pub fn delegated_permissions(self) -> &'static [&'static str] {
        match self {
            Self::GetMachineAction
            | Self::ListMachineActions
            | Self::GetResultLink
            | Self::GetMachine
            | Self::ListMachines => &["Machine.Read", "Machine.ReadWrite"],
            _ => self.permissions(),
        }
    }

    /// Returns what the operation does, worded to follow "could not".
    pub fn description(self) -> &'static str {
        self.properties().description
    }

    /// Returns the words that follow the description, and the object that follows them.
    pub fn subject(self) -> (&'static str, Subject) {
        self.properties().subject
    }

    /// Returns what the caller can do if the service answers 404.
    pub fn not_found_hint(self) -> &'static str {
        self.properties().not_found_hint
    }
}
