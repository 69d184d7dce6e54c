"""Run Microsoft Defender for Endpoint live response commands exactly once, inside the service's limits.

Every call that does I/O exists twice: `name()` blocks, with the GIL released and Ctrl-C answered, and `name_async()`
returns a coroutine. Leaving a call drops its request, but never a submit that is on its way: that one is settled in the
background. Attributes are read-only. Times are seconds (`float`) or timezone-aware UTC `datetime`; sizes are bytes.
"""

from builtins import list as _list
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import datetime
from os import PathLike
from typing import Any, BinaryIO, Literal, final

from typing_extensions import Self

from ._types import ActionStatus as ActionStatus
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
    "Rate",
    "Reason",
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

    The service wants every PutFile before every RunScript before every GetFile; any number of each.
    Its page: learn.microsoft.com/defender-endpoint/api/run-live-response
    """

    @classmethod
    def put_file(cls, file_name: str) -> Self:
        """Put a file from the library into the working folder on the device.

        It leaves no result, and the service deletes it when the device restarts.

        Args:
            file_name: the library file's name, not a path.

        Raises:
            InvalidRequestError: the name is empty, or one the library cannot hold (letters, digits, `-`, `_`, `.`).
        """

    @classmethod
    def run_script(cls, script_name: str, args: str | Sequence[str] | None = None) -> Self:
        """Run a script from the library on the device.

        The service stops it after 10 minutes.

        Args:
            script_name: the library file's name.
            args: a str goes as it is; a sequence is quoted, for PowerShell where the name ends in `.ps1`, else for sh;
                None sends no arguments at all.

        Raises:
            InvalidRequestError: the name is empty, or one the library cannot hold (letters, digits, `-`, `_`, `.`).
        """

    @classmethod
    def get_file(cls, path: str) -> Self:
        r"""Collect a file from the device.

        Args:
            path: the full path on the device, as a person writes it: `C:\Temp\triage.zip`.

        Raises:
            InvalidRequestError: the path is empty.
        """

    @classmethod
    def from_dict(cls, wire: Mapping[str, Any]) -> Self:
        """Read a command in the service's own shape, as `to_dict` gives it.

        Args:
            wire: `{"type": ..., "params": [{"key": ..., "value": ...}]}`.

        Raises:
            InvalidRequestError: the type is unknown, or a parameter is missing, unknown or empty.
        """

    @property
    def type(self) -> CommandType:
        """`PutFile`, `RunScript` or `GetFile`."""

    @property
    def params(self) -> dict[str, str]:
        """The parameters by their wire names, as `{"ScriptName": "triage.ps1", "Args": "-Depth 2"}`."""

    def to_dict(self) -> dict[str, Any]:
        """Give the wire shape: `{"type": ..., "params": [{"key": ..., "value": ...}]}`."""

@final
class ClientSecretCredential:
    """Get tokens by OAuth2 client credentials, without azure-identity.

    Its repr, its errors and its pickles never hold the secret.

    Args:
        tenant_id: the tenant's id or one of its domain names.
        client_id: the application's id.
        client_secret: the application's secret.
        authority: the login host; None: that of the client's cloud.
    """

    def __new__(
        cls, tenant_id: str, client_id: str, client_secret: str, *, authority: str | None = None
    ) -> Self: ...

@final
class ClientCertificateCredential:
    """Get tokens by a certificate: the application signs with its private key, and no secret goes over the wire.

    The certificate is read here, once. The key has to be RSA of 2048 to 4096 bits; it signs by PS256, and the
    certificate is named by its SHA-256. Its repr, its errors and its pickles never hold the key.
    Its page: learn.microsoft.com/entra/identity-platform/certificate-credentials

    Args:
        tenant_id: the tenant's id or one of its domain names.
        client_id: the application's id.
        certificate: PEM with the private key, or PKCS#12 (.pfx, .p12): a path, or what the file holds, as bytes or as
            PEM in a str.
        password: that of the key or of the PKCS#12; None: it has none.
        authority: the login host; None: that of the client's cloud.

    Raises:
        InvalidRequestError: the certificate can't be used, or the password is wrong; the hint says what to do.
        OSError: the file can't be read.
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
    """Get tokens by another issuer's token, as Kubernetes gives one to a pod (workload identity federation).

    The file is read anew for every token, for the platform replaces it from time to time.
    Its page: learn.microsoft.com/entra/workload-id/workload-identity-federation

    Args:
        tenant_id: the tenant's id or one of its domain names; None: AZURE_TENANT_ID.
        client_id: the application's id; None: AZURE_CLIENT_ID.
        token_file_path: the file; None: AZURE_FEDERATED_TOKEN_FILE.
        authority: the login host; None: AZURE_AUTHORITY_HOST, else that of the client's cloud.

    Raises:
        InvalidRequestError: one is neither given nor in the environment; it is named.
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
    """Get tokens by the identity that Azure gives the machine, App Service or container that this runs on.

    The platform is asked, past any proxy: an App Service by IDENTITY_ENDPOINT and IDENTITY_HEADER, else IMDS, whose
    host AZURE_POD_IDENTITY_AUTHORITY_HOST replaces.
    Its page: learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview

    Args:
        client_id: that of a user-assigned identity; None: AZURE_CLIENT_ID, else the system-assigned one.
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

    def __init__(self, tenant_id: str | None = None, *, process_timeout: float = 10.0) -> None: ...
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
    """At most `count` calls in any window of `per` seconds, wherever the window is laid.

    Args:
        count: calls, at least 1.
        per: seconds, more than 0.

    Raises:
        InvalidRequestError: a value is out of its bounds.
    """

    def __new__(cls, count: int, per: float) -> Self: ...
    @property
    def count(self) -> int:
        """How many calls."""

    @property
    def per(self) -> float:
        """In how many seconds."""

@final
class Limits:
    """What the service allows one application in one tenant, and how long it may take to show what it took.

    The defaults are the service's own. Its page: learn.microsoft.com/defender-endpoint/api/run-live-response

    Args:
        submit: rates of starting sessions; 10 a minute.
        read: rates of each other endpoint by itself; 100 a minute and 1,500 an hour.
        sessions: sessions open at once, waiting ones included; 50.
        queue_time: seconds that the service keeps a session for a machine it cannot reach; 7,200.
        script_time: seconds that a script may run; 600.
        settle_time: seconds that an accepted submit may be missing from what the service lists; 120.
        upload_size: bytes of a library file; 20 MiB.

    Raises:
        InvalidRequestError: a value is out of its bounds: a count below 1, a time below 0.
    """

    def __new__(
        cls,
        *,
        submit: Sequence[Rate] = ...,
        read: Sequence[Rate] = ...,
        sessions: int = 50,
        queue_time: float = 7200.0,
        script_time: float = 600.0,
        settle_time: float = 120.0,
        upload_size: int = 20971520,
    ) -> Self: ...
    @property
    def submit(self) -> tuple[Rate, ...]:
        """Rates of starting sessions."""

    @property
    def read(self) -> tuple[Rate, ...]:
        """Rates of each other endpoint by itself."""

    @property
    def sessions(self) -> int:
        """Sessions open at once, waiting ones included."""

    @property
    def queue_time(self) -> float:
        """Seconds that the service keeps a session for a machine it cannot reach."""

    @property
    def script_time(self) -> float:
        """Seconds that a script may run."""

    @property
    def settle_time(self) -> float:
        """Seconds that an accepted submit may be missing from what the service lists."""

    @property
    def upload_size(self) -> int:
        """Bytes of a library file."""

