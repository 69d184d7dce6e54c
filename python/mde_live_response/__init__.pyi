"""Run live response commands of Microsoft Defender for Endpoint exactly once, within its limits.

Every call that does I/O exists twice: `name()` blocks (the GIL is released, Ctrl-C works) and
`name_async()` returns a coroutine. Interrupting a call aborts its HTTP request, except a submit
that was already sent: that one finishes in the background. Attributes are read-only. Sequences are
tuples. Durations are seconds (`float`) or `timedelta`; times are timezone-aware UTC `datetime`;
sizes are bytes.
"""

import sys
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Literal, final, overload

from typing_extensions import Self

from ._types import ActionStatus as ActionStatus
from ._types import Args as Args
from ._types import Cloud as Cloud
from ._types import Commands as Commands
from ._types import CommandStatus as CommandStatus
from ._types import CommandType as CommandType
from ._types import Credential as Credential
from ._types import Reason as Reason
from ._types import SupportsGetToken as SupportsGetToken
from .errors import AlreadyExistsError as AlreadyExistsError
from .errors import AmbiguousMachineError as AmbiguousMachineError
from .errors import AuthenticationError as AuthenticationError
from .errors import ConnectionFailedError as ConnectionFailedError
from .errors import DownloadError as DownloadError
from .errors import InvalidRequestError as InvalidRequestError
from .errors import LiveResponseError as LiveResponseError
from .errors import MachineBusyError as MachineBusyError
from .errors import NotFoundError as NotFoundError
from .errors import PermissionDeniedError as PermissionDeniedError
from .errors import ServiceError as ServiceError
from .errors import SessionFailedError as SessionFailedError
from .errors import StateError as StateError
from .errors import SubmitUnknownError as SubmitUnknownError
from .errors import ThrottledError as ThrottledError
from .errors import WaitTimeoutError as WaitTimeoutError

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

__version__: str

@final
class Command:
    """One live response command. Immutable, comparable, hashable, picklable.

    In a session, every PutFile comes before every RunScript, and every RunScript before every
    GetFile. There may be any number of each.
    The service's page: learn.microsoft.com/defender-endpoint/api/run-live-response
    """

    @classmethod
    def put_file(cls, file_name: str) -> Self:
        r"""Put a file from the library into the working folder on the device.

        The command has no result. The service deletes the file when the device restarts. As
        others report, the folder is
        `C:\ProgramData\Microsoft\Windows Defender Advanced Threat Protection\Downloads` on
        Windows, `/var/opt/microsoft/mdatp/response` on Linux, and
        `/Library/Application Support/Microsoft/Defender/response` on macOS.

        Args:
            file_name: the file's name in the library, not a path.

        Raises:
            InvalidRequestError: the name is empty, or has other characters than letters,
                digits, `-`, `_` and `.`, which the library does not accept.
        """

    @classmethod
    def run_script(cls, script_name: str, args: Args | None = None) -> Self:
        """Run a script from the library on the device.

        The service stops a script after 10 minutes. What runs a script on each system:
        https://github.com/mde-live-response/mde-live-response/blob/main/docs/commands.md

        Args:
            script_name: the script's name in the library.
            args: a str is sent unchanged. A sequence is quoted: for PowerShell if the name ends
                in `.ps1` or has no ending, else for sh. A mapping is sent as one argument, the
                base64url of its JSON. None and an empty sequence send no arguments.

        Raises:
            InvalidRequestError: the name is empty, or has other characters than letters,
                digits, `-`, `_` and `.`, which the library does not accept.
        """

    @classmethod
    def put_local(cls, path: str | PathLike[str]) -> Self:
        """Upload a local file and put it into the working folder on the device.

        The file is read now. A submit uploads it first, unless the library has it, as
        `<stem>-<16 digits of its SHA-256><suffix>`; `params["FileName"]` is that name.
        Permission: Library.Manage.

        Args:
            path: a file on this computer.

        Raises:
            InvalidRequestError: the library does not accept the file's name.
            OSError: the file cannot be read.
        """

    @classmethod
    def run_local(cls, path: str | PathLike[str], args: Args | None = None) -> Self:
        """Upload a local script and run it on the device.

        The file is read now. A submit uploads it first, unless the library has it, as
        `<stem>-<16 digits of its SHA-256><suffix>`; `params["ScriptName"]` is that name.
        Permission: Library.Manage.

        Args:
            path: a script on this computer.
            args: as for `run_script`.

        Raises:
            InvalidRequestError: the library does not accept the file's name.
            OSError: the file cannot be read.
        """

    @classmethod
    def run_inline(
        cls,
        code: str,
        args: Args | None = None,
        *,
        shell: Literal["powershell", "bash"] = "powershell",
    ) -> Self:
        """Upload code and run it on the device.

        A submit uploads it as `inline-<16 digits of its SHA-256>.ps1` or `.sh`, unless the
        library has it. PowerShell code with other characters than ASCII gets a byte order mark.
        bash code gets LF line ends and an empty standard input.
        Permission: Library.Manage.

        Args:
            code: the script's text.
            args: as for `run_script`.
            shell: `powershell` or `bash`.

        Raises:
            InvalidRequestError: the code is empty or has a NUL, or the shell is another one.
        """

    @classmethod
    def get_file(cls, path: str) -> Self:
        r"""Collect a file from the device.

        Args:
            path: the full path on the device, unescaped, such as `C:\Temp\triage.zip`.

        Raises:
            InvalidRequestError: the path is empty.
        """

    @classmethod
    def from_dict(cls, wire: Mapping[str, Any]) -> Self:
        """Make a command from the service's JSON, as `to_dict` returns it.

        Args:
            wire: `{"type": ..., "params": [{"key": ..., "value": ...}]}`.

        Raises:
            InvalidRequestError: the type is unknown, or a parameter is missing, unknown or
                empty.
        """

    @property
    def type(self) -> CommandType:
        """`PutFile`, `RunScript` or `GetFile`."""

    @property
    def params(self) -> dict[str, str]:
        """The parameters, such as `{"ScriptName": "triage.ps1", "Args": "-Depth 2"}`."""

    def to_dict(self) -> dict[str, Any]:
        """Return the service's JSON: `{"type": ..., "params": [{"key": ..., "value": ...}]}`."""

@final
class ClientSecretCredential:
    """Get tokens with a client secret (OAuth2 client credentials), without azure-identity.

    Its repr, errors and pickles never contain the secret.

    Args:
        tenant_id: the tenant's id or one of its domain names.
        client_id: the application's id.
        client_secret: the application's secret.
        authority: the login host. None: that of the client's cloud.
    """

    def __new__(
        cls, tenant_id: str, client_id: str, client_secret: str, *, authority: str | None = None
    ) -> Self: ...

@final
class ClientCertificateCredential:
    """Get tokens with a certificate. The application signs with its private key; no secret is
    sent.

    The certificate is read once, by this call. The key is an RSA key of 2048 to 4096 bits and signs
    with PS256. The repr, errors and pickles never contain the key.
    The service's page: learn.microsoft.com/entra/identity-platform/certificate-credentials

    Args:
        tenant_id: the tenant's id or one of its domain names.
        client_id: the application's id.
        certificate: PEM with the private key, or PKCS#12 (.pfx, .p12): a path, the file's
            content as bytes, or PEM as a str.
        password: the password of the key or of the PKCS#12. None: it has none.
        authority: the login host. None: that of the client's cloud.

    Raises:
        InvalidRequestError: the certificate cannot be used, or the password is wrong.
        OSError: the file cannot be read.
    """

    def __new__(
        cls,
        tenant_id: str,
        client_id: str,
        certificate: bytes | str | PathLike[str],
        *,
        password: str | None = None,
        authority: str | None = None,
    ) -> Self: ...

@final
class WorkloadIdentityCredential:
    """Get tokens with the token of another issuer, such as a pod's in Kubernetes (workload
    identity federation).

    The file is read again for every token, because the platform replaces it from time to time.
    The service's page: learn.microsoft.com/entra/workload-id/workload-identity-federation

    Args:
        tenant_id: the tenant's id or one of its domain names. None: AZURE_TENANT_ID.
        client_id: the application's id. None: AZURE_CLIENT_ID.
        token_file_path: the file with the token. None: AZURE_FEDERATED_TOKEN_FILE.
        authority: the login host. None: AZURE_AUTHORITY_HOST, else that of the client's cloud.

    Raises:
        InvalidRequestError: a value is neither given nor in the environment. The message names
            it.
    """

    def __new__(
        cls,
        *,
        tenant_id: str | None = None,
        client_id: str | None = None,
        token_file_path: str | PathLike[str] | None = None,
        authority: str | None = None,
    ) -> Self: ...
    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]: ...

@final
class ManagedIdentityCredential:
    """Get tokens with the managed identity of the Azure machine, App Service or container that
    this runs on.

    The tokens come from an App Service's IDENTITY_ENDPOINT (with IDENTITY_HEADER), else from
    IMDS, whose host is AZURE_POD_IDENTITY_AUTHORITY_HOST if that is set. No proxy is used.
    The service's page:
    learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview

    Args:
        client_id: the client id of a user-assigned identity. None: AZURE_CLIENT_ID, else the
            system-assigned identity.
    """

    def __new__(cls, *, client_id: str | None = None) -> Self: ...
    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]: ...

class AzureCliCredential:
    """Get tokens of the user who is signed in to the Azure CLI with `az login`.

    Meant for interactive use. It runs `az account get-access-token` for every token.
    Page: learn.microsoft.com/cli/azure/account#az-account-get-access-token

    Args:
        tenant_id: the tenant's id or one of its domain names. None: the tenant selected in `az`.
        process_timeout: seconds that one run of `az` may take, more than 0.

    Raises:
        InvalidRequestError: the tenant is neither an id nor a domain name, or the time is not
            more than 0.
    """

    def __init__(
        self, tenant_id: str | None = None, *, process_timeout: float | timedelta = 10.0
    ) -> None: ...
    def get_token(self, *scopes: str, claims: str | None = None, **_: Any) -> Any:
        """Run `az` and return its token with its expiry.

        Args:
            scopes: one scope.
            claims: the claims of a claims challenge. `az` can satisfy them only by a new sign-in.

        Raises:
            AuthenticationError: `az` is missing, nobody is signed in, it took too long, or claims
                are requested.
        """

@final
class Rate:
    """At most `count` calls in any window of `per` seconds (a sliding window).

    Args:
        count: calls, at least 1.
        per: seconds or a timedelta, more than 0.

    Raises:
        InvalidRequestError: a value is out of bounds.
    """

    def __new__(cls, count: int, per: float | timedelta) -> Self: ...
    @property
    def count(self) -> int:
        """The number of calls."""

    @property
    def per(self) -> float:
        """The window in seconds."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict."""

