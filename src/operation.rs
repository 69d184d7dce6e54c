//! The calls of the service that the client makes, and what is known of each.

use serde::{Deserialize, Serialize};

/// One call of the service. The service counts its limits by call, application and tenant.
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

    /// The word that names the call's window in a store and the call in a log.
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

    /// Whether a second try after a lost answer does no harm.
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Self::RunLiveResponse | Self::UploadLibraryFile)
    }

    /// The application permissions of which one is needed, as each call's own page has them.
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

    /// What the call does, to follow "could not".
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