@final
class ScriptOutput:
    """What a script left behind.

    Args:
        script_name: the library script's name.
        exit_code: 0 unless given; None where the payload did not say.
        stdout: what it wrote to its output.
        stderr: what it wrote to its errors.
    """

    def __new__(
        cls, script_name: str, *, exit_code: int | None = 0, stdout: str = "", stderr: str = ""
    ) -> Self: ...
    @property
    def script_name(self) -> str:
        """The library script's name."""

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None where the payload did not say."""

    @property
    def stdout(self) -> str:
        """Its output as sent, less trailing NULs."""

    @property
    def stderr(self) -> str:
        """Its errors as sent, less trailing NULs."""

    @property
    def text(self) -> str:
        """`stdout`, safe to show: control characters are removed."""

    @property
    def raw(self) -> bytes:
        """The payload as it came; all there is where it was not the documented JSON."""

    def json(self) -> Any:
        """Parse `stdout` as JSON.

        Raises:
            ValueError: it is not JSON.
        """

    def to_dict(self) -> dict[str, Any]:
        """Give a dict that is ready for JSON."""

@final
class CollectedFile:
    """A file that was collected from a device."""

    @property
    def remote_path(self) -> str:
        """Where it was on the device."""

    @property
    def path(self) -> str | None:
        """Where it was saved here; None where it went to a file object or an iterator."""

    @property
    def size(self) -> int:
        """Bytes of the file itself, unpacked."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the file itself, unpacked, in lower-case hex."""

    @property
    def name(self) -> str:
        """Its own name, made safe for any file system: the payload's if it tells one, else of `remote_path`."""

    @property
    def payload(self) -> Literal["gzip", "zip", "json", "other"]:
        """What came, by its first bytes: `gzip` was unpacked here; `zip`, `json`, `other` are as they came."""

    @property
    def received_size(self) -> int:
        """Bytes of the payload as it came."""

    @property
    def received_sha256(self) -> str:
        """SHA-256 of the payload as it came, in lower-case hex."""

    def to_dict(self) -> dict[str, Any]:
        """Give a dict that is ready for JSON."""

@final
class CommandResult:
    """What became of one command of a session."""

    @property
    def index(self) -> int:
        """The command's place in the sequence, from 0."""

    @property
    def command(self) -> Command:
        """The command."""

    @property
    def status(self) -> CommandStatus:
        """The service's word for it; a word not known here is kept as it came."""

    @property
    def errors(self) -> _list[str]:
        """What the service says went wrong."""

    @property
    def start_time(self) -> datetime | None:
        """When it began, in UTC; None where it did not."""

    @property
    def end_time(self) -> datetime | None:
        """When it ended, in UTC; None where it did not."""

    @property
    def skipped(self) -> bool:
        """It never started, because a command before it failed."""

    @property
    def script(self) -> ScriptOutput | None:
        """A RunScript's output, once it was fetched; a failed script usually has one too."""

    @property
    def file(self) -> CollectedFile | None:
        """A GetFile's file, once it was fetched."""

    @property
    def error(self) -> LiveResponseError | OSError | None:
        """Why its result could not be fetched or saved, although it ran."""

    def to_dict(self) -> dict[str, Any]:
        """Give a dict that is ready for JSON."""

@final
class MachineAction:
    """A machine action as the service described it.

    Unknown status words are kept as they came; unknown fields are in `raw`.
    The service's page: learn.microsoft.com/defender-endpoint/api/machineaction
    """

    @property
    def id(self) -> str:
        """The action's id, a GUID."""

    @property
    def type(self) -> str:
        """The kind of action; `LiveResponse` for ours."""

    @property
    def status(self) -> ActionStatus:
        """The service's word for it; a word not known here is kept as it came."""

    @property
    def done(self) -> bool:
        """The status is final."""

    @property
    def machine_id(self) -> str | None:
        """The machine's id; a fresh action may not have it yet."""

    @property
    def computer_dns_name(self) -> str | None:
        """The machine's name; a fresh action may not have it yet."""

    @property
    def requestor(self) -> str | None:
        """Who asked for it: a user or an application."""

    @property
    def requestor_comment(self) -> str | None:
        """The comment it was started with, our tag included."""

    @property
    def creation_date_time_utc(self) -> datetime | None:
        """When the service took it."""

    @property
    def last_update_date_time_utc(self) -> datetime | None:
        """When it last changed."""

    @property
    def cancellation_requestor(self) -> str | None:
        """Who cancelled it."""

    @property
    def cancellation_comment(self) -> str | None:
        """The comment it was cancelled with."""

    @property
    def cancellation_date_time_utc(self) -> datetime | None:
        """When it was cancelled."""

    @property
    def error_hresult(self) -> int | None:
        """The service's HRESULT; 0 where nothing failed."""

    @property
    def external_id(self) -> str | None:
        """The id that the requestor gave it, if any."""

    @property
    def request_source(self) -> str | None:
        """Where it was asked for, as `PublicApi` or `Portal`."""

    @property
    def commands(self) -> _list[CommandResult]:
        """Each command and its status, in order."""

    @property
    def raw(self) -> dict[str, Any]:
        """The service's JSON, whole."""

    def to_dict(self) -> dict[str, Any]:
        """Give a dict that is ready for JSON."""

@final
class SessionResult:
    """What a finished session left: also a failed one, with all that it did before it failed.

    A session that ended is always returned, whatever became of it and of its results; `raise_for_status()` raises.
    """

    @property
    def action(self) -> MachineAction:
        """The action in its final state."""

    @property
    def commands(self) -> _list[CommandResult]:
        """`action.commands`, with what was fetched."""

    @property
    def ok(self) -> bool:
        """The action succeeded, each command completed, each result asked for is here, no exit code is other than 0."""

    @property
    def reason(self) -> Reason:
        """The first thing that was not ok, to branch on and to count by; `ok` where all was.

        `script`: an exit code other than 0. `command`: a command failed. `fetch`: a result could not be fetched or
        saved. `timed_out`, `cancelled`, `failed`: the action ended so.
        """

    @property
    def message(self) -> str:
        """The reason, for a person."""

    @property
    def scripts(self) -> _list[ScriptOutput]:
        """The scripts' outputs, in order, of the commands that have one."""

    @property
    def files(self) -> _list[CollectedFile]:
        """The collected files, in order, of the commands that have one."""

    def raise_for_status(self) -> Self:
        """Return this result if it is ok.

        Raises:
            SessionFailedError: it is not; the error holds this result.
        """

    def to_dict(self) -> dict[str, Any]:
        """Give a dict that is ready for JSON."""

    def _repr_html_(self) -> str: ...