@final
class Limits:
    """The service's limits for one application in one tenant.

    The defaults are the service's own.
    The service's page: learn.microsoft.com/defender-endpoint/api/run-live-response

    Args:
        submit: rates of starting sessions. Default: 10 a minute.
        read: rates of each other endpoint. Default: 100 a minute and 1,500 an hour.
        sessions: the most open sessions, including queued ones. Default 50, at least 1.
        queue_time: seconds or a timedelta that the service queues a session for a machine it
            cannot reach. Default 7,200.
        script_time: seconds or a timedelta that a script may run. Default 600.
        settle_time: seconds or a timedelta that an accepted submit may be missing from the
            service's list. Default 120.
        upload_size: the largest library file in bytes. Default 20 MiB.

    Raises:
        InvalidRequestError: a count is below 1 or a time is negative.
    """

    def __new__(
        cls,
        *,
        submit: Sequence[Rate] = ...,
        read: Sequence[Rate] = ...,
        sessions: int = 50,
        queue_time: float | timedelta = 7200.0,
        script_time: float | timedelta = 600.0,
        settle_time: float | timedelta = 120.0,
        upload_size: int = 20971520,
    ) -> Self: ...
    @property
    def submit(self) -> tuple[Rate, ...]:
        """The rates of starting sessions."""

    @property
    def read(self) -> tuple[Rate, ...]:
        """The rates of each other endpoint."""

    @property
    def sessions(self) -> int:
        """The most open sessions, including queued ones."""

    @property
    def queue_time(self) -> float:
        """How long the service queues a session for a machine it cannot reach, in seconds."""

    @property
    def script_time(self) -> float:
        """How long a script may run, in seconds."""

    @property
    def settle_time(self) -> float:
        """How long an accepted submit may be missing from the service's list, in seconds."""

    @property
    def upload_size(self) -> int:
        """The largest library file in bytes."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC."""

@final
class ScriptOutput:
    """The output of a script.

    Args:
        script_name: the script's name in the library.
        exit_code: the exit code; None if the payload has none. Default 0.
        stdout: the standard output. Default: empty.
        stderr: the error output. Default: empty.
    """

    def __new__(
        cls, script_name: str, *, exit_code: int | None = 0, stdout: str = "", stderr: str = ""
    ) -> Self: ...
    @property
    def script_name(self) -> str:
        """The script's name in the library."""

    @property
    def exit_code(self) -> int | None:
        """The exit code. None if the payload has none."""

    @property
    def stdout(self) -> str:
        """The standard output as received, without trailing NULs."""

    @property
    def stderr(self) -> str:
        """The error output as received, without trailing NULs."""

    @property
    def text(self) -> str:
        """`stdout` for display: without control characters, escape sequences, and the first line
        of a PowerShell transcript.
        """

    @property
    def stderr_text(self) -> str:
        """`stderr` for display, as `text`."""

    @property
    def raw(self) -> bytes:
        """The payload as received. If it is not the documented JSON, the other attributes do
        not have its content.
        """

    def json(self) -> Any:
        """Parse `stdout` as JSON, from the first line that starts a JSON value.

        Raises:
            ValueError: there is no JSON value, or something follows it.
        """

    def records(self) -> tuple[dict[str, Any], ...]:
        """Read `stdout` as a table: JSON lines, a JSON array of objects, or CSV with a header.

        Output before the first JSON value is skipped. The values of CSV are str. A CSV has two
        columns or more.

        Returns:
            A dict for each record. Empty if the script printed nothing.

        Raises:
            ValueError: `stdout` is no table.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC."""

@final
class CollectedFile:
    """A file that was collected from a device."""

    @property
    def remote_path(self) -> str:
        """The path on the device."""

    @property
    def path(self) -> Path | None:
        """Where it was saved. None if it was written to a file object or read from an
        iterator.
        """

    @property
    def size(self) -> int:
        """The size of the file after unpacking, in bytes."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the file after unpacking, in lower-case hexadecimal."""

    @property
    def name(self) -> str:
        """The file's name, safe on any file system: from the payload, else from `remote_path`."""

    @property
    def payload(self) -> Literal["gzip", "zip", "json", "other"]:
        """The payload's format, detected by its first bytes. A `gzip` was unpacked; `zip`,
        `json` and `other` are saved as received.
        """

    @property
    def received_size(self) -> int:
        """The size of the payload as received, in bytes."""

    @property
    def received_sha256(self) -> str:
        """SHA-256 of the payload as received, in lower-case hexadecimal."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC."""

@final
class CommandResult:
    """The result of one command of a session."""

    @property
    def index(self) -> int:
        """The command's place in the session, from 0."""

    @property
    def command(self) -> Command:
        """The command."""

    @property
    def status(self) -> CommandStatus:
        """The service's status. A status this package does not know is kept unchanged."""

    @property
    def errors(self) -> tuple[str, ...]:
        """The service's error messages."""

    @property
    def start_time(self) -> datetime | None:
        """When it started, in UTC. None if it did not."""

    @property
    def end_time(self) -> datetime | None:
        """When it ended, in UTC. None if it did not."""

    @property
    def skipped(self) -> bool:
        """Whether it never started because a command before it failed."""

    @property
    def script(self) -> ScriptOutput | None:
        """The output of a RunScript, once fetched. A failed script usually has one too."""

    @property
    def file(self) -> CollectedFile | None:
        """The file of a GetFile, once fetched."""

    @property
    def error(self) -> LiveResponseError | OSError | None:
        """Why the result could not be fetched or saved, although the command ran."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC."""

@final
class MachineAction:
    """A machine action as returned by the service.

    An unknown status is kept unchanged; unknown fields are in `raw`.
    The service's page: learn.microsoft.com/defender-endpoint/api/machineaction
    """

    @property
    def id(self) -> str:
        """The action's id, a GUID."""

    @property
    def type(self) -> str:
        """The kind of action: `LiveResponse` for the sessions of this package."""

    @property
    def status(self) -> ActionStatus:
        """The service's status. A status this package does not know is kept unchanged."""

    @property
    def done(self) -> bool:
        """Whether the status is final."""

    @property
    def machine_id(self) -> str | None:
        """The machine's id. A new action may not have one yet."""

    @property
    def computer_dns_name(self) -> str | None:
        """The machine's name. A new action may not have one yet."""

    @property
    def requestor(self) -> str | None:
        """The user or application that requested it."""

    @property
    def requestor_comment(self) -> str | None:
        """The comment it was submitted with, including this package's tag."""

    @property
    def creation_date_time_utc(self) -> datetime | None:
        """When the service accepted it."""

    @property
    def last_update_date_time_utc(self) -> datetime | None:
        """When it last changed."""

    @property
    def cancellation_requestor(self) -> str | None:
        """The user or application that cancelled it."""

    @property
    def cancellation_comment(self) -> str | None:
        """The comment it was cancelled with."""

    @property
    def cancellation_date_time_utc(self) -> datetime | None:
        """When it was cancelled."""

    @property
    def error_hresult(self) -> int | None:
        """The service's HRESULT; 0 if nothing failed."""

    @property
    def error_name(self) -> str | None:
        """`error_hresult` by name, such as `E_ACCESSDENIED (0x80070005)`; a code without a name
        as its number. None if nothing failed.
        """

    @property
    def external_id(self) -> str | None:
        """The id that the requestor gave it, if any."""

    @property
    def request_source(self) -> str | None:
        """Where the request came from, such as `PublicApi` or `Portal`."""

    @property
    def commands(self) -> tuple[CommandResult, ...]:
        """Each command with its status, in order."""

    @property
    def raw(self) -> dict[str, Any]:
        """The service's complete JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC."""

@final
class SessionResult:
    """The result of a finished session, including everything a failed session did before it
    failed.

    A session that ended is always returned, ok or not; `raise_for_status()` raises.
    """

    @property
    def action(self) -> MachineAction:
        """The action in its final state."""

    @property
    def commands(self) -> tuple[CommandResult, ...]:
        """`action.commands`, with the fetched results."""

    @property
    def ok(self) -> bool:
        """Whether the action succeeded, every command completed, every result was fetched, and
        no script had an exit code other than 0.
        """

    @property
    def reason(self) -> Reason:
        """The first thing that went wrong, as a keyword; `ok` if nothing did.

        `script`: a script had an exit code other than 0. `command`: a command failed.
        `fetch`: a result could not be fetched or saved. `timed_out`, `cancelled`, `failed`:
        how the action ended.
        """

    @property
    def message(self) -> str:
        """The reason as a sentence."""

    @property
    def scripts(self) -> tuple[ScriptOutput, ...]:
        """The outputs of the scripts that have one, in command order."""

    @property
    def files(self) -> tuple[CollectedFile, ...]:
        """The collected files, in command order."""

    def raise_for_status(self) -> Self:
        """Return this result if it is ok.

        Raises:
            SessionFailedError: it is not ok. The error's `result` is this result.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC."""

    def _repr_html_(self) -> str: ...

@final
class Machine:
    """A device as returned by the service. Compared and hashed by its id. Unknown fields are in
    `raw`.

    The service's page: learn.microsoft.com/defender-endpoint/api/machine
    """

    @property
    def id(self) -> str:
        """The machine id, 40 hexadecimal digits."""

    @property
    def computer_dns_name(self) -> str | None:
        """The full name."""

    @property
    def os_platform(self) -> str | None:
        """The operating system, such as `Windows11`."""

    @property
    def version(self) -> str | None:
        """The operating system's version, such as `21H2`."""

    @property
    def health_status(self) -> str | None:
        """The health of its sensor, such as `Active`."""

    @property
    def onboarding_status(self) -> str | None:
        """Whether it is onboarded, such as `Onboarded`."""

    @property
    def last_seen(self) -> datetime | None:
        """When it last sent a full report, about once a day. Does not say whether it is
        online.
        """

    @property
    def rbac_group_name(self) -> str | None:
        """The device group."""

    @property
    def machine_tags(self) -> tuple[str, ...]:
        """The tags."""

    @property
    def raw(self) -> dict[str, Any]:
        """The service's complete JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC."""

@final
class LibraryFile:
    """A file in the live response library. Unknown fields are in `raw`.

    The service's page: learn.microsoft.com/defender-endpoint/api/list-library-files
    """

    @property
    def file_name(self) -> str:
        """The name. It is unique in the library."""

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the content, in lower-case hexadecimal."""

    @property
    def description(self) -> str | None:
        """What the file is for."""

    @property
    def creation_time(self) -> datetime | None:
        """When it was first uploaded."""

    @property
    def last_updated_time(self) -> datetime | None:
        """When it was last uploaded."""

    @property
    def created_by(self) -> str | None:
        """The user or application that uploaded it."""

    @property
    def has_parameters(self) -> bool | None:
        """Whether it takes arguments."""

    @property
    def parameters_description(self) -> str | None:
        """What arguments it takes."""

    @property
    def changed(self) -> bool | None:
        """Whether `ensure` uploaded it. None unless `ensure` returned this object."""

    @property
    def raw(self) -> dict[str, Any]:
        """The service's complete JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC."""

