"""The errors of `mde_live_response`. The Rust core raises them; everything it knew is an attribute."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is most of what an import would cost
if TYPE_CHECKING:
    from typing import Any, TypedDict

    from typing_extensions import Unpack

    from mde_live_response import Machine, Session, SessionResult

    class _Attributes(TypedDict, total=False):
        code: str | None
        status_code: int | None
        request_id: str | None
        tenant_id: str | None
        action_id: str | None
        machine_id: str | None
        correlation_id: str | None
        retryable: bool
        hint: str | None


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


def _restore_error(
    cls: type[LiveResponseError], args: tuple[object, ...], attributes: dict[str, Any]
) -> LiveResponseError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(attributes)
    return error


class LiveResponseError(Exception):
    """The base of every error that this package raises for a reason of its own.

    `str(error)` is the message, the hint and the ids. What fails on the local disk stays an `OSError`.

    Attributes:
        code: the service's own word for it, as `ActiveRequestAlreadyExists`.
        status_code: the HTTP status, where the service answered.
        request_id: what to quote to Microsoft's support.
        tenant_id: the tenant that was asked.
        action_id: the id of our machine action, once there is one.
        machine_id: the machine it was about.
        correlation_id: our id of the submit; give it again to take the same session up.
        retryable: the same call, with this correlation id, may succeed and runs nothing twice.
        hint: what would cure it.
    """

    __module__ = "mde_live_response"

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
        tenant_id: str | None = None,
        action_id: str | None = None,
        machine_id: str | None = None,
        correlation_id: str | None = None,
        retryable: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status_code = status_code
        self.request_id = request_id
        self.tenant_id = tenant_id
        self.action_id = action_id
        self.machine_id = machine_id
        self.correlation_id = correlation_id
        self.retryable = retryable
        self.hint = hint

    def __str__(self) -> str:
        text = str(self.args[0]) if self.args else ""
        if self.hint and self.hint not in text:
            text = f"{text.rstrip('. ')}. Hint: {self.hint}" if text else self.hint
        ids = (
            ("machine", self.machine_id),
            ("action", self.action_id),
            ("correlation id", self.correlation_id),
            ("request", self.request_id),
        )
        ids_text = ", ".join(
            f"{name} {value}" for name, value in ids if value and value not in text
        )
        return f"{text} ({ids_text})".lstrip() if ids_text else text

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = dict(self.__dict__)
        if (
            "session" in attributes
        ):  # it holds a client, and a client's connections stay in its process
            attributes["session"] = None
        return _restore_error, (type(self), self.args, attributes)


class InvalidRequestError(LiveResponseError, ValueError):
    """What was asked cannot be done as asked.

    Raised here, before anything is sent, for an empty name or path, commands in the wrong order, a missing setting;
    or when the service answers 400. Nothing ran. Correct the call.
    """

    __module__ = "mde_live_response"


class AmbiguousMachineError(InvalidRequestError):
    """More than one machine has this name.

    Raised when a computer name is looked up; nothing was sent to any machine. Give the id of the one that is meant.

    Attributes:
        machines: every machine that matched.
    """

    __module__ = "mde_live_response"

    def __init__(
        self,
        message: str = "",
        *,
        machines: list[Machine] | None = None,
        **attributes: Unpack[_Attributes],
    ) -> None:
        super().__init__(message, **attributes)
        self.machines: list[Machine] = [] if machines is None else machines


class AlreadyExistsError(InvalidRequestError):
    """The library holds a file of this name already.

    Raised by `Library.upload`, and by `Library.ensure` where the content differs. Pass `overwrite=True`, or another
    name.
    """

    __module__ = "mde_live_response"


class AuthenticationError(LiveResponseError):
    """There is no token, or the service does not accept it.

    Raised when a credential fails, when its token belongs to another tenant than `tenant_id=`, or for a 401 that a
    fresh token did not cure. Check tenant, client id, secret and scope.
    """

    __module__ = "mde_live_response"


class PermissionDeniedError(LiveResponseError):
    """The token is good, but it does not allow this.

    Raised for a 403: a missing permission, live response switched off in the tenant, or a device group without a
    remediation level. The hint names which.
    """

    __module__ = "mde_live_response"


class NotFoundError(LiveResponseError, LookupError):
    """There is no such machine, machine action or library file.

    Raised for a 404, and for a computer name that nothing matches. Check the id or the name, and the tenant.
    """

    __module__ = "mde_live_response"


class MachineBusyError(LiveResponseError):
    """Another's live response session occupies the machine.

    Raised by `run` and `submit` with `on_busy="raise"`; nothing was started. Try again later, or pass
    `on_busy="wait"`.

    Attributes:
        active_action_id: the id of the machine action in the way, if it is known.
    """

    __module__ = "mde_live_response"

    def __init__(
        self,
        message: str = "",
        *,
        active_action_id: str | None = None,
        **attributes: Unpack[_Attributes],
    ) -> None:
        super().__init__(message, **attributes)
        self.active_action_id = active_action_id


class ThrottledError(LiveResponseError):
    """A limit of the service keeps this call waiting for longer than `max_wait`.

    Raised by reads, cancels and library calls; a submit waits for its own `timeout` instead and raises
    WaitTimeoutError. Try again after `retry_after`, or raise `max_wait`.

    Attributes:
        retry_after: seconds until it is worth trying again, if they are known.
    """

    __module__ = "mde_live_response"

    def __init__(
        self,
        message: str = "",
        *,
        retry_after: float | None = None,
        **attributes: Unpack[_Attributes],
    ) -> None:
        super().__init__(message, **attributes)
        self.retry_after = retry_after


class ServiceError(LiveResponseError):
    """The service failed, or its answer is not what it documents.

    Raised for a 5xx after the retries that are safe, and for a body that cannot be read; the message says what was
    wrong and where. Try again with the same correlation id; if it stays, quote `request_id` to Microsoft.
    """

    __module__ = "mde_live_response"


class ConnectionFailedError(LiveResponseError, ConnectionError):
    """The service could not be reached.

    Raised for a failed name lookup, a refused or reset connection, TLS, the proxy, or an HTTP request that took
    longer than `request_timeout`. Check network, proxy and certificates.
    """

    __module__ = "mde_live_response"


class SubmitUnknownError(LiveResponseError):
    """The service may or may not have taken the commands, and could not be asked.

    Raised by `run` and `submit` when the answer was lost and the list of actions could not be read either. Call again
    with the same correlation id: what was taken is found, and nothing runs twice.
    """

    __module__ = "mde_live_response"


class SessionFailedError(LiveResponseError):
    """The session ended, and not well.

    Raised by `SessionResult.raise_for_status()` only. Look at `result.reason` and at each command's `errors`.

    Attributes:
        result: all that was done before the failure.
    """

    __module__ = "mde_live_response"

    def __init__(
        self, message: str = "", *, result: SessionResult, **attributes: Unpack[_Attributes]
    ) -> None:
        super().__init__(message, **attributes)
        self.result = result


class WaitTimeoutError(LiveResponseError, TimeoutError):
    """The caller's `timeout` is over.

    Raised by `run`, `submit`, `wait` and `result`. A session that was started lives on: wait for it again through
    `session`, or call again with the same correlation id.

    Attributes:
        session: the session that lives on; None when nothing was sent, and after pickling.
    """

    __module__ = "mde_live_response"

    def __init__(
        self,
        message: str = "",
        *,
        session: Session | None = None,
        **attributes: Unpack[_Attributes],
    ) -> None:
        super().__init__(message, **attributes)
        self.session = session


class DownloadError(LiveResponseError):
    """A result could not be fetched.

    Raised by `Session.download`; in a SessionResult it is the command's `error` instead. The session itself is not
    touched by it: download again.
    """

    __module__ = "mde_live_response"


class StateError(LiveResponseError):
    """The state store is out of reach, of another version, or not fit.

    Raised before anything is sent that could not be written down. The hint says what to change.
    """

    __module__ = "mde_live_response"