@final
class Machine:
    """A device as the service knows it. Unknown fields are in `raw`.

    The service's page: learn.microsoft.com/defender-endpoint/api/machine
    """

    @property
    def id(self) -> str:
        """The machine id, 40 hex digits."""

    @property
    def computer_dns_name(self) -> str | None:
        """Its full name."""

    @property
    def os_platform(self) -> str | None:
        """Its operating system, as `Windows11`."""

    @property
    def version(self) -> str | None:
        """The operating system's version, as `21H2`."""

    @property
    def health_status(self) -> str | None:
        """Its sensor's health, as `Active`."""

    @property
    def onboarding_status(self) -> str | None:
        """Whether it is onboarded, as `Onboarded`."""

    @property
    def last_seen(self) -> datetime | None:
        """Its last full report, about daily; not a sign of being online."""

    @property
    def rbac_group_name(self) -> str | None:
        """Its device group."""

    @property
    def machine_tags(self) -> _list[str]:
        """Its tags."""

    @property
    def raw(self) -> dict[str, Any]:
        """The service's JSON, whole."""

    def to_dict(self) -> dict[str, Any]:
        """Give a dict that is ready for JSON."""

@final
class LibraryFile:
    """A file in the live response library. Unknown fields are in `raw`.

    The service's page: learn.microsoft.com/defender-endpoint/api/list-library-files
    """

    @property
    def file_name(self) -> str:
        """Its name, which is its key."""

    @property
    def sha256(self) -> str | None:
        """SHA-256 of its content, in lower-case hex."""

    @property
    def description(self) -> str | None:
        """What it is for."""

    @property
    def creation_time(self) -> datetime | None:
        """When it was first uploaded."""

    @property
    def last_updated_time(self) -> datetime | None:
        """When it was last uploaded."""

    @property
    def created_by(self) -> str | None:
        """Who uploaded it."""

    @property
    def has_parameters(self) -> bool | None:
        """Whether it takes arguments."""

    @property
    def parameters_description(self) -> str | None:
        """What arguments it takes."""

    @property
    def changed(self) -> bool | None:
        """Whether `ensure` uploaded it; None where `ensure` did not return it."""

    @property
    def raw(self) -> dict[str, Any]:
        """The service's JSON, whole."""

    def to_dict(self) -> dict[str, Any]:
        """Give a dict that is ready for JSON."""