@final
class LiveResponseClient:
    """The live response API of one tenant, as one application.

    Threads and event loops can share a client. Close it when you no longer need it, or use it
    in a `with` or `async with` block. Open sessions continue after that.

    Args:
        credential: a bearer token, a function or coroutine function that returns one, an
            object with azure-identity's `get_token`, or a credential of this package. None
            uses the first one that the environment has: a client secret (AZURE_TENANT_ID,
            AZURE_CLIENT_ID, AZURE_CLIENT_SECRET), a certificate
            (AZURE_CLIENT_CERTIFICATE_PATH and _PASSWORD instead of the secret), a federated
            token (AZURE_FEDERATED_TOKEN_FILE), the identity of an App Service
            (IDENTITY_ENDPOINT, IDENTITY_HEADER). AZURE_TOKEN_CREDENTIALS selects one by its
            name. AZURE_AUTHORITY_HOST sets the login host.
        cloud: the tenant's cloud, or the region whose host to use. None:
            $MDE_LIVE_RESPONSE_CLOUD, else `public`.
        endpoint: the API's base URL. None: $MDE_LIVE_RESPONSE_ENDPOINT, else the cloud's.
        scope: the token's scope. None: the scope of the cloud. In the public cloud, that is
            https://api.securitycenter.microsoft.com/.default.
        tenant_id: the only tenant whose tokens are accepted. A token for another tenant
            raises AuthenticationError, and nothing is sent.
        state: the state store for limits, open sessions and submits: `sqlite:///path` for the
            processes of one machine (four slashes for an absolute path),
            `redis://host:6379/0` or `rediss://` for many machines, `memory:` for this process
            only. None: $MDE_LIVE_RESPONSE_STATE, else `memory:`.
        limits: the service's limits. Default: the documented limits.
        max_wait: how long a read, a cancel or an upload may wait for its rate limit before
            ThrottledError: seconds or a timedelta, 0 or more. Default 180.
        request_timeout: the time-out of one HTTP request, or of one read of a download: seconds
            or a timedelta, more than 0. Default 30.
        connect_timeout: the time-out of connecting to a host: seconds or a timedelta, more than
            0. Default 10.
        proxy: the proxy's URL, `http://user:password@host:port`, for the API, the login host
            and the results. Hosts in NO_PROXY are reached without it. None: HTTPS_PROXY,
            HTTP_PROXY, ALL_PROXY. False: no proxy.
        ca_bundle: a PEM file with roots to trust in addition to the system's roots. None:
            REQUESTS_CA_BUNDLE. SSL_CERT_FILE replaces the system's roots.
        verify: False accepts any certificate, and logs one WARNING. For tests only. Default
            True.
        user_agent: prepended to this package's User-Agent header.

    Raises:
        InvalidRequestError: a value is out of bounds, or an environment variable is missing.
            The message names it.
    """

    def __new__(
        cls,
        credential: Credential | None = None,
        *,
        cloud: Cloud | None = None,
        endpoint: str | None = None,
        scope: str | None = None,
        tenant_id: str | None = None,
        state: str | None = None,
        limits: Limits = ...,
        max_wait: float | timedelta = 180.0,
        request_timeout: float | timedelta = 30.0,
        connect_timeout: float | timedelta = 10.0,
        proxy: str | Literal[False] | None = None,
        ca_bundle: str | PathLike[str] | None = None,
        verify: bool = True,
        user_agent: str | None = None,
    ) -> Self: ...
    @property
    def tenant_id(self) -> str | None:
        """The tenant: the `tenant_id` argument, or else the tenant of the last token, or else the
        credential's tenant, which may be a domain name.

        None until one of them is known.
        """

    def close(self) -> None:
        """Close the client: it starts no further call.

        Calls in flight continue to their end, in any thread or task. So do the sessions and the
        runs that the client started, and their objects stay usable. The connections are closed when
        the last of them has ended. A further call of the client raises InvalidRequestError.
        """

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(self, *exc: object) -> Coroutine[Any, Any, None]: ...
    def run(
        self,
        machine: str | Machine,
        commands: Commands,
        comment: str,
        *,
        save_to: str | PathLike[str] | None = None,
        save_transcripts: bool = False,
        timeout: float | timedelta | None = None,
        cancel_pending_after: float | timedelta | None = None,
        on_busy: Literal["raise", "wait"] = "raise",
        correlation_id: str | None = None,
        on_update: Callable[[MachineAction], None] | None = None,
    ) -> SessionResult:
        """Run commands on a machine, wait for the end, and return the results.

        The service's pages: learn.microsoft.com/defender-endpoint/api/run-live-response and
        learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: a machine id, a computer name or a Machine.
            commands: a Command or a sequence of them: PutFile first, then RunScript, then
                GetFile.
            comment: the reason, stored with the action. This package's tag is appended.
            save_to: a folder for collected files. They are saved as
                `<machine name>_<action id>/<index>_<name>`. None leaves them at the service, for
                `Session.download`. `manifest.jsonl` in the folder lists them with their
                SHA-256, for `mde_live_response.evidence`.
            save_transcripts: also save the output of each script there, as the service
                returned it, as `<index>_<script name>.transcript.json`. Default False.
            timeout: seconds or a timedelta for the whole call, 0 or more, including the wait for
                a rate limit. If the submit was sent, the call first finds out whether it started a
                session, even after `timeout`. None waits without limit.
            cancel_pending_after: seconds or a timedelta in Pending, 0 or more, after which the
                session is cancelled. None: never.
            on_busy: what to do while another caller's session is on the machine: `raise` or
                `wait`. Default `raise`.
            correlation_id: 1 to 128 characters. Submitting the same id on the same machine again,
                from any process, returns the first session, even a failed one. None makes a new
                id.
            on_update: called with the action when its status has changed, in the waiting thread
                or loop. An exception from it ends the wait.

        Returns:
            The result, ok or not.

        Raises:
            InvalidRequestError: the commands are wrong, the correlation id was used with other
                commands, or `save_transcripts` was given without `save_to`.
            AmbiguousMachineError: more than one machine has this name.
            NotFoundError: no machine has this name or id.
            MachineBusyError: another caller's session is on the machine, and `on_busy` is
                `raise`.
            AuthenticationError: the service accepts no token.
            PermissionDeniedError: a permission, a tenant setting or a remediation level is
                missing.
            WaitTimeoutError: `timeout` passed. If a session was started, it continues, and the
                error's `session` has it.
            SubmitUnknownError: the session may have been started. Call again with the same
                correlation id.
            ServiceError: the service failed, or its response does not match its documentation.
            ConnectionFailedError: the service could not be reached.
        """

    async def run_async(
        self,
        machine: str | Machine,
        commands: Commands,
        comment: str,
        *,
        save_to: str | PathLike[str] | None = None,
        save_transcripts: bool = False,
        timeout: float | timedelta | None = None,
        cancel_pending_after: float | timedelta | None = None,
        on_busy: Literal["raise", "wait"] = "raise",
        correlation_id: str | None = None,
        on_update: Callable[[MachineAction], None] | None = None,
    ) -> SessionResult:
        """Run commands on a machine, wait for the end, and return the results.

        The service's pages: learn.microsoft.com/defender-endpoint/api/run-live-response and
        learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: a machine id, a computer name or a Machine.
            commands: a Command or a sequence of them: PutFile first, then RunScript, then
                GetFile.
            comment: the reason, stored with the action. This package's tag is appended.
            save_to: a folder for collected files. They are saved as
                `<machine name>_<action id>/<index>_<name>`. None leaves them at the service, for
                `Session.download`. `manifest.jsonl` in the folder lists them with their
                SHA-256, for `mde_live_response.evidence`.
            save_transcripts: also save the output of each script there, as the service
                returned it, as `<index>_<script name>.transcript.json`. Default False.
            timeout: seconds or a timedelta for the whole call, 0 or more, including the wait for
                a rate limit. If the submit was sent, the call first finds out whether it started a
                session, even after `timeout`. None waits without limit.
            cancel_pending_after: seconds or a timedelta in Pending, 0 or more, after which the
                session is cancelled. None: never.
            on_busy: what to do while another caller's session is on the machine: `raise` or
                `wait`. Default `raise`.
            correlation_id: 1 to 128 characters. Submitting the same id on the same machine again,
                from any process, returns the first session, even a failed one. None makes a new
                id.
            on_update: called with the action when its status has changed, in the waiting thread
                or loop. An exception from it ends the wait.

        Returns:
            The result, ok or not.

        Raises:
            InvalidRequestError: the commands are wrong, the correlation id was used with other
                commands, or `save_transcripts` was given without `save_to`.
            AmbiguousMachineError: more than one machine has this name.
            NotFoundError: no machine has this name or id.
            MachineBusyError: another caller's session is on the machine, and `on_busy` is
                `raise`.
            AuthenticationError: the service accepts no token.
            PermissionDeniedError: a permission, a tenant setting or a remediation level is
                missing.
            WaitTimeoutError: `timeout` passed. If a session was started, it continues, and the
                error's `session` has it.
            SubmitUnknownError: the session may have been started. Call again with the same
                correlation id.
            ServiceError: the service failed, or its response does not match its documentation.
            ConnectionFailedError: the service could not be reached.
        """

    def submit(
        self,
        machine: str | Machine,
        commands: Commands,
        comment: str,
        *,
        timeout: float | timedelta | None = None,
        on_busy: Literal["raise", "wait"] = "raise",
        correlation_id: str | None = None,
    ) -> Session:
        """Start a session exactly once, and return when the service has accepted it.

        The service's page: learn.microsoft.com/defender-endpoint/api/run-live-response
        Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: a machine id, a computer name or a Machine.
            commands: a Command or a sequence of them: PutFile first, then RunScript, then
                GetFile.
            comment: the reason, stored with the action. This package's tag is appended.
            timeout: seconds or a timedelta for the wait before the submit, 0 or more. If the submit
                was sent, the call first finds out whether it started a session, even after
                `timeout`. None waits without limit.
            on_busy: what to do while another caller's session is on the machine: `raise` or
                `wait`. Default `raise`.
            correlation_id: 1 to 128 characters. Submitting the same id on the same machine again,
                from any process, returns the first session, even a failed one. None makes a new
                id.

        Returns:
            The session.

        Raises:
            InvalidRequestError: the commands are wrong, or the correlation id was used with
                other commands.
            AmbiguousMachineError: more than one machine has this name.
            NotFoundError: no machine has this name or id.
            MachineBusyError: another caller's session is on the machine, and `on_busy` is
                `raise`.
            AuthenticationError: the service accepts no token.
            PermissionDeniedError: a permission, a tenant setting or a remediation level is
                missing.
            WaitTimeoutError: `timeout` passed before the submit. Nothing was sent.
            SubmitUnknownError: the session may have been started. Call again with the same
                correlation id.
            ServiceError: the service failed, or its response does not match its documentation.
            ConnectionFailedError: the service could not be reached.
        """

    async def submit_async(
        self,
        machine: str | Machine,
        commands: Commands,
        comment: str,
        *,
        timeout: float | timedelta | None = None,
        on_busy: Literal["raise", "wait"] = "raise",
        correlation_id: str | None = None,
    ) -> Session:
        """Start a session exactly once, and return when the service has accepted it.

        The service's page: learn.microsoft.com/defender-endpoint/api/run-live-response
        Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: a machine id, a computer name or a Machine.
            commands: a Command or a sequence of them: PutFile first, then RunScript, then
                GetFile.
            comment: the reason, stored with the action. This package's tag is appended.
            timeout: seconds or a timedelta for the wait before the submit, 0 or more. If the submit
                was sent, the call first finds out whether it started a session, even after
                `timeout`. None waits without limit.
            on_busy: what to do while another caller's session is on the machine: `raise` or
                `wait`. Default `raise`.
            correlation_id: 1 to 128 characters. Submitting the same id on the same machine again,
                from any process, returns the first session, even a failed one. None makes a new
                id.

        Returns:
            The session.

        Raises:
            InvalidRequestError: the commands are wrong, or the correlation id was used with
                other commands.
            AmbiguousMachineError: more than one machine has this name.
            NotFoundError: no machine has this name or id.
            MachineBusyError: another caller's session is on the machine, and `on_busy` is
                `raise`.
            AuthenticationError: the service accepts no token.
            PermissionDeniedError: a permission, a tenant setting or a remediation level is
                missing.
            WaitTimeoutError: `timeout` passed before the submit. Nothing was sent.
            SubmitUnknownError: the session may have been started. Call again with the same
                correlation id.
            ServiceError: the service failed, or its response does not match its documentation.
            ConnectionFailedError: the service could not be reached.
        """

    def list_sessions(self) -> tuple[Session, ...]:
        """List the open sessions of all processes that share the state store.

        Sends no request to the service. Does not list sessions of other callers.

        Returns:
            The sessions. Their status is not fetched yet; `refresh()` fetches it.

        Raises:
            AuthenticationError: there is no token. The call reads the tenant and the application
                from the token.
            StateError: the state store cannot be read.
        """

    async def list_sessions_async(self) -> tuple[Session, ...]:
        """List the open sessions of all processes that share the state store.

        Sends no request to the service. Does not list sessions of other callers.

        Returns:
            The sessions. Their status is not fetched yet; `refresh()` fetches it.

        Raises:
            AuthenticationError: there is no token. The call reads the tenant and the application
                from the token.
            StateError: the state store cannot be read.
        """

    def find_session(self, machine: str | Machine, correlation_id: str) -> Session | None:
        """Find the session that was submitted with a correlation id. Never starts a session.

        The service's page:
        learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: the machine of the session: its id, its name or a Machine.
            correlation_id: the correlation id that the session was submitted with.

        Returns:
            The session, or None if the service does not list it.

        Raises:
            AmbiguousMachineError: more than one machine has this name.
            NotFoundError: no machine has this name or id.
            ThrottledError: the wait for the rate limit would exceed `max_wait`.
        """

    async def find_session_async(
        self, machine: str | Machine, correlation_id: str
    ) -> Session | None:
        """Find the session that was submitted with a correlation id. Never starts a session.

        The service's page:
        learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: the machine of the session: its id, its name or a Machine.
            correlation_id: the correlation id that the session was submitted with.

        Returns:
            The session, or None if the service does not list it.

        Raises:
            AmbiguousMachineError: more than one machine has this name.
            NotFoundError: no machine has this name or id.
            ThrottledError: the wait for the rate limit would exceed `max_wait`.
        """

    def run_many(
        self,
        machines: Iterable[str | Machine],
        commands: Commands | Mapping[Any, Commands],
        comment: str,
        *,
        save_to: str | PathLike[str] | None = None,
        save_transcripts: bool = False,
        run_id: str | None = None,
        cancel_pending_after: float | timedelta | None = None,
        until: float | timedelta | datetime | None = None,
        progress: bool = False,
    ) -> Fleet:
        """Run commands on many machines, as fast as the limits allow.

        Returns when the run has started.
        Machines that are probably online go first. Busy machines are tried again later. If a
        session stays Pending while other machines wait, it is parked: cancelled, and submitted
        again later. The commands run once on a machine that is listed twice.
        The service's pages: learn.microsoft.com/defender-endpoint/api/run-live-response and
        learn.microsoft.com/defender-endpoint/api/get-machines
        Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machines: machine ids, computer names or Machines, at least one. A problem with one of
                them becomes its outcome. The outcome of a Machine shows its name.
            commands: a Command or a sequence of them for all machines; or a mapping from each
                machine, as passed, to its own commands.
            comment: the reason, stored with each action. This package's tag is appended.
            save_to: a folder for collected files. They are saved as
                `<machine name>_<action id>/<index>_<name>`. None leaves them at the service, for
                `Session.download`. `manifest.jsonl` in the folder lists them with their
                SHA-256, for `mde_live_response.evidence`.
            save_transcripts: also save the output of each script there, as the service
                returned it, as `<index>_<script name>.transcript.json`. Default False.
            run_id: 1 to 100 characters. An existing id continues that run. None makes a new id.
            cancel_pending_after: seconds or a timedelta in Pending, 0 or more, after which a
                machine's session is cancelled. None: never.
            until: keep trying machines that were not reached: for so many seconds or a timedelta,
                0 or more, or until a datetime with a time zone, in the future. Such a machine is
                tried again when the list of machines, read once an hour (half of
                `Limits.queue_time`), says that the service has seen it again. That is a new
                session. It is started only if the last one is final and none of its commands had
                started. A session that is open when the time is over is followed to its end.
                None: a machine is given up after the queue time; an existing run keeps the time
                that it has.
            progress: show the progress: with tqdm if it is installed (the extra `progress`), also
                in a notebook; else in one line on stderr if that is a terminal. Default False.

        Returns:
            The run, to loop over.

        Raises:
            InvalidRequestError: there are no machines, the commands are wrong, a machine has
                none, the run id was used with other machines or commands, `save_transcripts` was
                given without `save_to`, or `until` is in the past or has no time zone.
            AuthenticationError: the service accepts no token.
            StateError: the state store failed, or cannot store runs.
        """

    async def run_many_async(
        self,
        machines: Iterable[str | Machine],
        commands: Commands | Mapping[Any, Commands],
        comment: str,
        *,
        save_to: str | PathLike[str] | None = None,
        save_transcripts: bool = False,
        run_id: str | None = None,
        cancel_pending_after: float | timedelta | None = None,
        until: float | timedelta | datetime | None = None,
        progress: bool = False,
    ) -> Fleet:
        """Run commands on many machines, as fast as the limits allow.

        Returns when the run has started.
        Machines that are probably online go first. Busy machines are tried again later. If a
        session stays Pending while other machines wait, it is parked: cancelled, and submitted
        again later. The commands run once on a machine that is listed twice.
        The service's pages: learn.microsoft.com/defender-endpoint/api/run-live-response and
        learn.microsoft.com/defender-endpoint/api/get-machines
        Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machines: machine ids, computer names or Machines, at least one. A problem with one of
                them becomes its outcome. The outcome of a Machine shows its name.
            commands: a Command or a sequence of them for all machines; or a mapping from each
                machine, as passed, to its own commands.
            comment: the reason, stored with each action. This package's tag is appended.
            save_to: a folder for collected files. They are saved as
                `<machine name>_<action id>/<index>_<name>`. None leaves them at the service, for
                `Session.download`. `manifest.jsonl` in the folder lists them with their
                SHA-256, for `mde_live_response.evidence`.
            save_transcripts: also save the output of each script there, as the service
                returned it, as `<index>_<script name>.transcript.json`. Default False.
            run_id: 1 to 100 characters. An existing id continues that run. None makes a new id.
            cancel_pending_after: seconds or a timedelta in Pending, 0 or more, after which a
                machine's session is cancelled. None: never.
            until: keep trying machines that were not reached: for so many seconds or a timedelta,
                0 or more, or until a datetime with a time zone, in the future. Such a machine is
                tried again when the list of machines, read once an hour (half of
                `Limits.queue_time`), says that the service has seen it again. That is a new
                session. It is started only if the last one is final and none of its commands had
                started. A session that is open when the time is over is followed to its end.
                None: a machine is given up after the queue time; an existing run keeps the time
                that it has.
            progress: show the progress: with tqdm if it is installed (the extra `progress`), also
                in a notebook; else in one line on stderr if that is a terminal. Default False.

        Returns:
            The run, to loop over.

        Raises:
            InvalidRequestError: there are no machines, the commands are wrong, a machine has
                none, the run id was used with other machines or commands, `save_transcripts` was
                given without `save_to`, or `until` is in the past or has no time zone.
            AuthenticationError: the service accepts no token.
            StateError: the state store failed, or cannot store runs.
        """

    def resume(
        self,
        run_id: str,
        *,
        until: float | timedelta | datetime | None = None,
        progress: bool = False,
    ) -> Fleet:
        """Continue a run from the state store, no matter which process started it.

        Processes that work on the same run share its machines. Machines that have an outcome do
        not run again. Results that could not be fetched (`reason` is `fetch`) are fetched again,
        and the newer outcome takes the place of the old one. The call waits for open sessions.
        If a submit was interrupted, it finds out whether a session started. With `until`, machines
        that were not reached are tried again, also those that had been given up.
        Permissions: those of `run_many`.

        Args:
            run_id: the run's id. `list_runs` finds it.
            until: as in `run_many`; it replaces the time that the run had. Outcomes of machines
                that were not reached are withdrawn, and each gets another one. A run that was
                cancelled tries nothing again. None: the run keeps the time that it has.
            progress: as in `run_many`. Default False.

        Returns:
            The run, to loop over from its first outcome.

        Raises:
            NotFoundError: the state store has no such run, or `until` is given and the library
                lacks a file that the run needs.
            InvalidRequestError: `until` is in the past or has no time zone.
            AuthenticationError: the service accepts no token.
            StateError: the state store failed, or cannot store runs.
        """

    async def resume_async(
        self,
        run_id: str,
        *,
        until: float | timedelta | datetime | None = None,
        progress: bool = False,
    ) -> Fleet:
        """Continue a run from the state store, no matter which process started it.

        Processes that work on the same run share its machines. Machines that have an outcome do
        not run again. Results that could not be fetched (`reason` is `fetch`) are fetched again,
        and the newer outcome takes the place of the old one. The call waits for open sessions.
        If a submit was interrupted, it finds out whether a session started. With `until`, machines
        that were not reached are tried again, also those that had been given up.
        Permissions: those of `run_many`.

        Args:
            run_id: the run's id. `list_runs` finds it.
            until: as in `run_many`; it replaces the time that the run had. Outcomes of machines
                that were not reached are withdrawn, and each gets another one. A run that was
                cancelled tries nothing again. None: the run keeps the time that it has.
            progress: as in `run_many`. Default False.

        Returns:
            The run, to loop over from its first outcome.

        Raises:
            NotFoundError: the state store has no such run, or `until` is given and the library
                lacks a file that the run needs.
            InvalidRequestError: `until` is in the past or has no time zone.
            AuthenticationError: the service accepts no token.
            StateError: the state store failed, or cannot store runs.
        """

    def session(self, action_id: str) -> Session:
        """Return a session by its id, which may come from any process. Sends no request.

        Args:
            action_id: the machine action's id, a GUID.

        Returns:
            The session. Its status is not fetched yet; `refresh()` fetches it.

        Raises:
            InvalidRequestError: the id is not a GUID.
        """

    def list_runs(self) -> tuple[Run, ...]:
        """List the runs of the state store, newest first.

        Sends no request to the service. Finds a run whose id was not noted: `resume(run.run_id)`
        continues it.

        Returns:
            The runs of this tenant and application. A memory store has those of this process.

        Raises:
            AuthenticationError: there is no token. The call reads the tenant and the application
                from the token.
            StateError: the state store cannot be read.
        """

    async def list_runs_async(self) -> tuple[Run, ...]:
        """List the runs of the state store, newest first.

        Sends no request to the service. Finds a run whose id was not noted: `resume(run.run_id)`
        continues it.

        Returns:
            The runs of this tenant and application. A memory store has those of this process.

        Raises:
            AuthenticationError: there is no token. The call reads the tenant and the application
                from the token.
            StateError: the state store cannot be read.
        """

    def get_machine_action(self, action_id: str) -> MachineAction:
        """Get one machine action.

        The service's page: learn.microsoft.com/defender-endpoint/api/get-machineaction-object
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            action_id: the action's id, a GUID.

        Returns:
            The action with its current status.

        Raises:
            NotFoundError: the service does not have this action.
            ThrottledError: the wait for the rate limit would exceed `max_wait`.
        """

    async def get_machine_action_async(self, action_id: str) -> MachineAction:
        """Get one machine action.

        The service's page: learn.microsoft.com/defender-endpoint/api/get-machineaction-object
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            action_id: the action's id, a GUID.

        Returns:
            The action with its current status.

        Raises:
            NotFoundError: the service does not have this action.
            ThrottledError: the wait for the rate limit would exceed `max_wait`.
        """

    def list_machine_actions(
        self, filter: str | None = None, *, top: int | None = None
    ) -> tuple[MachineAction, ...]:
        """List machine actions, newest first.

        The service's page:
        learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            filter: an OData filter, such as `status eq 'Pending'`. None lists all.
            top: the largest number of actions, 1 or more. None reads every page.

        Returns:
            The actions.

        Raises:
            InvalidRequestError: `top` is below 1, or the service refuses the filter.
            ThrottledError: the wait for the rate limit would exceed `max_wait`.
        """

    async def list_machine_actions_async(
        self, filter: str | None = None, *, top: int | None = None
    ) -> tuple[MachineAction, ...]:
        """List machine actions, newest first.

        The service's page:
        learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            filter: an OData filter, such as `status eq 'Pending'`. None lists all.
            top: the largest number of actions, 1 or more. None reads every page.

        Returns:
            The actions.

        Raises:
            InvalidRequestError: `top` is below 1, or the service refuses the filter.
            ThrottledError: the wait for the rate limit would exceed `max_wait`.
        """

    def get_machine(self, machine: str) -> Machine:
        """Get one machine.

        The service's pages: learn.microsoft.com/defender-endpoint/api/get-machine-by-id and
        learn.microsoft.com/defender-endpoint/api/get-machines
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: a machine id or a computer name.

        Returns:
            The machine.

        Raises:
            AmbiguousMachineError: more than one machine has this name.
            NotFoundError: no machine has this name or id.
            ThrottledError: the wait for the rate limit would exceed `max_wait`.
        """

    async def get_machine_async(self, machine: str) -> Machine:
        """Get one machine.

        The service's pages: learn.microsoft.com/defender-endpoint/api/get-machine-by-id and
        learn.microsoft.com/defender-endpoint/api/get-machines
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: a machine id or a computer name.

        Returns:
            The machine.

        Raises:
            AmbiguousMachineError: more than one machine has this name.
            NotFoundError: no machine has this name or id.
            ThrottledError: the wait for the rate limit would exceed `max_wait`.
        """

    def list_machines(
        self,
        filter: str | None = None,
        *,
        top: int | None = None,
        tag: str | None = None,
        group: str | None = None,
        os: str | None = None,
        health: str | None = None,
        ip: str | None = None,
        seen_within: float | timedelta | None = None,
    ) -> tuple[Machine, ...]:
        """List machines that satisfy all given conditions.

        The service's page: learn.microsoft.com/defender-endpoint/api/get-machines
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            filter: an OData filter, such as `healthStatus eq 'Active'`. None lists all.
            top: the largest number of machines, 1 or more. None reads every page.
            tag: a tag of the machine, in full.
            group: the name of its device group. Compared here, so every page is read.
            os: its operating system as the service names it, such as `Windows11`.
            health: the health of its sensor, such as `Active`.
            ip: its last IP address.
            seen_within: seconds or a timedelta since its last full report, 0 or more. A machine
                sends one about once a day.

        Returns:
            The machines.

        Raises:
            InvalidRequestError: `top` is below 1, a condition is empty, or the service refuses the
                filter.
            ThrottledError: the wait for the rate limit would exceed `max_wait`.
        """

    async def list_machines_async(
        self,
        filter: str | None = None,
        *,
        top: int | None = None,
        tag: str | None = None,
        group: str | None = None,
        os: str | None = None,
        health: str | None = None,
        ip: str | None = None,
        seen_within: float | timedelta | None = None,
    ) -> tuple[Machine, ...]:
        """List machines that satisfy all given conditions.

        The service's page: learn.microsoft.com/defender-endpoint/api/get-machines
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            filter: an OData filter, such as `healthStatus eq 'Active'`. None lists all.
            top: the largest number of machines, 1 or more. None reads every page.
            tag: a tag of the machine, in full.
            group: the name of its device group. Compared here, so every page is read.
            os: its operating system as the service names it, such as `Windows11`.
            health: the health of its sensor, such as `Active`.
            ip: its last IP address.
            seen_within: seconds or a timedelta since its last full report, 0 or more. A machine
                sends one about once a day.

        Returns:
            The machines.

        Raises:
            InvalidRequestError: `top` is below 1, a condition is empty, or the service refuses the
                filter.
            ThrottledError: the wait for the rate limit would exceed `max_wait`.
        """

    def check(
        self, machine: str | Machine | None = None, commands: Commands | None = None
    ) -> Check:
        """Find problems that would prevent or limit a session. Never starts a session.

        Checks the token's permissions and the state store. Checks the machine and the library too
        if `machine` and `commands` are given.
        Permissions: those of `run`, and Library.Manage if the commands use library files.

        Args:
            machine: the machine to check: its id, its name or a Machine. None checks no machine.
            commands: the commands to check. None checks no library file.

        Returns:
            The findings. A problem is a finding, never an exception.
        """

    async def check_async(
        self, machine: str | Machine | None = None, commands: Commands | None = None
    ) -> Check:
        """Find problems that would prevent or limit a session. Never starts a session.

        Checks the token's permissions and the state store. Checks the machine and the library too
        if `machine` and `commands` are given.
        Permissions: those of `run`, and Library.Manage if the commands use library files.

        Args:
            machine: the machine to check: its id, its name or a Machine. None checks no machine.
            commands: the commands to check. None checks no library file.

        Returns:
            The findings. A problem is a finding, never an exception.
        """

    def probe(self, machine: str | Machine | None = None) -> Profile:
        """Observe how this tenant's service behaves where its documentation says nothing.

        Without `machine` it only reads: the machine actions, some of their results, the machines
        and, if the token may, the library. With `machine` it also runs a few scripts of its own
        there, in four sessions: they print their arguments and long outputs, end with an exit code,
        and make and remove two small files. It never tests a rate or a limit.
        Permissions: Machine.Read.All. With `machine`: Machine.LiveResponse and Library.Manage too.

        Args:
            machine: the machine to run the scripts on: its id, its name or a Machine. None only
                reads.

        Returns:
            The profile: what was observed, without names, ids, paths, addresses and texts of the
            tenant. What was not seen is absent.

        Raises:
            PermissionDeniedError: the token may not read machine actions or, with `machine`, may
                not run scripts.
            NotFoundError: there is no such machine.
            MachineBusyError: a session is on the machine.
            WaitTimeoutError: the machine did not start a session within 5 minutes.
        """

    async def probe_async(self, machine: str | Machine | None = None) -> Profile:
        """Observe how this tenant's service behaves where its documentation says nothing.

        Without `machine` it only reads: the machine actions, some of their results, the machines
        and, if the token may, the library. With `machine` it also runs a few scripts of its own
        there, in four sessions: they print their arguments and long outputs, end with an exit code,
        and make and remove two small files. It never tests a rate or a limit.
        Permissions: Machine.Read.All. With `machine`: Machine.LiveResponse and Library.Manage too.

        Args:
            machine: the machine to run the scripts on: its id, its name or a Machine. None only
                reads.

        Returns:
            The profile: what was observed, without names, ids, paths, addresses and texts of the
            tenant. What was not seen is absent.

        Raises:
            PermissionDeniedError: the token may not read machine actions or, with `machine`, may
                not run scripts.
            NotFoundError: there is no such machine.
            MachineBusyError: a session is on the machine.
            WaitTimeoutError: the machine did not start a session within 5 minutes.
        """

    @property
    def library(self) -> Library:
        """The tenant's live response library."""

