"""Types for annotations. Imported on first use, because `typing` is slow to import."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from ._native import (
    ClientCertificateCredential,
    ClientSecretCredential,
    Command,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)


class SupportsGetToken(Protocol):
    """An object with azure-identity's `get_token`, such as that package's credentials."""

    def get_token(self, *scopes: str, **kwargs: Any) -> Any:
        """Return a token for the scopes, or an awaitable that returns one."""


# Each is a union of more than one type: stubtest does not accept a single Literal as an alias.
CommandType: TypeAlias = Literal["PutFile"] | Literal["RunScript", "GetFile"]
Args: TypeAlias = str | Sequence[str] | Mapping[str, Any]
Commands: TypeAlias = Command | Sequence[Command]
Credential: TypeAlias = (
    str
    | Callable[[], str]
    | Callable[[], Awaitable[str]]
    | SupportsGetToken
    | ClientSecretCredential
    | ClientCertificateCredential
    | WorkloadIdentityCredential
    | ManagedIdentityCredential
)
ActionStatus: TypeAlias = (
    Literal["Pending", "InProgress", "Succeeded", "Failed", "TimeOut", "Cancelled"] | str
)
CommandStatus: TypeAlias = (
    Literal["Created", "Submitted", "PendingResource", "Executing", "Completed", "Failed"] | str
)
Reason: TypeAlias = (
    Literal["ok", "script", "command", "fetch", "timed_out", "cancelled", "failed"]
    | Literal[
        "busy", "machine", "permission", "duplicate", "not_submitted", "error"
    ]  # only for an Outcome
    | str
)
Cloud: TypeAlias = (
    Literal["public", "us", "eu", "uk", "au", "swa", "ina", "aea"]
    | Literal["gcc", "gcc-high", "dod"]
)