@final
class LiveResponseClient:
    """The live response API of one tenant, as one application. Safe to share between threads and loops.

    Close it when done, or use it in a `with` or an `async with` block. Open sessions go on without it.

    Args:
        credential: a bearer token, a function that gives one, a coroutine function that does, anything with
            azure-identity's `get_token`, or a credential of this package. None: the first that the environment names of
            a client secret (AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET), a certificate
            (AZURE_CLIENT_CERTIFICATE_PATH and _PASSWORD in the secret's place), a federated token
            (AZURE_FEDERATED_TOKEN_FILE), the identity of an App Service (IDENTITY_ENDPOINT, IDENTITY_HEADER);
            AZURE_TOKEN_CREDENTIALS chooses one by its name. The login host is AZURE_AUTHORITY_HOST if that is set.
        cloud: which cloud the tenant lives in, `public` unless given, or the region whose host is to be asked.
        endpoint: the API's base URL; None: $MDE_LIVE_RESPONSE_ENDPOINT, else the cloud's.
        scope: the token's scope; None: the cloud's, which is https://api.securitycenter.microsoft.com/.default in the
            public one.
        tenant_id: the only tenant whose tokens are used; one of another tenant is an AuthenticationError.
        state: where limits, open sessions and submits are kept: `sqlite:///path` for the processes of one machine
            (four slashes for a path from the root), `redis://host:6379/0` or `rediss://` for many machines, `memory:`
            for this process alone. None: $MDE_LIVE_RESPONSE_STATE, else `memory:`.
        limits: what the service allows; its documented figures unless given.
        max_wait: seconds that a read, a cancel or an upload stands in line, at most, before ThrottledError.
        request_timeout: seconds for one HTTP request; for a download, between two reads of it.
        connect_timeout: seconds for a connection.
        proxy: the proxy's URL, `http://user:password@host:port`, for the API, the login host and the results; what
            NO_PROXY names goes past it. None: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY; "": none at all.
        ca_bundle: a PEM file of roots that are trusted besides the system's; None: REQUESTS_CA_BUNDLE. SSL_CERT_FILE
            stands in for the system's.
        verify: False trusts any certificate, and warns of it once. Only ever for a test.
        user_agent: put before ours in the User-Agent header.

    Raises:
        InvalidRequestError: a value is out of its bounds, or a variable of the environment is missing; it is named.
    """

    def __new__(
        cls,
        credential: Credential | None = None,
        *,
        cloud: Cloud = "public",
        endpoint: str | None = None,
        scope: str | None = None,
        tenant_id: str | None = None,
        state: str | None = None,
        limits: Limits = ...,
        max_wait: float = 180.0,
        request_timeout: float = 30.0,
        connect_timeout: float = 10.0,
        proxy: str | None = None,
        ca_bundle: str | PathLike[str] | None = None,
        verify: bool = True,
        user_agent: str | None = None,
    ) -> Self: ...
    @property
    def tenant_id(self) -> str | None:
        """The tenant: the one given, the credential's, or that of the last token; None until one is known."""

    def close(self) -> None:
        """Close the connections. Sessions that were started go on at the service."""

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
        timeout: float | None = None,
        cancel_pending_after: float | None = None,
        on_busy: Literal["raise", "wait"] = "raise",
        correlation_id: str | None = None,
        on_update: Callable[[MachineAction], None] | None = None,
    ) -> SessionResult:
        """Run commands on a machine, wait for the end, and bring the results back.

        Its pages: learn.microsoft.com/defender-endpoint/api/run-live-response and
        learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: a machine id, a computer name or a Machine. An ambiguous name is an error, never a guess.
            commands: one Command or a sequence of them: PutFile first, then RunScript, then GetFile.
            comment: why; it is kept with the action, and ends in our tag.
            save_to: a folder for collected files; they come to `<machine name>_<action id>/<index>_<name>` in it. None:
                they stay at the service, for `Session.download`.
            timeout: seconds for the whole wait here, the line before the submit included; a submit on its way is
                settled first. None: no bound.
            cancel_pending_after: seconds Pending after which the session is cancelled; None: never.
            on_busy: what to do while another's session is on the machine: `raise`, or `wait` for a turn.
            correlation_id: 1 to 128 characters. The same id on the same machine adopts the first session, from any
                process, a failed one too. None: a new one.
            on_update: called with the action whenever it changed, where the wait is; what it raises ends the wait.

        Returns:
            What the session left, ok or not.

        Raises:
            InvalidRequestError: the commands are wrong, or the correlation id was used with others.
            AmbiguousMachineError: several machines have this name.
            NotFoundError: no machine has this name or id.
            MachineBusyError: another's session is on the machine, and `on_busy` is `raise`.
            AuthenticationError: there is no token that the service accepts.
            PermissionDeniedError: a permission, a tenant setting or a remediation level is missing.
            WaitTimeoutError: `timeout` is over; `session` lives on if it was started.
            SubmitUnknownError: it may have been started; call again with the same correlation id.
            ServiceError: the service failed, or answered what it does not document.
            ConnectionFailedError: the service could not be reached.
        """

    def run_async(
        self,
        machine: str | Machine,
        commands: Commands,
        comment: str,
        *,
        save_to: str | PathLike[str] | None = None,
        timeout: float | None = None,
        cancel_pending_after: float | None = None,
        on_busy: Literal["raise", "wait"] = "raise",
        correlation_id: str | None = None,
        on_update: Callable[[MachineAction], None] | None = None,
    ) -> Coroutine[Any, Any, SessionResult]:
        """Run commands on a machine, wait for the end, and bring the results back.

        Its pages: learn.microsoft.com/defender-endpoint/api/run-live-response and
        learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: a machine id, a computer name or a Machine. An ambiguous name is an error, never a guess.
            commands: one Command or a sequence of them: PutFile first, then RunScript, then GetFile.
            comment: why; it is kept with the action, and ends in our tag.
            save_to: a folder for collected files; they come to `<machine name>_<action id>/<index>_<name>` in it. None:
                they stay at the service, for `Session.download`.
            timeout: seconds for the whole wait here, the line before the submit included; a submit on its way is
                settled first. None: no bound.
            cancel_pending_after: seconds Pending after which the session is cancelled; None: never.
            on_busy: what to do while another's session is on the machine: `raise`, or `wait` for a turn.
            correlation_id: 1 to 128 characters. The same id on the same machine adopts the first session, from any
                process, a failed one too. None: a new one.
            on_update: called with the action whenever it changed, where the wait is; what it raises ends the wait.

        Returns:
            What the session left, ok or not.

        Raises:
            InvalidRequestError: the commands are wrong, or the correlation id was used with others.
            AmbiguousMachineError: several machines have this name.
            NotFoundError: no machine has this name or id.
            MachineBusyError: another's session is on the machine, and `on_busy` is `raise`.
            AuthenticationError: there is no token that the service accepts.
            PermissionDeniedError: a permission, a tenant setting or a remediation level is missing.
            WaitTimeoutError: `timeout` is over; `session` lives on if it was started.
            SubmitUnknownError: it may have been started; call again with the same correlation id.
            ServiceError: the service failed, or answered what it does not document.
            ConnectionFailedError: the service could not be reached.
        """

    def submit(
        self,
        machine: str | Machine,
        commands: Commands,
        comment: str,
        *,
        timeout: float | None = None,
        on_busy: Literal["raise", "wait"] = "raise",
        correlation_id: str | None = None,
    ) -> Session:
        """Start a session, exactly once, and return as soon as the service has accepted it.

        Its page: learn.microsoft.com/defender-endpoint/api/run-live-response
        Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: a machine id, a computer name or a Machine. An ambiguous name is an error, never a guess.
            commands: one Command or a sequence of them: PutFile first, then RunScript, then GetFile.
            comment: why; it is kept with the action, and ends in our tag.
            timeout: seconds for standing in line; None: no bound. A submit on its way is settled first.
            on_busy: what to do while another's session is on the machine: `raise`, or `wait` for a turn.
            correlation_id: 1 to 128 characters. The same id on the same machine adopts the first session, from any
                process, a failed one too. None: a new one.

        Returns:
            The session.

        Raises:
            InvalidRequestError: the commands are wrong, or the correlation id was used with others.
            AmbiguousMachineError: several machines have this name.
            NotFoundError: no machine has this name or id.
            MachineBusyError: another's session is on the machine, and `on_busy` is `raise`.
            AuthenticationError: there is no token that the service accepts.
            PermissionDeniedError: a permission, a tenant setting or a remediation level is missing.
            WaitTimeoutError: `timeout` is over before its turn came; nothing was sent.
            SubmitUnknownError: it may have been started; call again with the same correlation id.
            ServiceError: the service failed, or answered what it does not document.
            ConnectionFailedError: the service could not be reached.
        """

    def submit_async(
        self,
        machine: str | Machine,
        commands: Commands,
        comment: str,
        *,
        timeout: float | None = None,
        on_busy: Literal["raise", "wait"] = "raise",
        correlation_id: str | None = None,
    ) -> Coroutine[Any, Any, Session]:
        """Start a session, exactly once, and return as soon as the service has accepted it.

        Its page: learn.microsoft.com/defender-endpoint/api/run-live-response
        Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: a machine id, a computer name or a Machine. An ambiguous name is an error, never a guess.
            commands: one Command or a sequence of them: PutFile first, then RunScript, then GetFile.
            comment: why; it is kept with the action, and ends in our tag.
            timeout: seconds for standing in line; None: no bound. A submit on its way is settled first.
            on_busy: what to do while another's session is on the machine: `raise`, or `wait` for a turn.
            correlation_id: 1 to 128 characters. The same id on the same machine adopts the first session, from any
                process, a failed one too. None: a new one.

        Returns:
            The session.

        Raises:
            InvalidRequestError: the commands are wrong, or the correlation id was used with others.
            AmbiguousMachineError: several machines have this name.
            NotFoundError: no machine has this name or id.
            MachineBusyError: another's session is on the machine, and `on_busy` is `raise`.
            AuthenticationError: there is no token that the service accepts.
            PermissionDeniedError: a permission, a tenant setting or a remediation level is missing.
            WaitTimeoutError: `timeout` is over before its turn came; nothing was sent.
            SubmitUnknownError: it may have been started; call again with the same correlation id.
            ServiceError: the service failed, or answered what it does not document.
            ConnectionFailedError: the service could not be reached.
        """

    def list_sessions(self) -> _list[Session]:
        """List the sessions that are open, of every process that shares the state store. Starts nothing.

        Asks the store alone, and the service nothing; sessions of others that it has learned of are left out.

        Returns:
            The sessions, not looked at yet: `refresh()` looks.

        Raises:
            AuthenticationError: there is no token, which tells whose sessions are meant.
            StateError: the store can't be asked.
        """

    def list_sessions_async(self) -> Coroutine[Any, Any, _list[Session]]:
        """List the sessions that are open, of every process that shares the state store. Starts nothing.

        Asks the store alone, and the service nothing; sessions of others that it has learned of are left out.

        Returns:
            The sessions, not looked at yet: `refresh()` looks.

        Raises:
            AuthenticationError: there is no token, which tells whose sessions are meant.
            StateError: the store can't be asked.
        """

    def find_session(self, machine: str | Machine, correlation_id: str) -> Session | None:
        """Find the session that was started with a correlation id. Starts nothing.

        Its page: learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: the machine it was started on: its id, its name or a Machine.
            correlation_id: the id it was started with.

        Returns:
            The session, or None if the service lists none.

        Raises:
            AmbiguousMachineError: several machines have this name.
            NotFoundError: no machine has this name or id.
            ThrottledError: the line is longer than `max_wait`.
        """

    def find_session_async(
        self, machine: str | Machine, correlation_id: str
    ) -> Coroutine[Any, Any, Session | None]:
        """Find the session that was started with a correlation id. Starts nothing.

        Its page: learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: the machine it was started on: its id, its name or a Machine.
            correlation_id: the id it was started with.

        Returns:
            The session, or None if the service lists none.

        Raises:
            AmbiguousMachineError: several machines have this name.
            NotFoundError: no machine has this name or id.
            ThrottledError: the line is longer than `max_wait`.
        """

    def run_many(
        self,
        machines: Iterable[str | Machine],
        commands: Commands | Mapping[str, Commands],
        comment: str,
        *,
        save_to: str | PathLike[str] | None = None,
        run_id: str | None = None,
        cancel_pending_after: float | None = None,
        progress: bool = False,
    ) -> Fleet:
        """Run commands on many machines, as fast as the limits let it. Returns when the run is written down and begun.

        The likely-online go first, busy machines are tried again later, and sessions that stay Pending while others
        wait are set aside and submitted again. A machine that is given twice runs once.
        Its pages: learn.microsoft.com/defender-endpoint/api/run-live-response and
        learn.microsoft.com/defender-endpoint/api/get-machines
        Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machines: machine ids, computer names or Machines. What is wrong with one is its outcome.
            commands: one Command or a sequence of them, for all; or a mapping of each machine, as given, to its own.
            comment: why; it is kept with each action, and ends in our tag.
            save_to: a folder for collected files; they come to `<machine name>_<action id>/<index>_<name>` in it. None:
                they stay at the service, for `Session.download`.
            run_id: 1 to 100 characters; a known one goes on with that run. None: a new one.
            cancel_pending_after: seconds Pending after which a machine's session is cancelled; None: never.
            progress: show how far the run has come: by tqdm where it is installed (the extra `progress`), in a notebook
                by its notebook form, else by a line on stderr if that is a terminal.

        Returns:
            The run, to loop over.

        Raises:
            InvalidRequestError: the commands are wrong or missing for a machine, or the run id was used with others.
            AuthenticationError: there is no token that the service accepts.
            StateError: the state store failed, or keeps no runs.
        """

    def run_many_async(
        self,
        machines: Iterable[str | Machine],
        commands: Commands | Mapping[str, Commands],
        comment: str,
        *,
        save_to: str | PathLike[str] | None = None,
        run_id: str | None = None,
        cancel_pending_after: float | None = None,
        progress: bool = False,
    ) -> Coroutine[Any, Any, Fleet]:
        """Run commands on many machines, as fast as the limits let it. Returns when the run is written down and begun.

        The likely-online go first, busy machines are tried again later, and sessions that stay Pending while others
        wait are set aside and submitted again. A machine that is given twice runs once.
        Its pages: learn.microsoft.com/defender-endpoint/api/run-live-response and
        learn.microsoft.com/defender-endpoint/api/get-machines
        Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machines: machine ids, computer names or Machines. What is wrong with one is its outcome.
            commands: one Command or a sequence of them, for all; or a mapping of each machine, as given, to its own.
            comment: why; it is kept with each action, and ends in our tag.
            save_to: a folder for collected files; they come to `<machine name>_<action id>/<index>_<name>` in it. None:
                they stay at the service, for `Session.download`.
            run_id: 1 to 100 characters; a known one goes on with that run. None: a new one.
            cancel_pending_after: seconds Pending after which a machine's session is cancelled; None: never.
            progress: show how far the run has come: by tqdm where it is installed (the extra `progress`), in a notebook
                by its notebook form, else by a line on stderr if that is a terminal.

        Returns:
            The run, to loop over.

        Raises:
            InvalidRequestError: the commands are wrong or missing for a machine, or the run id was used with others.
            AuthenticationError: there is no token that the service accepts.
            StateError: the state store failed, or keeps no runs.
        """

    def resume(self, run_id: str, *, progress: bool = False) -> Fleet:
        """Go on with a run that is in the state store, whoever began it. Processes that are at one run share it.

        Machines that have their outcomes are not run again, open sessions are followed, and what became of submits that
        were cut off is found out.
        Permissions: those of `run_many`.

        Args:
            run_id: the run's id.
            progress: as in `run_many`.

        Returns:
            The run, to loop over from its start.

        Raises:
            NotFoundError: the state store knows of no such run.
            AuthenticationError: there is no token that the service accepts.
            StateError: the state store failed, or keeps no runs.
        """

    def resume_async(self, run_id: str, *, progress: bool = False) -> Coroutine[Any, Any, Fleet]:
        """Go on with a run that is in the state store, whoever began it. Processes that are at one run share it.

        Machines that have their outcomes are not run again, open sessions are followed, and what became of submits that
        were cut off is found out.
        Permissions: those of `run_many`.

        Args:
            run_id: the run's id.
            progress: as in `run_many`.

        Returns:
            The run, to loop over from its start.

        Raises:
            NotFoundError: the state store knows of no such run.
            AuthenticationError: there is no token that the service accepts.
            StateError: the state store failed, or keeps no runs.
        """

    def session(self, action_id: str) -> Session:
        """Take up a session by its id, which may come from another process. Asks nothing of the service.

        Args:
            action_id: the machine action's id, a GUID.

        Raises:
            InvalidRequestError: it is not a GUID.
        """

    def get_machine_action(self, action_id: str) -> MachineAction:
        """Get one machine action.

        Its page: learn.microsoft.com/defender-endpoint/api/get-machineaction-object
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            action_id: its id, a GUID.

        Raises:
            NotFoundError: the service does not list it.
            ThrottledError: the line is longer than `max_wait`.
        """

    def get_machine_action_async(self, action_id: str) -> Coroutine[Any, Any, MachineAction]:
        """Get one machine action.

        Its page: learn.microsoft.com/defender-endpoint/api/get-machineaction-object
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            action_id: its id, a GUID.

        Raises:
            NotFoundError: the service does not list it.
            ThrottledError: the line is longer than `max_wait`.
        """

    def list_machine_actions(
        self, filter: str | None = None, *, top: int | None = None
    ) -> _list[MachineAction]:
        """List machine actions, newest first.

        Its page: learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            filter: an OData filter, as `status eq 'Pending'`; None: all.
            top: how many at most, 1 or more; None reads every page.

        Raises:
            InvalidRequestError: the service refuses the filter.
            ThrottledError: the line is longer than `max_wait`.
        """

    def list_machine_actions_async(
        self, filter: str | None = None, *, top: int | None = None
    ) -> Coroutine[Any, Any, _list[MachineAction]]:
        """List machine actions, newest first.

        Its page: learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            filter: an OData filter, as `status eq 'Pending'`; None: all.
            top: how many at most, 1 or more; None reads every page.

        Raises:
            InvalidRequestError: the service refuses the filter.
            ThrottledError: the line is longer than `max_wait`.
        """

    def get_machine(self, machine: str) -> Machine:
        """Get one machine.

        Its pages: learn.microsoft.com/defender-endpoint/api/get-machine-by-id and
        learn.microsoft.com/defender-endpoint/api/get-machines
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: a machine id or a computer name.

        Raises:
            AmbiguousMachineError: several machines have this name.
            NotFoundError: none has this name or id.
            ThrottledError: the line is longer than `max_wait`.
        """

    def get_machine_async(self, machine: str) -> Coroutine[Any, Any, Machine]:
        """Get one machine.

        Its pages: learn.microsoft.com/defender-endpoint/api/get-machine-by-id and
        learn.microsoft.com/defender-endpoint/api/get-machines
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            machine: a machine id or a computer name.

        Raises:
            AmbiguousMachineError: several machines have this name.
            NotFoundError: none has this name or id.
            ThrottledError: the line is longer than `max_wait`.
        """

    def list_machines(self, filter: str | None = None, *, top: int | None = None) -> _list[Machine]:
        """List machines.

        Its page: learn.microsoft.com/defender-endpoint/api/get-machines
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            filter: an OData filter, as `healthStatus eq 'Active'`; None: all.
            top: how many at most, 1 or more; None reads every page.

        Raises:
            InvalidRequestError: the service refuses the filter.
            ThrottledError: the line is longer than `max_wait`.
        """

    def list_machines_async(
        self, filter: str | None = None, *, top: int | None = None
    ) -> Coroutine[Any, Any, _list[Machine]]:
        """List machines.

        Its page: learn.microsoft.com/defender-endpoint/api/get-machines
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            filter: an OData filter, as `healthStatus eq 'Active'`; None: all.
            top: how many at most, 1 or more; None reads every page.

        Raises:
            InvalidRequestError: the service refuses the filter.
            ThrottledError: the line is longer than `max_wait`.
        """

    def check(
        self, machine: str | Machine | None = None, commands: Commands | None = None
    ) -> Check:
        """Look for what would stop a session before it starts, or weaken it. Starts nothing.

        It looks at the token's permissions, and at machine, library and state store as far as they are given.
        Permissions: those of `run`, and Library.Manage where the commands name library files.

        Args:
            machine: the machine that is meant: its id, its name or a Machine.
            commands: the commands that are meant.

        Returns:
            What was found; what keeps a session from starting is a finding, not an error.
        """

    def check_async(
        self, machine: str | Machine | None = None, commands: Commands | None = None
    ) -> Coroutine[Any, Any, Check]:
        """Look for what would stop a session before it starts, or weaken it. Starts nothing.

        It looks at the token's permissions, and at machine, library and state store as far as they are given.
        Permissions: those of `run`, and Library.Manage where the commands name library files.

        Args:
            machine: the machine that is meant: its id, its name or a Machine.
            commands: the commands that are meant.

        Returns:
            What was found; what keeps a session from starting is a finding, not an error.
        """

    @property
    def library(self) -> Library:
        """The tenant's live response library."""

