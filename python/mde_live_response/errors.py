"""The errors of `mde_live_response`. The Rust core raises them and sets their attributes."""

from __future__ import annotations

from ._base_error import LiveResponseError

TYPE_CHECKING = False  # importing `typing` takes most of the time of importing this package
if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from mde_live_response import Machine, Session, SessionResult

    from ._base_error import _ErrorAttributes

__all__ = [
    "AlreadyExistsError",
    "AmbiguousMachineError",
    "AuthenticationError",
    "ConnectionFailedError",
    "DownloadError",
    "InvalidRequestError",
    "LiveResponseError",
    "MachineBusyError",
    "NotFoundError",
    "PermissionDeniedError",
    "ServiceError",
    "SessionFailedError",
    "StateError",
    "SubmitUnknownError",
    "ThrottledError",
    "WaitTimeoutError",
]


class InvalidRequestError(LiveResponseError, ValueError):
    """The call is not valid.

    Raised before anything is sent, for example for an empty name or path, commands in the wrong
    order or a missing setting. Also raised for a 400 of the service. Nothing ran. Correct the call.
    """

    __module__ = "mde_live_response"


class AmbiguousMachineError(InvalidRequestError):
    """More than one machine has this name.

    Raised when the client looks up a computer name. Nothing was sent to a machine. Pass the id of
    the right machine.

    Attributes:
        machines: the machines that have this name.
    """

    __module__ = "mde_live_response"
    _own_attributes = ("machines",)

    def __init__(
        self,
        message: str = "",
        *,
        machines: Sequence[Machine] = (),
        **attributes: Unpack[_ErrorAttributes],
    ) -> None:
        super().__init__(message, **attributes)
        self.machines: tuple[Machine, ...] = tuple(machines)


class AlreadyExistsError(InvalidRequestError):
    """The library has a file with this name.

    Raised by `Library.upload`, and by `Library.ensure` if the content differs. Pass
    `overwrite=True` or another name.
    """

    __module__ = "mde_live_response"


class AuthenticationError(LiveResponseError):
    """There is no token, or the service does not accept it.

    Raised if a credential fails, if its token belongs to another tenant than `tenant_id=`, or if
    the service answers 401 to a new token. Check the tenant, the client id, the secret and the
    scope.
    """

    __module__ = "mde_live_response"


class PermissionDeniedError(LiveResponseError):
    """The token is valid, but does not allow the call.

    Raised for a 403: a permission is missing, live response is off in the tenant, or the machine's
    device group has no remediation level. The hint says which.
    """

    __module__ = "mde_live_response"


class NotFoundError(LiveResponseError, LookupError):
    """The service has no such machine, machine action or library file.

    Raised for a 404, and for a computer name that no machine has. Check the id or the name, and the
    tenant.
    """

    __module__ = "mde_live_response"


class MachineBusyError(LiveResponseError):
    """Another caller's live response session is on the machine.

    Raised by `run` and `submit` with `on_busy="raise"`. Nothing was started. Try again later, or
    pass `on_busy="wait"`.

    Attributes:
        active_action_id: the id of the other caller's machine action, if known.
    """

    __module__ = "mde_live_response"
    _own_attributes = ("active_action_id",)

    def __init__(
        self,
        message: str = "",
        *,
        active_action_id: str | None = None,
        **attributes: Unpack[_ErrorAttributes],
    ) -> None:
        super().__init__(message, **attributes)
        self.active_action_id = active_action_id


class ThrottledError(LiveResponseError):
    """This call would wait longer than `max_wait` for a rate limit.

    Raised by reads, cancels and library calls. A submit waits for up to its own `timeout` instead,
    then raises WaitTimeoutError. Try again after `retry_after`, or increase `max_wait`.

    Attributes:
        retry_after: the seconds to wait before the next try, if known.
    """

    __module__ = "mde_live_response"
    _own_attributes = ("retry_after",)

    def __init__(
        self,
        message: str = "",
        *,
        retry_after: float | None = None,
        **attributes: Unpack[_ErrorAttributes],
    ) -> None:
        super().__init__(message, **attributes)
        self.retry_after = retry_after


class ServiceError(LiveResponseError):
    """The service failed, or its response does not match its documentation.

    Raised for a 5xx after all safe retries, and for a body that cannot be parsed. Try again with
    the same correlation id. If the error persists, give `request_id` to Microsoft support.
    """

    __module__ = "mde_live_response"


class ConnectionFailedError(LiveResponseError, ConnectionError):
    """The service could not be reached.

    Raised if DNS, TLS or the proxy fails, if a connection is refused or reset, or if an HTTP
    request takes longer than `request_timeout`. Check the network, the proxy and the certificates.
    """

    __module__ = "mde_live_response"


class SubmitUnknownError(LiveResponseError):
    """It is not known whether the service accepted the submit.

    Raised by `run` and `submit` if the response was lost and the list of actions could not be read.
    Call again with the same correlation id: the call finds a session that was accepted, and nothing
    runs twice.
    """

    __module__ = "mde_live_response"


class SessionFailedError(LiveResponseError):
    """The session ended and was not ok.

    Raised only by `SessionResult.raise_for_status()`. See `result.reason` and the `errors` of each
    command.

    Attributes:
        result: the session's result, with everything done before the failure.
    """

    __module__ = "mde_live_response"
    _own_attributes = ("result",)

    def __init__(
        self, message: str = "", *, result: SessionResult, **attributes: Unpack[_ErrorAttributes]
    ) -> None:
        super().__init__(message, **attributes)
        self.result = result


class WaitTimeoutError(LiveResponseError, TimeoutError):
    """The `timeout` of the call passed.

    Raised by `run`, `submit`, `wait`, `result` and `report`. A started session continues: wait for
    it again with `session`, or call again with the same correlation id.

    Attributes:
        session: the running session. None if nothing was sent, and after unpickling.
    """

    __module__ = "mde_live_response"

    def __init__(
        self,
        message: str = "",
        *,
        session: Session | None = None,
        **attributes: Unpack[_ErrorAttributes],
    ) -> None:
        super().__init__(message, **attributes)
        self.session = session


class DownloadError(LiveResponseError):
    """A result could not be downloaded.

    Raised by `Session.download`. In a SessionResult it is the command's `error` instead. The
    session is not affected: download again.
    """

    __module__ = "mde_live_response"


class StateError(LiveResponseError):
    """The state store cannot be used: it is unreachable, unsuitable or of another version.

    Raised before the client sends anything that it could not record. The hint says what to change.
    """

    __module__ = "mde_live_response"
