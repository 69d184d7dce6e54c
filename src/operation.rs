//! The API operations of the service that the client calls, and the properties of each.

use serde::{Deserialize, Serialize};

/// One API operation. The service counts calls for each operation, application and tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    RunLiveResponse,
    GetMachineAction,
    ListMachineActions,
    GetResultLink,
    CancelMachineAction,
    ListLibraryFiles,
    UploadLibraryFile,
    DeleteLibraryFile,
    GetMachine,
    ListMachines,
}

impl Operation {
    pub const ALL: [Self; 10] = [
        Self::RunLiveResponse,
        Self::GetMachineAction,
        Self::ListMachineActions,
        Self::GetResultLink,
        Self::CancelMachineAction,
        Self::ListLibraryFiles,
        Self::UploadLibraryFile,
        Self::DeleteLibraryFile,
        Self::GetMachine,
        Self::ListMachines,
    ];

    /// Returns the name of the operation in a store and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::RunLiveResponse => "runliveresponse",
            Self::GetMachineAction => "machineaction",
            Self::ListMachineActions => "machineactions",
            Self::GetResultLink => "resultlink",
            Self::CancelMachineAction => "cancel",
            Self::ListLibraryFiles => "libraryfiles",
            Self::UploadLibraryFile => "upload",
            Self::DeleteLibraryFile => "delete",
            Self::GetMachine => "machine",
            Self::ListMachines => "machines",
        }
    }

    /// Returns whether a retry after a lost response is safe.
    pub fn is_idempotent(self) -> bool {
        // A second submit would run the commands twice. A second upload would fail with a conflict.
        !matches!(self, Self::RunLiveResponse | Self::UploadLibraryFile)
    }

    /// Returns the application permissions. The call needs one of them (page of each operation).
    pub fn permissions(self) -> &'static [&'static str] {
        match self {
            Self::RunLiveResponse | Self::CancelMachineAction => &["Machine.LiveResponse"],
            Self::GetMachineAction
            | Self::ListMachineActions
            | Self::GetResultLink
            | Self::GetMachine
            | Self::ListMachines => &["Machine.Read.All", "Machine.ReadWrite.All"],
            Self::ListLibraryFiles | Self::UploadLibraryFile | Self::DeleteLibraryFile => {
                &["Library.Manage"]
            }
        }
    }

    /// Returns what the operation does, worded to follow "could not".
    pub fn description(self) -> &'static str {
        match self {
            Self::RunLiveResponse => "submit a live response session",
            Self::GetMachineAction => "read the machine action",
            Self::ListMachineActions => "list machine actions",
            Self::GetResultLink => "get the link of a command's result",
            Self::CancelMachineAction => "cancel the machine action",
            Self::ListLibraryFiles => "list the library",
            Self::UploadLibraryFile => "upload to the library",
            Self::DeleteLibraryFile => "delete from the library",
            Self::GetMachine => "read the machine",
            Self::ListMachines => "list machines",
        }
    }
}
