"""`LiveResponseError`. Private: import it from `mde_live_response`."""

from __future__ import annotations

TYPE_CHECKING = False  # importing `typing` takes most of the time of importing this package
if TYPE_CHECKING:
    from typing import Any, TypedDict

    class _ErrorAttributes(TypedDict, total=False):
        """The keyword arguments of every error."""

        code: str | None
        status_code: int | None
        request_id: str | None
        tenant_id: str | None
        action_id: str | None
        machine_id: str | None
        correlation_id: str | None
        retryable: bool
        hint: str | None


def _restore_error(
    cls: type[LiveResponseError], args: tuple[object, ...], attributes: dict[str, Any]
) -> LiveResponseError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(attributes)
    return error


def _to_json_ready(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_json_ready(item) for item in value]
    return value.to_dict() if hasattr(value, "to_dict") else value


class LiveResponseError(Exception):
    """Base of every error that this package raises itself.

    `str(error)` is the message with the hint and the ids. Errors of the local disk stay `OSError`.

    Attributes:
        message: the message, without the hint and the ids.
        code: the service's error code, such as `ActiveRequestAlreadyExists`.
        status_code: the HTTP status, if the service responded.
        request_id: the id to give to Microsoft support.
        tenant_id: the tenant of the call.
        action_id: the id of this package's machine action, if there is one.
        machine_id: the machine of the call.
        correlation_id: the correlation id of the submit. With it, a call returns the same session.
        retryable: repeating the call with this correlation id may succeed and never runs anything
            twice.
        hint: how to fix it.
    """

    __module__ = "mde_live_response"

    #: The attributes of a subclass that `to_dict` adds.
    _own_attributes: tuple[str, ...] = ()

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
        self.message = message
        self.code = code
        self.status_code = status_code
        self.request_id = request_id
        self.tenant_id = tenant_id
        self.action_id = action_id
        self.machine_id = machine_id
        self.correlation_id = correlation_id
        self.retryable = retryable
        self.hint = hint

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict, without `session`."""
        common = {
            "message": self.message,
            "code": self.code,
            "status_code": self.status_code,
            "request_id": self.request_id,
            "tenant_id": self.tenant_id,
            "action_id": self.action_id,
            "machine_id": self.machine_id,
            "correlation_id": self.correlation_id,
            "retryable": self.retryable,
            "hint": self.hint,
        }
        own = {name: _to_json_ready(getattr(self, name)) for name in self._own_attributes}
        return common | own

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
        # Many messages name the machine or the action already.
        ids_text = ", ".join(
            f"{name} {value}" for name, value in ids if value and value not in text
        )
        return f"{text} ({ids_text})".lstrip() if ids_text else text

    def _repr_html_(self) -> str:
        from .display.cards import to_html

        return to_html(self)

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = dict(self.__dict__)
        # A session holds a client, whose connections belong to one process.
        if "session" in attributes:
            attributes["session"] = None
        return _restore_error, (type(self), self.args, attributes)