@final
class Session:
    """An accepted live response session. A timeout or Ctrl-C ends the wait, but does not cancel the
    session.
    """

    @property
    def id(self) -> str:
        """The machine action's id. `LiveResponseClient.session` accepts it in any process."""

    @property
    def machine_id(self) -> str | None:
        """The machine's id. None for a session made from its action id, until the action was
        fetched.
        """

    @property
    def correlation_id(self) -> str | None:
        """The correlation id that the session was submitted with. None for a session made from
        its action id, unless the state store had it as open when the action was fetched.
        """

    @property
    def adopted(self) -> bool:
        """Whether the session existed before this call."""

    @property
    def action(self) -> MachineAction | None:
        """The last known status. None if none was fetched; `refresh()` fetches it."""

    @property
    def next_poll_in(self) -> float:
        """The seconds until the next `refresh()` makes sense: 0.0 if the session has ended, or
        was not fetched; else 3 to 30, with its age. `wait()` and `result()` need no pause.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict, without `next_poll_in`. Times are ISO 8601
        in UTC. `LiveResponseClient.session` accepts its `id` in any process.
        """

    def refresh(self, *, max_age: float | timedelta = 0.0) -> MachineAction:
        """Fetch the status once, without waiting for the end.

        The service's page:
        learn.microsoft.com/defender-endpoint/api/get-machineaction-object
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            max_age: seconds or a timedelta, 0 or more. Accept a status that any client of
                the state store fetched within that time. If there is none, one request
                fetches those of all open sessions. Default 0: fetch only this one, now.

        Returns:
            The action with its current status.

        Raises:
            NotFoundError: the service does not list the session.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        """

    async def refresh_async(self, *, max_age: float | timedelta = 0.0) -> MachineAction:
        """Fetch the status once, without waiting for the end.

        The service's page:
        learn.microsoft.com/defender-endpoint/api/get-machineaction-object
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            max_age: seconds or a timedelta, 0 or more. Accept a status that any client of
                the state store fetched within that time. If there is none, one request
                fetches those of all open sessions. Default 0: fetch only this one, now.

        Returns:
            The action with its current status.

        Raises:
            NotFoundError: the service does not list the session.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        """

    def wait(self, timeout: float | timedelta | None = None) -> MachineAction:
        """Wait until the session has ended.

        All open sessions of a process share one request to the service.
        The service's page:
        learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            timeout: seconds or a timedelta, 0 or more. None waits without limit.

        Returns:
            The action in its final state.

        Raises:
            WaitTimeoutError: `timeout` passed. The session continues.
            NotFoundError: the service does not list the session.
        """

    async def wait_async(self, timeout: float | timedelta | None = None) -> MachineAction:
        """Wait until the session has ended.

        All open sessions of a process share one request to the service.
        The service's page:
        learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            timeout: seconds or a timedelta, 0 or more. None waits without limit.

        Returns:
            The action in its final state.

        Raises:
            WaitTimeoutError: `timeout` passed. The session continues.
            NotFoundError: the service does not list the session.
        """

    def result(
        self,
        timeout: float | timedelta | None = None,
        *,
        save_to: str | PathLike[str] | None = None,
        save_transcripts: bool = False,
    ) -> SessionResult:
        """Wait until the session has ended, and fetch its results.

        The service's page:
        learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            timeout: seconds or a timedelta for the wait, 0 or more. None waits without
                limit.
            save_to: a folder for collected files. They are saved as
                `<machine name>_<action id>/<index>_<name>`. None leaves them at the
                service, for `Session.download`. `manifest.jsonl` in the folder lists them
                with their SHA-256, for `mde_live_response.evidence`.
            save_transcripts: also save the output of each script there, as the service
                returned it. Default False.

        Returns:
            The result, ok or not. If a command's result could not be fetched or saved, its
            `error` says why.

        Raises:
            InvalidRequestError: `save_transcripts` without `save_to`.
            WaitTimeoutError: `timeout` passed. The session continues.
            NotFoundError: the service does not list the session.
        """

    async def result_async(
        self,
        timeout: float | timedelta | None = None,
        *,
        save_to: str | PathLike[str] | None = None,
        save_transcripts: bool = False,
    ) -> SessionResult:
        """Wait until the session has ended, and fetch its results.

        The service's page:
        learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            timeout: seconds or a timedelta for the wait, 0 or more. None waits without
                limit.
            save_to: a folder for collected files. They are saved as
                `<machine name>_<action id>/<index>_<name>`. None leaves them at the
                service, for `Session.download`. `manifest.jsonl` in the folder lists them
                with their SHA-256, for `mde_live_response.evidence`.
            save_transcripts: also save the output of each script there, as the service
                returned it. Default False.

        Returns:
            The result, ok or not. If a command's result could not be fetched or saved, its
            `error` says why.

        Raises:
            InvalidRequestError: `save_transcripts` without `save_to`.
            WaitTimeoutError: `timeout` passed. The session continues.
            NotFoundError: the service does not list the session.
        """

    def cancel(self, comment: str) -> MachineAction:
        """Cancel the session. A finished session is returned unchanged.

        Cancelling takes some time, and the session may complete first: `wait()` returns the
        final status.
        The service's page: learn.microsoft.com/defender-endpoint/api/cancel-machine-action
        Permission: Machine.LiveResponse.

        Args:
            comment: the reason, stored with the action.

        Returns:
            The action with its status after the request.

        Raises:
            NotFoundError: the service does not list the session.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        """

    async def cancel_async(self, comment: str) -> MachineAction:
        """Cancel the session. A finished session is returned unchanged.

        Cancelling takes some time, and the session may complete first: `wait()` returns the
        final status.
        The service's page: learn.microsoft.com/defender-endpoint/api/cancel-machine-action
        Permission: Machine.LiveResponse.

        Args:
            comment: the reason, stored with the action.

        Returns:
            The action with its status after the request.

        Raises:
            NotFoundError: the service does not list the session.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        """

    def download(
        self, command: int | CommandResult, to: str | PathLike[str] | BinaryIO
    ) -> CollectedFile:
        """Download the file that a GetFile command collected.

        A gzip is unpacked, up to 4 GiB. A broken connection is resumed where it broke.
        The service's page:
        learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            command: the command's index in the session, from 0, or its CommandResult.
            to: a path; an existing folder, where the file is saved as `<index>_<name>`; or
                a file object open for writing bytes. A file appears at its path only when it
                is complete and on disk.

        Returns:
            The file's description.

        Raises:
            InvalidRequestError: the command is not a GetFile of this session.
            DownloadError: the file could not be fetched, is damaged, or is too large after
                unpacking.
            OSError: the file could not be written.
        """

    async def download_async(
        self, command: int | CommandResult, to: str | PathLike[str] | BinaryIO
    ) -> CollectedFile:
        """Download the file that a GetFile command collected.

        A gzip is unpacked, up to 4 GiB. A broken connection is resumed where it broke.
        The service's page:
        learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            command: the command's index in the session, from 0, or its CommandResult.
            to: a path; an existing folder, where the file is saved as `<index>_<name>`; or
                a file object open for writing bytes. A file appears at its path only when it
                is complete and on disk.

        Returns:
            The file's description.

        Raises:
            InvalidRequestError: the command is not a GetFile of this session.
            DownloadError: the file could not be fetched, is damaged, or is too large after
                unpacking.
            OSError: the file could not be written.
        """

    def stream(self, command: int | CommandResult) -> FileStream:
        """Return an iterator over the file that a GetFile command collected, for `for` or
        `async for`.

        The first request is sent when the loop starts. At most a small buffer is fetched
        ahead of the loop.
        The service's page:
        learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            command: the command's index in the session, from 0, or its CommandResult.

        Returns:
            An iterator of bytes. Its `file` has size and SHA-256 once the loop has
            finished.
        """