@final
class Session:
    """A live response session that the service has accepted. Leaving it, by timeout or Ctrl-C, never cancels it."""

    @property
    def id(self) -> str:
        """The machine action's id: all that is needed to take the session up again, from any process."""

    @property
    def machine_id(self) -> str | None:
        """The machine's id, once it is known."""

    @property
    def correlation_id(self) -> str | None:
        """The id it was submitted with; None where it was taken up by its action id."""

    @property
    def adopted(self) -> bool:
        """It was found again, not started by this call."""

    @property
    def action(self) -> MachineAction | None:
        """The action as last seen; `refresh()` looks."""

    def refresh(self, *, max_age: float = 0.0) -> MachineAction:
        """Look once how the session stands, without waiting for its end.

        Its page: learn.microsoft.com/defender-endpoint/api/get-machineaction-object
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            max_age: seconds; a look as young as this, also one of another session's or process's, will do.

        Raises:
            NotFoundError: the service does not list it.
            ThrottledError: the line is longer than the client's `max_wait`.
        """

    def refresh_async(self, *, max_age: float = 0.0) -> Coroutine[Any, Any, MachineAction]:
        """Look once how the session stands, without waiting for its end.

        Its page: learn.microsoft.com/defender-endpoint/api/get-machineaction-object
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            max_age: seconds; a look as young as this, also one of another session's or process's, will do.

        Raises:
            NotFoundError: the service does not list it.
            ThrottledError: the line is longer than the client's `max_wait`.
        """

    def wait(self, timeout: float | None = None) -> MachineAction:
        """Wait until the session has ended.

        All open sessions of a process share one call to the service.
        Its page: learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            timeout: seconds; None: no bound.

        Returns:
            The action in its final state.

        Raises:
            WaitTimeoutError: `timeout` is over; the session lives on.
            NotFoundError: the service does not list it.
        """

    def wait_async(self, timeout: float | None = None) -> Coroutine[Any, Any, MachineAction]:
        """Wait until the session has ended.

        All open sessions of a process share one call to the service.
        Its page: learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            timeout: seconds; None: no bound.

        Returns:
            The action in its final state.

        Raises:
            WaitTimeoutError: `timeout` is over; the session lives on.
            NotFoundError: the service does not list it.
        """

    def result(
        self, timeout: float | None = None, *, save_to: str | PathLike[str] | None = None
    ) -> SessionResult:
        """Wait until the session has ended, and fetch its results.

        Its page: learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            timeout: seconds for the wait; None: no bound.
            save_to: a folder for collected files; they come to `<machine name>_<action id>/<index>_<name>` in it. None:
                they stay at the service, for `Session.download`.

        Returns:
            What the session left, ok or not. A result that could not be fetched or saved is its command's `error`.

        Raises:
            WaitTimeoutError: `timeout` is over; the session lives on.
            NotFoundError: the service does not list it.
        """

    def result_async(
        self, timeout: float | None = None, *, save_to: str | PathLike[str] | None = None
    ) -> Coroutine[Any, Any, SessionResult]:
        """Wait until the session has ended, and fetch its results.

        Its page: learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            timeout: seconds for the wait; None: no bound.
            save_to: a folder for collected files; they come to `<machine name>_<action id>/<index>_<name>` in it. None:
                they stay at the service, for `Session.download`.

        Returns:
            What the session left, ok or not. A result that could not be fetched or saved is its command's `error`.

        Raises:
            WaitTimeoutError: `timeout` is over; the session lives on.
            NotFoundError: the service does not list it.
        """

    def cancel(self, comment: str) -> MachineAction:
        """Cancel the session. One that is over already is returned as it is.

        Cancelling takes its time, and may lose to completion: `wait()` tells which it was.
        Its page: learn.microsoft.com/defender-endpoint/api/cancel-machine-action
        Permission: Machine.LiveResponse.

        Args:
            comment: why; it is kept with the action.

        Raises:
            NotFoundError: the service does not list it.
            ThrottledError: the line is longer than the client's `max_wait`.
        """

    def cancel_async(self, comment: str) -> Coroutine[Any, Any, MachineAction]:
        """Cancel the session. One that is over already is returned as it is.

        Cancelling takes its time, and may lose to completion: `wait()` tells which it was.
        Its page: learn.microsoft.com/defender-endpoint/api/cancel-machine-action
        Permission: Machine.LiveResponse.

        Args:
            comment: why; it is kept with the action.

        Raises:
            NotFoundError: the service does not list it.
            ThrottledError: the line is longer than the client's `max_wait`.
        """

    def download(self, index: int, to: str | PathLike[str] | BinaryIO) -> CollectedFile:
        """Fetch the file that one GetFile command collected.

        A gzip is unpacked on the way, to 4 GiB at most. A connection that breaks off is gone on with where it did.
        Its page: learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            index: the command's place in the sequence, from 0.
            to: the path to write; a folder that is there, in which the file comes to `<index>_<name>`; or a file object
                open for writing bytes. Under a path the file appears once it is whole and on the disk.

        Raises:
            InvalidRequestError: there is no GetFile at this place.
            DownloadError: it could not be fetched, or is damaged, or unpacks to more than is sane.
            OSError: it could not be written.
        """

    def download_async(
        self, index: int, to: str | PathLike[str] | BinaryIO
    ) -> Coroutine[Any, Any, CollectedFile]:
        """Fetch the file that one GetFile command collected.

        A gzip is unpacked on the way, to 4 GiB at most. A connection that breaks off is gone on with where it did.
        Its page: learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            index: the command's place in the sequence, from 0.
            to: the path to write; a folder that is there, in which the file comes to `<index>_<name>`; or a file object
                open for writing bytes. Under a path the file appears once it is whole and on the disk.

        Raises:
            InvalidRequestError: there is no GetFile at this place.
            DownloadError: it could not be fetched, or is damaged, or unpacks to more than is sane.
            OSError: it could not be written.
        """

    def stream(self, index: int) -> FileStream:
        """Give the file that one GetFile command collected piece by piece, to loop over: `for`, or `async for`.

        Nothing is asked for before the loop begins. What the loop has not taken yet is not fetched, but for a little.
        Its page: learn.microsoft.com/defender-endpoint/api/get-live-response-result
        Permission: Machine.Read.All or Machine.ReadWrite.All.

        Args:
            index: the command's place in the sequence, from 0.

        Returns:
            An iterator of bytes; its `file` tells size and SHA-256 once the loop has come to its end.
        """

