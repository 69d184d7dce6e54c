"""Names for annotations. Loaded when one is first asked for, because `typing` is most of what an import would cost."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from ._native import (
    ClientCertificateCredential,
    ClientSecretCredential,
    Command,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)


class SupportsGetToken(Protocol):
    """Anything with azure-identity's `get_token`: every credential of that package, the asynchronous ones too."""

    def get_token(self, *scopes: str, **kwargs: Any) -> Any:
        """Give a token for these scopes, or something to await that does."""


# Each of these is a union of more than one type: stubtest does not take a lone Literal for one.
CommandType: TypeAlias = Literal["PutFile"] | Literal["RunScript", "GetFile"]
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
    ]  # an Outcome's only
    | str
)
Cloud: TypeAlias = (
    Literal["public", "us", "eu", "uk", "au", "swa", "ina", "aea"]
    | Literal["gcc", "gcc-high", "dod"]
)