@final
class FileStream:
    """An iterator over the bytes of a collected file, for `for` and for `async for`.

    After a broken connection, the download resumes. The file is checked at the end: if the loop
    raises, discard all bytes that it yielded. The loop raises what `Session.download` raises.
    """

    @property
    def file(self) -> CollectedFile | None:
        """The file's description once the loop has finished, else None. Its `path` is None."""

    def close(self) -> None:
        """Stop the download: close its connection and end the loop."""

    def aclose(self) -> Coroutine[Any, Any, None]:
        """Stop the download: close its connection and end the loop."""

    def __iter__(self) -> Self: ...
    def __aiter__(self) -> Self: ...
    def __next__(self) -> bytes: ...
    def __anext__(self) -> Coroutine[Any, Any, bytes]: ...

@final
class Outcome:
    """How one row of a run ended. Every row gets exactly one outcome."""

    @property
    def row(self) -> int:
        """The row's index among the machines of the run, from 0."""

    @property
    def machine(self) -> str:
        """The machine as passed; for a Machine, its name."""

    @property
    def computer_dns_name(self) -> str | None:
        """The machine's full name. None if it is not known, as of a machine that was not found."""

    @property
    def machine_id(self) -> str | None:
        """The machine's id, if known."""

    @property
    def tenant_id(self) -> str | None:
        """The tenant's id, if the token has one."""

    @property
    def action_id(self) -> str | None:
        """The machine action's id, if a session was started."""

    @property
    def correlation_id(self) -> str | None:
        """The correlation id that the session was submitted with."""

    @property
    def status(self) -> ActionStatus | None:
        """The last known status of the session. None if there was no session."""

    @property
    def ok(self) -> bool:
        """Whether the session ended and everything succeeded."""

    @property
    def reason(self) -> Reason:
        """The first thing that went wrong, as a keyword; `ok` if nothing did.

        If a session ended, this is the reason of its result. Otherwise: `busy`: at every
        attempt, another caller's session was on the machine. `machine`: no machine, or more
        than one, has this name or id. `permission`: a permission is missing. `duplicate`:
        another row is the same machine. `not_submitted`: the run was cancelled before.
        `error`: see `error`.
        """

    @property
    def message(self) -> str:
        """The reason as a sentence."""

    @property
    def start_time(self) -> datetime | None:
        """When the row's first session was accepted, in UTC. None if none was."""

    @property
    def end_time(self) -> datetime:
        """When the outcome was known, in UTC."""

    def load_result(self) -> SessionResult | None:
        """Load the session's result from the state store.

        Every call reads the store again, so that a loop over many outcomes holds one result
        at a time.

        Returns:
            The result, ok or not; None if no session finished.

        Raises:
            StateError: the state store cannot be read, or this process was forked after the
                run started.
        """

    async def load_result_async(self) -> SessionResult | None:
        """Load the session's result from the state store.

        Every call reads the store again, so that a loop over many outcomes holds one result
        at a time.

        Returns:
            The result, ok or not; None if no session finished.

        Raises:
            StateError: the state store cannot be read, or this process was forked after the
                run started.
        """

    @property
    def error(self) -> LiveResponseError | OSError | None:
        """Why there is no result. None if there is one."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes, without the result, as a JSON-ready dict. Times are ISO 8601
        in UTC.
        """