@final
class FileStream:
    """A collected file on its way, in pieces of bytes: a blocking and an asynchronous iterator alike.

    It goes on by itself where a connection breaks off. Its end is checked: what came before an error is not for use.
    Raises, in the loop, what `Session.download` raises.
    """

    @property
    def file(self) -> CollectedFile | None:
        """The file's description, once the loop has come to its end; None before. Its `path` is None."""

    def close(self) -> None:
        """Leave the download where it stands: its connection is closed, and the loop ends."""

    def __iter__(self) -> Self: ...
    def __aiter__(self) -> Self: ...
    def __next__(self) -> bytes: ...
    def __anext__(self) -> Coroutine[Any, Any, bytes]: ...

@final
class Outcome:
    """What one row of a run came to: exactly one outcome, whatever happened."""

    @property
    def row(self) -> int:
        """The row's place among the machines that were given, from 0."""

    @property
    def machine(self) -> str:
        """The machine as given."""

    @property
    def machine_id(self) -> str | None:
        """The machine's id, where it is known."""

    @property
    def tenant_id(self) -> str | None:
        """The tenant's id, where the token told it."""

    @property
    def action_id(self) -> str | None:
        """The machine action's id, where a session was started."""

    @property
    def correlation_id(self) -> str | None:
        """The id that the session was submitted with."""

    @property
    def status(self) -> ActionStatus | None:
        """The service's last word on the session; None where there was none."""

    @property
    def ok(self) -> bool:
        """The session ended, and all went well."""

    @property
    def reason(self) -> Reason:
        """What first was not ok, in one word; `ok` where all was.

        That of the session's result; or, where it did not come to one, `busy`: another's sessions were on the machine
        all the time. `machine`: there is none of this name or id, or several. `permission`. `duplicate`: another row's
        machine. `not_submitted`: the run was cancelled before. `error`: anything else, in `error`.
        """

    @property
    def message(self) -> str:
        """The reason, for a person."""

    @property
    def start_time(self) -> datetime | None:
        """When the row's first session was accepted, in UTC; None where none was."""

    @property
    def end_time(self) -> datetime:
        """When the outcome was known, in UTC."""

    @property
    def result(self) -> SessionResult | None:
        """What the session left, failed or not, read from the store; None where it did not run to its end."""

    @property
    def error(self) -> LiveResponseError | OSError | None:
        """What kept the session from its end."""

    def to_dict(self) -> dict[str, Any]:
        """Give a dict that is ready for JSON, without the result."""

