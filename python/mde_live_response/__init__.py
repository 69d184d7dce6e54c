"""Run live response commands of Microsoft Defender for Endpoint exactly once, within its limits."""

# `collections.abc` itself would import more than this package needs.
from _collections_abc import Sequence as _Sequence

from . import _async_methods, _native
from ._azure_cli import AzureCliCredential
from ._native import (
    Check,
    ClientCertificateCredential,
    ClientSecretCredential,
    CollectedFile,
    Command,
    CommandResult,
    FileStream,
    Finding,
    Fleet,
    FleetReport,
    Library,
    LibraryFile,
    LibraryPlan,
    Limits,
    LiveResponseClient,
    Machine,
    MachineAction,
    ManagedIdentityCredential,
    Outcome,
    Profile,
    Rate,
    Run,
    ScriptOutput,
    Session,
    SessionResult,
    WorkloadIdentityCredential,
    __version__,
)
from .errors import (
    AlreadyExistsError,
    AmbiguousMachineError,
    AuthenticationError,
    ConnectionFailedError,
    DownloadError,
    InvalidRequestError,
    LiveResponseError,
    MachineBusyError,
    NotFoundError,
    PermissionDeniedError,
    ServiceError,
    SessionFailedError,
    StateError,
    SubmitUnknownError,
    ThrottledError,
    WaitTimeoutError,
)

__all__ = [
    "ActionStatus",
    "AlreadyExistsError",
    "AmbiguousMachineError",
    "Args",
    "AuthenticationError",
    "AzureCliCredential",
    "Check",
    "ClientCertificateCredential",
    "ClientSecretCredential",
    "Cloud",
    "CollectedFile",
    "Command",
    "CommandResult",
    "CommandStatus",
    "CommandType",
    "Commands",
    "ConnectionFailedError",
    "Credential",
    "DownloadError",
    "FileStream",
    "Finding",
    "Fleet",
    "FleetReport",
    "InvalidRequestError",
    "Library",
    "LibraryFile",
    "LibraryPlan",
    "Limits",
    "LiveResponseClient",
    "LiveResponseError",
    "Machine",
    "MachineAction",
    "MachineBusyError",
    "ManagedIdentityCredential",
    "NotFoundError",
    "Outcome",
    "PermissionDeniedError",
    "Profile",
    "Rate",
    "Reason",
    "Run",
    "ScriptOutput",
    "ServiceError",
    "Session",
    "SessionFailedError",
    "SessionResult",
    "StateError",
    "SubmitUnknownError",
    "SupportsGetToken",
    "ThrottledError",
    "WaitTimeoutError",
    "WorkloadIdentityCredential",
    "__version__",
]

_Sequence.register(FleetReport)
_async_methods.mark_async_methods(cls for cls in vars(_native).values() if isinstance(cls, type))


def __getattr__(name):
    # The types for annotations need `typing`, which takes most of the import time.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _types

    value = globals()[name] = getattr(_types, name)
    return value


def __dir__():
    return sorted({*globals(), *__all__})