@final
class Fleet:
    """One run over many machines. Each loop starts at the first outcome and yields every outcome
    once, as soon as it is known.

    Use it in `for` or `async for`, and in `with` or `async with`. The end of the block detaches
    from the run, and so does leaving a loop or pressing Ctrl-C: running sessions continue at the
    service, this process submits no more, and a warning logs the run id. A loop raises what
    `report` raises.
    """

    @property
    def run_id(self) -> str:
        """The run's id. With it, any process that shares the state store can resume the run."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Outcome]: ...
    def __aiter__(self) -> AsyncIterator[Outcome]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exc: object) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(self, *_exc: object) -> Coroutine[Any, Any, None]: ...
    @property
    def counts(self) -> dict[str, int]:
        """The number of rows by state: waiting, pending, running, succeeded, failed."""

    @property
    def done(self) -> bool:
        """Whether every row has its outcome."""

    @property
    def _is_active(self) -> bool: ...
    def report(self, timeout: float | timedelta | None = None) -> FleetReport:
        """Wait for all outcomes.

        Args:
            timeout: seconds or a timedelta, 0 or more. None waits without limit.

        Returns:
            The report, with an outcome for every row.

        Raises:
            WaitTimeoutError: `timeout` passed. The run continues.
            InvalidRequestError: the fleet was closed before the run finished.
            AuthenticationError: the service accepts no token any more. The run can be
                resumed.
            StateError: the state store failed for longer than a run waits for it. The run
                can be resumed.
        """

    async def report_async(self, timeout: float | timedelta | None = None) -> FleetReport:
        """Wait for all outcomes.

        Args:
            timeout: seconds or a timedelta, 0 or more. None waits without limit.

        Returns:
            The report, with an outcome for every row.

        Raises:
            WaitTimeoutError: `timeout` passed. The run continues.
            InvalidRequestError: the fleet was closed before the run finished.
            AuthenticationError: the service accepts no token any more. The run can be
                resumed.
            StateError: the state store failed for longer than a run waits for it. The run
                can be resumed.
        """

    def cancel(self, comment: str, *, running: bool = True) -> None:
        """Cancel the run in every process that works on it. Nothing more is submitted.

        The service's page: learn.microsoft.com/defender-endpoint/api/cancel-machine-action
        Permission: Machine.LiveResponse.

        Args:
            comment: the reason, stored with the outcomes and with each cancelled action.
            running: also cancel running sessions. False cancels only what was not
                submitted.

        Raises:
            InvalidRequestError: the comment is empty.
            StateError: the state store failed.
        """

    async def cancel_async(self, comment: str, *, running: bool = True) -> None:
        """Cancel the run in every process that works on it. Nothing more is submitted.

        The service's page: learn.microsoft.com/defender-endpoint/api/cancel-machine-action
        Permission: Machine.LiveResponse.

        Args:
            comment: the reason, stored with the outcomes and with each cancelled action.
            running: also cancel running sessions. False cancels only what was not
                submitted.

        Raises:
            InvalidRequestError: the comment is empty.
            StateError: the state store failed.
        """

    def close(self) -> None:
        """Detach: running sessions continue at the service, and this process submits no more."""

    def _repr_html_(self) -> str: ...

@final
class FleetReport(Sequence[Outcome]):
    """The outcomes of a finished run: a sequence with one outcome for every row."""

    @property
    def run_id(self) -> str:
        """The run's id."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """The outcome of each row, in the order of the rows."""

    @property
    def ok(self) -> bool:
        """Whether every outcome is ok."""

    def to_dicts(self) -> tuple[dict[str, Any], ...]:
        """Return one dict for each machine, as `pandas.DataFrame` accepts them.

        The results are read from the state store by the first call. polars infers the type of a
        column from the first 100 rows: give it `to_columns()`.

        Returns:
            Dicts of run_id, row (from 0), tenant_id, machine (as passed; of a Machine, its name),
            computer_dns_name, machine_id, action_id, correlation_id, status, ok, reason, message,
            start_time and end_time (as `Outcome.to_dict()` has them), exit_code (the first that is
            not 0), stdout and stderr (of all scripts, for display; None without a script), and
            files (where they were saved).

        Raises:
            StateError: the state store cannot be read.
        """

    def to_columns(self) -> dict[str, tuple[Any, ...]]:
        """Return the columns of `to_dicts()`, for `polars.DataFrame` and `pandas.DataFrame`.

        Returns:
            A tuple with the value of each row, by the name of the column.

        Raises:
            StateError: the state store cannot be read.
        """

    def records(self, *, strict: bool = False) -> tuple[dict[str, Any], ...]:
        """Return the records that all scripts printed, as one table.

        `ScriptOutput.records()` says what a record is. Each begins with `machine` and
        `machine_id`, as in `to_dicts()`. If a record has one of these names itself, its own value
        is kept under `script_machine` or `script_machine_id`. A script that failed has the records
        that it printed; a row without a session has none. Reads the results from the state store.

        Args:
            strict: raise for output that is no table. Default False: it is left out, and one
                WARNING names its machines.

        Returns:
            The records, in the order of the rows and of their commands. Records of different
            scripts may have different keys. For polars, pass `infer_schema_length=None`.

        Raises:
            ValueError: `strict`, and a script printed something that is no table.
            StateError: the state store cannot be read.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return the run id and the outcomes, without their results, as a JSON-ready dict."""

    def count(self, value: object, /) -> int:
        """Return how often an outcome is in the report."""

    def index(self, value: object, start: int = 0, stop: int = sys.maxsize, /) -> int:
        """Return the row of an outcome.

        Args:
            value: an outcome.
            start: the first row to look at. Default 0.
            stop: the row before which to stop. Default: the end.

        Raises:
            ValueError: it is not there.
        """

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int, /) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice, /) -> tuple[Outcome, ...]: ...
    def __iter__(self) -> Iterator[Outcome]: ...
    def __hash__(self) -> int: ...
    def _repr_html_(self) -> str: ...