@final
class Fleet:
    """One run over many machines. Each loop over it yields each row's outcome once, as it ends, from the start.

    It is a blocking and an asynchronous iterable alike. Leaving a loop, or Ctrl-C, detaches: what runs goes on at the
    service, nothing more is submitted here, and a warning tells the run id. A loop raises what `report` raises.
    """

    @property
    def run_id(self) -> str:
        """The run's id: all that is needed to go on with it, from any process that shares the state store."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Outcome]: ...
    def __aiter__(self) -> AsyncIterator[Outcome]: ...
    @property
    def counts(self) -> dict[str, int]:
        """How many rows stand how: waiting, pending, running, succeeded, failed."""

    @property
    def done(self) -> bool:
        """Every row has its outcome."""

    @property
    def _is_active(self) -> bool: ...
    def report(self, timeout: float | None = None) -> FleetReport:
        """Wait until every row has its outcome.

        Args:
            timeout: seconds for the wait; None: no bound.

        Raises:
            WaitTimeoutError: `timeout` is over; the run goes on.
            InvalidRequestError: the fleet was closed before the run was over.
            AuthenticationError: there is no token that the service accepts any more; the run can be resumed.
            StateError: the state store failed, for as long as a run waits for it; the run can be resumed.
        """

    def report_async(self, timeout: float | None = None) -> Coroutine[Any, Any, FleetReport]:
        """Wait until every row has its outcome.

        Args:
            timeout: seconds for the wait; None: no bound.

        Raises:
            WaitTimeoutError: `timeout` is over; the run goes on.
            InvalidRequestError: the fleet was closed before the run was over.
            AuthenticationError: there is no token that the service accepts any more; the run can be resumed.
            StateError: the state store failed, for as long as a run waits for it; the run can be resumed.
        """

    def cancel(self, comment: str, *, running: bool = True) -> None:
        """Cancel the run, for every process that is at it: nothing more is submitted.

        Its page: learn.microsoft.com/defender-endpoint/api/cancel-machine-action
        Permission: Machine.LiveResponse.

        Args:
            comment: why; it is kept with the outcomes, and with each action that is cancelled.
            running: cancel what runs, too; False: only what was not submitted yet.

        Raises:
            InvalidRequestError: the comment is empty.
            StateError: the state store failed.
        """

    def cancel_async(self, comment: str, *, running: bool = True) -> Coroutine[Any, Any, None]:
        """Cancel the run, for every process that is at it: nothing more is submitted.

        Its page: learn.microsoft.com/defender-endpoint/api/cancel-machine-action
        Permission: Machine.LiveResponse.

        Args:
            comment: why; it is kept with the outcomes, and with each action that is cancelled.
            running: cancel what runs, too; False: only what was not submitted yet.

        Raises:
            InvalidRequestError: the comment is empty.
            StateError: the state store failed.
        """

    def close(self) -> None:
        """Detach: what runs goes on at the service, and nothing more is submitted here."""

    def _repr_html_(self) -> str: ...

@final
class FleetReport:
    """A run that is over: every outcome of it."""

    @property
    def run_id(self) -> str:
        """The run's id."""

    @property
    def outcomes(self) -> _list[Outcome]:
        """Each row's outcome, in the order of the rows."""

    @property
    def ok(self) -> bool:
        """Every outcome is ok."""

    def to_dicts(self) -> _list[dict[str, Any]]:
        """Give a row for each machine, as `pandas.DataFrame` and `polars.DataFrame` take them.

        Returns:
            Dicts of tenant_id, machine, machine_id, action_id, status, ok, reason, message, exit_code (the first that
            is not 0), stdout (of all scripts, safe to show) and files (where they were saved).
        """

    def _repr_html_(self) -> str: ...