@final
class Library:
    """The tenant's live response library: the scripts and files that commands use.

    A file name consists of letters, digits, `-`, `_` and `.`.
    """

    def list_files(self) -> tuple[LibraryFile, ...]:
        """List the files in the library.

        The service's page: learn.microsoft.com/defender-endpoint/api/list-library-files
        Permission: Library.Manage.

        Raises:
            PermissionDeniedError: the permission is missing.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        """

    async def list_files_async(self) -> tuple[LibraryFile, ...]:
        """List the files in the library.

        The service's page: learn.microsoft.com/defender-endpoint/api/list-library-files
        Permission: Library.Manage.

        Raises:
            PermissionDeniedError: the permission is missing.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        """

    def upload(
        self,
        file: str | PathLike[str] | bytes | BinaryIO,
        *,
        name: str | None = None,
        description: str = "",
        parameters_description: str | None = None,
        overwrite: bool = False,
    ) -> LibraryFile:
        """Upload a file to the library.

        The service's page: learn.microsoft.com/defender-endpoint/api/upload-library
        Permission: Library.Manage.

        Args:
            file: a path, the content as bytes, or a file object open for reading bytes. At
                most `Limits.upload_size` bytes. A file at a path is read while it is sent.
            name: the name in the library. None uses the file's own name; bytes have none.
            description: what the file is for. Default: empty.
            parameters_description: what arguments the script takes. None: it takes none.
            overwrite: replace a file that has this name. Default False.

        Returns:
            The library's entry.

        Raises:
            InvalidRequestError: the name is missing or not allowed, or the file is too
                large.
            AlreadyExistsError: the library has a file with this name, and `overwrite` is
                False.
            PermissionDeniedError: the permission is missing.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
            OSError: the file cannot be read.
        """

    async def upload_async(
        self,
        file: str | PathLike[str] | bytes | BinaryIO,
        *,
        name: str | None = None,
        description: str = "",
        parameters_description: str | None = None,
        overwrite: bool = False,
    ) -> LibraryFile:
        """Upload a file to the library.

        The service's page: learn.microsoft.com/defender-endpoint/api/upload-library
        Permission: Library.Manage.

        Args:
            file: a path, the content as bytes, or a file object open for reading bytes. At
                most `Limits.upload_size` bytes. A file at a path is read while it is sent.
            name: the name in the library. None uses the file's own name; bytes have none.
            description: what the file is for. Default: empty.
            parameters_description: what arguments the script takes. None: it takes none.
            overwrite: replace a file that has this name. Default False.

        Returns:
            The library's entry.

        Raises:
            InvalidRequestError: the name is missing or not allowed, or the file is too
                large.
            AlreadyExistsError: the library has a file with this name, and `overwrite` is
                False.
            PermissionDeniedError: the permission is missing.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
            OSError: the file cannot be read.
        """

    def ensure(
        self,
        file: str | PathLike[str] | bytes,
        *,
        name: str | None = None,
        description: str = "",
        parameters_description: str | None = None,
        overwrite: bool = False,
    ) -> LibraryFile:
        """Upload a file unless the library has it with the same content.

        If only the description or the parameters differ, the same content is uploaded again
        with the new ones: the service has no other call for it.

        The service's pages: learn.microsoft.com/defender-endpoint/api/list-library-files
        and learn.microsoft.com/defender-endpoint/api/upload-library
        Permission: Library.Manage.

        Args:
            file: a path or the content as bytes. At most `Limits.upload_size` bytes.
            name: the name in the library. None uses the file's own name; bytes have none.
            description: what the file is for. Default: empty; a file that the library has
                keeps its description.
            parameters_description: what arguments the script takes. None: it takes none; a
                file that the library has keeps its own.
            overwrite: replace different content with this name. A WARNING logs the SHA-256
                and the author of the replaced content. Default False.

        Returns:
            The library's entry. Its `changed` is True if the file was uploaded now.

        Raises:
            InvalidRequestError: the name is missing or not allowed, or the file is too
                large.
            AlreadyExistsError: the library has different content with this name, and
                `overwrite` is False.
            PermissionDeniedError: the permission is missing.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
            OSError: the file cannot be read.
        """

    async def ensure_async(
        self,
        file: str | PathLike[str] | bytes,
        *,
        name: str | None = None,
        description: str = "",
        parameters_description: str | None = None,
        overwrite: bool = False,
    ) -> LibraryFile:
        """Upload a file unless the library has it with the same content.

        If only the description or the parameters differ, the same content is uploaded again
        with the new ones: the service has no other call for it.

        The service's pages: learn.microsoft.com/defender-endpoint/api/list-library-files
        and learn.microsoft.com/defender-endpoint/api/upload-library
        Permission: Library.Manage.

        Args:
            file: a path or the content as bytes. At most `Limits.upload_size` bytes.
            name: the name in the library. None uses the file's own name; bytes have none.
            description: what the file is for. Default: empty; a file that the library has
                keeps its description.
            parameters_description: what arguments the script takes. None: it takes none; a
                file that the library has keeps its own.
            overwrite: replace different content with this name. A WARNING logs the SHA-256
                and the author of the replaced content. Default False.

        Returns:
            The library's entry. Its `changed` is True if the file was uploaded now.

        Raises:
            InvalidRequestError: the name is missing or not allowed, or the file is too
                large.
            AlreadyExistsError: the library has different content with this name, and
                `overwrite` is False.
            PermissionDeniedError: the permission is missing.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
            OSError: the file cannot be read.
        """

    def delete(self, name: str) -> None:
        """Delete a file from the library.

        The service's page: learn.microsoft.com/defender-endpoint/api/delete-library
        Permission: Library.Manage.

        Args:
            name: the file's name in the library.

        Raises:
            NotFoundError: the library has no file with this name.
            PermissionDeniedError: the permission is missing.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        """

    async def delete_async(self, name: str) -> None:
        """Delete a file from the library.

        The service's page: learn.microsoft.com/defender-endpoint/api/delete-library
        Permission: Library.Manage.

        Args:
            name: the file's name in the library.

        Raises:
            NotFoundError: the library has no file with this name.
            PermissionDeniedError: the permission is missing.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        """

    def sync(
        self, folder: str | PathLike[str], *, delete: bool = False, dry_run: bool = False
    ) -> LibraryPlan:
        """Bring the library in step with a folder: add, replace and describe its files.

        A file that a sync uploads has a mark at the end of its description. By it, any later
        sync of the folder recognizes the file, on any host. Files without this mark, and files
        that were replaced since, belong to others and are never touched. A file of the folder whose
        name another file has is not synced: it is in `conflicts`, and a WARNING says so.
        Subfolders, hidden files and the file `mde-library.json` are not uploaded. That file
        may have descriptions, parameters, names to ignore, and a name of the collection in
        place of the folder's. Otherwise, descriptions come from the scripts: the comment-based
        help of PowerShell, and the comment at the start of a shell script.
        The library is listed again right before each change. A sync that failed or was killed
        is continued by the next one.
        The service's pages: learn.microsoft.com/defender-endpoint/api/list-library-files,
        learn.microsoft.com/defender-endpoint/api/upload-library
        and learn.microsoft.com/defender-endpoint/api/delete-library
        Permission: Library.Manage.

        Args:
            folder: the path of the folder. Each file has at most `Limits.upload_size` bytes.
            delete: delete files that an earlier sync of this folder uploaded and that the
                folder no longer has. Folders of the same name count as the same folder.
                Default False.
            dry_run: only return what would be changed. Default False.

        Returns:
            The plan: what was added, replaced, described and deleted, what is unchanged, and
            the files of others.

        Raises:
            InvalidRequestError: a file cannot be in the library because of its name, its size
                or its kind, `mde-library.json` is not valid, the folder's name is too long, or
                `delete` is set and the folder has no `mde-library.json`, and either no file to
                upload or none of those that earlier syncs uploaded under its name: it may be
                another folder. Nothing was changed. Or: a file of the folder changed during the
                sync.
            AlreadyExistsError: someone changed a file of this sync during the sync.
            NotFoundError: someone deleted a file of this sync during the sync.
            PermissionDeniedError: the permission is missing. Nothing was changed.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
            OSError: the folder or a file cannot be read.
        """

    async def sync_async(
        self, folder: str | PathLike[str], *, delete: bool = False, dry_run: bool = False
    ) -> LibraryPlan:
        """Bring the library in step with a folder: add, replace and describe its files.

        A file that a sync uploads has a mark at the end of its description. By it, any later
        sync of the folder recognizes the file, on any host. Files without this mark, and files
        that were replaced since, belong to others and are never touched. A file of the folder whose
        name another file has is not synced: it is in `conflicts`, and a WARNING says so.
        Subfolders, hidden files and the file `mde-library.json` are not uploaded. That file
        may have descriptions, parameters, names to ignore, and a name of the collection in
        place of the folder's. Otherwise, descriptions come from the scripts: the comment-based
        help of PowerShell, and the comment at the start of a shell script.
        The library is listed again right before each change. A sync that failed or was killed
        is continued by the next one.
        The service's pages: learn.microsoft.com/defender-endpoint/api/list-library-files,
        learn.microsoft.com/defender-endpoint/api/upload-library
        and learn.microsoft.com/defender-endpoint/api/delete-library
        Permission: Library.Manage.

        Args:
            folder: the path of the folder. Each file has at most `Limits.upload_size` bytes.
            delete: delete files that an earlier sync of this folder uploaded and that the
                folder no longer has. Folders of the same name count as the same folder.
                Default False.
            dry_run: only return what would be changed. Default False.

        Returns:
            The plan: what was added, replaced, described and deleted, what is unchanged, and
            the files of others.

        Raises:
            InvalidRequestError: a file cannot be in the library because of its name, its size
                or its kind, `mde-library.json` is not valid, the folder's name is too long, or
                `delete` is set and the folder has no `mde-library.json`, and either no file to
                upload or none of those that earlier syncs uploaded under its name: it may be
                another folder. Nothing was changed. Or: a file of the folder changed during the
                sync.
            AlreadyExistsError: someone changed a file of this sync during the sync.
            NotFoundError: someone deleted a file of this sync during the sync.
            PermissionDeniedError: the permission is missing. Nothing was changed.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
            OSError: the folder or a file cannot be read.
        """

    def prune(self, *, older_than: float | timedelta, dry_run: bool = False) -> LibraryPlan:
        """Delete files that `Command.put_local`, `run_local` and `run_inline` uploaded.

        A file stays if an open or unsettled submit or an unfinished run of the state store may
        need it, or a session that the service lists as open. A later submit uploads a deleted
        file again.
        The service's pages: learn.microsoft.com/defender-endpoint/api/list-library-files
        and learn.microsoft.com/defender-endpoint/api/delete-library
        Permissions: Library.Manage; Machine.Read.All or Machine.ReadWrite.All.

        Args:
            older_than: seconds or a timedelta since the upload, 0 or more. Give a day or
                more if other processes submit without a shared state store.
            dry_run: only return what would be deleted. Default False.

        Returns:
            The plan: what is deleted, what stays, and the files of others.

        Raises:
            InvalidRequestError: `older_than` is negative.
            PermissionDeniedError: a permission is missing.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
            StateError: the state store is unavailable.
        """

    async def prune_async(
        self, *, older_than: float | timedelta, dry_run: bool = False
    ) -> LibraryPlan:
        """Delete files that `Command.put_local`, `run_local` and `run_inline` uploaded.

        A file stays if an open or unsettled submit or an unfinished run of the state store may
        need it, or a session that the service lists as open. A later submit uploads a deleted
        file again.
        The service's pages: learn.microsoft.com/defender-endpoint/api/list-library-files
        and learn.microsoft.com/defender-endpoint/api/delete-library
        Permissions: Library.Manage; Machine.Read.All or Machine.ReadWrite.All.

        Args:
            older_than: seconds or a timedelta since the upload, 0 or more. Give a day or
                more if other processes submit without a shared state store.
            dry_run: only return what would be deleted. Default False.

        Returns:
            The plan: what is deleted, what stays, and the files of others.

        Raises:
            InvalidRequestError: `older_than` is negative.
            PermissionDeniedError: a permission is missing.
            ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
            StateError: the state store is unavailable.
        """

@final
class LibraryPlan:
    """The changes made to the library, or with `dry_run` the changes that would be made, as file
    names.
    """

    @property
    def add(self) -> tuple[str, ...]:
        """Files that are added."""

    @property
    def replace(self) -> tuple[str, ...]:
        """Files whose content is replaced."""

    @property
    def describe(self) -> tuple[str, ...]:
        """Files of which only the description or the parameters change."""

    @property
    def delete(self) -> tuple[str, ...]:
        """Files that are deleted."""

    @property
    def leave(self) -> tuple[str, ...]:
        """Files that stay as they are."""

    @property
    def others(self) -> tuple[str, ...]:
        """Files that others uploaded. They are never touched."""

    @property
    def conflicts(self) -> tuple[str, ...]:
        """Those of `others` that the folder of a sync has with other content. Not synced."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC."""

    def __hash__(self) -> int: ...

@final
class Run:
    """A run over many machines, as the state store has it."""

    @property
    def run_id(self) -> str:
        """The run's id, for `resume`."""

    @property
    def comment(self) -> str:
        """The comment that the run was started with."""

    @property
    def created(self) -> datetime:
        """When the run was started, in UTC."""

    @property
    def machines(self) -> int:
        """The number of machines, as given: a machine listed twice counts twice."""

    @property
    def done(self) -> int:
        """How many machines have their outcome."""

    @property
    def ok(self) -> int:
        """How many machines have the outcome `ok`."""

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled. Sessions that ran then may still end."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC."""

    def __hash__(self) -> int: ...

@final
class Finding:
    """A problem that would prevent a session or limit it."""

    @property
    def code(self) -> str:
        """The kind of problem as a keyword."""

    @property
    def level(self) -> Literal["error", "warning"]:
        """`error`: no session would start or return results. `warning`: it would be limited."""

    @property
    def message(self) -> str:
        """What was found, as a sentence."""

    @property
    def hint(self) -> str:
        """How to fix it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC."""

@final
class Check:
    """Problems that would prevent or limit a session: permissions, machine, library or store."""

    @property
    def ok(self) -> bool:
        """Whether there is no finding of level `error`."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings, errors first."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC."""

@final
class Profile:
    """Observed behaviour of a tenant's service.

    It has no names, ids, paths, addresses and texts of the tenant. `client.probe()` makes it, and
    `Emulator(profile=...)` behaves like that tenant.
    """

    @property
    def observed(self) -> dict[str, Any]:
        """The observed value of each emulator switch, by name. What was not observed is absent.

        The switches:
        https://github.com/mde-live-response/mde-live-response/blob/main/docs/emulator.md
        """

    @property
    def counts(self) -> dict[str, int]:
        """How many observations support each switch."""

    @property
    def facts(self) -> dict[str, Any]:
        """What was observed beside the switches, such as the shapes of error texts."""

    def save(self, path: str | PathLike[str]) -> None:
        """Save the profile as JSON. Replaces a file that exists.

        Args:
            path: the file.

        Raises:
            OSError: the file cannot be written.
        """

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Load a saved profile.

        Args:
            path: the file that `save` wrote.

        Raises:
            OSError: the file cannot be read.
            InvalidRequestError: it is not a profile, or one of a newer version.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict. Times are ISO 8601 in UTC."""

    def __hash__(self) -> int: ...