@final
class Library:
    """The tenant's live response library: scripts and files that commands name.

    Names hold letters, digits, `-`, `_` and `.`.
    """

    def list_files(self) -> _list[LibraryFile]:
        """List the files of the library.

        Its page: learn.microsoft.com/defender-endpoint/api/list-library-files
        Permission: Library.Manage.

        Raises:
            ThrottledError: the line is longer than the client's `max_wait`.
        """

    def list_files_async(self) -> Coroutine[Any, Any, _list[LibraryFile]]:
        """List the files of the library.

        Its page: learn.microsoft.com/defender-endpoint/api/list-library-files
        Permission: Library.Manage.

        Raises:
            ThrottledError: the line is longer than the client's `max_wait`.
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

        Its page: learn.microsoft.com/defender-endpoint/api/upload-library
        Permission: Library.Manage.

        Args:
            file: a path, the content itself, or a file object open for reading bytes. At most `Limits.upload_size`.
                A path's is read as it is sent.
            name: its name in the library; None: the file's own. Content in bytes needs one.
            description: what it is for.
            parameters_description: what arguments it takes; None: none.
            overwrite: replace a file of this name.

        Raises:
            InvalidRequestError: the name is missing or one the library cannot hold, or the file is too large.
            AlreadyExistsError: there is a file of this name, and `overwrite` is False.
            ThrottledError: the line is longer than the client's `max_wait`.
            OSError: the file could not be read.
        """

    def upload_async(
        self,
        file: str | PathLike[str] | bytes | BinaryIO,
        *,
        name: str | None = None,
        description: str = "",
        parameters_description: str | None = None,
        overwrite: bool = False,
    ) -> Coroutine[Any, Any, LibraryFile]:
        """Upload a file to the library.

        Its page: learn.microsoft.com/defender-endpoint/api/upload-library
        Permission: Library.Manage.

        Args:
            file: a path, the content itself, or a file object open for reading bytes. At most `Limits.upload_size`.
                A path's is read as it is sent.
            name: its name in the library; None: the file's own. Content in bytes needs one.
            description: what it is for.
            parameters_description: what arguments it takes; None: none.
            overwrite: replace a file of this name.

        Raises:
            InvalidRequestError: the name is missing or one the library cannot hold, or the file is too large.
            AlreadyExistsError: there is a file of this name, and `overwrite` is False.
            ThrottledError: the line is longer than the client's `max_wait`.
            OSError: the file could not be read.
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
        """Upload a file unless the library holds it already, content and all.

        Its pages: learn.microsoft.com/defender-endpoint/api/list-library-files and
        learn.microsoft.com/defender-endpoint/api/upload-library
        Permission: Library.Manage.

        Args:
            file: a path, or the content itself. At most `Limits.upload_size`.
            name: its name in the library; None: the file's own. Content in bytes needs one.
            description: what it is for.
            parameters_description: what arguments it takes; None: none.
            overwrite: replace other content under this name.

        Returns:
            The library's entry; `changed` tells whether it was uploaded now. What is replaced is told in
            a WARNING, with its SHA-256 and author.

        Raises:
            InvalidRequestError: the name is missing or one the library cannot hold, or the file is too large.
            AlreadyExistsError: the name holds other content, and `overwrite` is False.
            ThrottledError: the line is longer than the client's `max_wait`.
            OSError: the file could not be read.
        """

    def ensure_async(
        self,
        file: str | PathLike[str] | bytes,
        *,
        name: str | None = None,
        description: str = "",
        parameters_description: str | None = None,
        overwrite: bool = False,
    ) -> Coroutine[Any, Any, LibraryFile]:
        """Upload a file unless the library holds it already, content and all.

        Its pages: learn.microsoft.com/defender-endpoint/api/list-library-files and
        learn.microsoft.com/defender-endpoint/api/upload-library
        Permission: Library.Manage.

        Args:
            file: a path, or the content itself. At most `Limits.upload_size`.
            name: its name in the library; None: the file's own. Content in bytes needs one.
            description: what it is for.
            parameters_description: what arguments it takes; None: none.
            overwrite: replace other content under this name.

        Returns:
            The library's entry; `changed` tells whether it was uploaded now. What is replaced is told in
            a WARNING, with its SHA-256 and author.

        Raises:
            InvalidRequestError: the name is missing or one the library cannot hold, or the file is too large.
            AlreadyExistsError: the name holds other content, and `overwrite` is False.
            ThrottledError: the line is longer than the client's `max_wait`.
            OSError: the file could not be read.
        """

    def delete(self, name: str) -> None:
        """Delete a file from the library.

        Its page: learn.microsoft.com/defender-endpoint/api/delete-library
        Permission: Library.Manage.

        Args:
            name: its name in the library.

        Raises:
            NotFoundError: there is none of this name.
            ThrottledError: the line is longer than the client's `max_wait`.
        """

    def delete_async(self, name: str) -> Coroutine[Any, Any, None]:
        """Delete a file from the library.

        Its page: learn.microsoft.com/defender-endpoint/api/delete-library
        Permission: Library.Manage.

        Args:
            name: its name in the library.

        Raises:
            NotFoundError: there is none of this name.
            ThrottledError: the line is longer than the client's `max_wait`.
        """

@final
class Finding:
    """One thing that would stop a session, or weaken it."""

    @property
    def code(self) -> str:
        """What it is, in one word, to branch on."""

    @property
    def level(self) -> Literal["error", "warning"]:
        """`error`: no session would start, or none would bring its results. `warning`: it would be weaker."""

    @property
    def message(self) -> str:
        """What was found."""

    @property
    def hint(self) -> str:
        """What cures it."""

    def to_dict(self) -> dict[str, Any]:
        """Give a dict that is ready for JSON."""

@final
class Check:
    """What would stop a session before it starts, or weaken it: permissions, machine, library, state store."""

    @property
    def ok(self) -> bool:
        """There is no error among the findings."""

    @property
    def findings(self) -> _list[Finding]:
        """All that was found, errors first."""

    def to_dict(self) -> dict[str, Any]:
        """Give a dict that is ready for JSON."""
