"""The faults of the matrix: what goes wrong with one request, and what is known of each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from .steps import ACTING, WITH_ENTITY, Step

if TYPE_CHECKING:
    from collections.abc import Mapping


class Way(Enum):
    """How a request fails."""

    REFUSE = auto()
    RESET_UNREAD = auto()
    RESET = auto()
    SILENT = auto()
    SLOW = auto()
    CUT = auto()
    GARBLE = auto()
    OTHER_ENTITY = auto()
    ANSWER = auto()


@dataclass(frozen=True)
class Fault:
    """One way to fail, and what a correct client may conclude from it."""

    name: str
    way: Way
    acts: bool = False
    """Whether the service executes the request first."""
    status: int = 0
    code: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    is_verdict: bool = False
    """Whether a correct client may take the answer as final: the service said no."""

    @property
    def is_outage(self) -> bool:
        """Whether the service gives no usable answer: neither a yes nor a no."""
        if self.way is Way.ANSWER:
            return self.status in (408, 429) or self.status >= 500
        return self.way not in (Way.SLOW, Way.OTHER_ENTITY)

    def body(self, step: Step) -> bytes:
        """Return the body of the answer, as the host of this step writes it."""
        if step is Step.TOKEN:
            return json.dumps({"error": self.code, "error_description": self.message}).encode()
        if step is Step.BLOB:
            page = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
            return b"<?xml version='1.0' encoding='utf-8'?>" + page.encode()
        if self.status in (502, 503, 504):
            return f"<html><head><title>{self.status}</title></head></html>".encode()
        return json.dumps({"error": {"code": self.code, "message": self.message}}).encode()

    def why_not_at(self, step: Step) -> str | None:
        """Return why the fault cannot occur at a step, or None if it can."""
        if self.way is Way.OTHER_ENTITY and step not in WITH_ENTITY:
            return "the answer names no entity"
        if self.code == "TooManySessions" and step is not Step.SUBMIT:
            return "only a submit opens a session"
        if self.way is Way.ANSWER and self.acts and step not in ACTING:
            return "the request changes nothing"
        if self.way is Way.ANSWER and self.status == 429 and step is Step.BLOB:
            return "the results' host has no rate limit of the API"
        return None

    def is_final_at(self, step: Step) -> bool:
        """Return whether a correct client may give up after one such answer at this step."""
        # To these hosts no token is sent, so none of them can want a fresh one.
        return self.is_verdict or (step in (Step.TOKEN, Step.BLOB) and self.status == 401)


QUOTA = "API calls quota exceeded! Maximum calls allowed are 10 per 1m. Send requests again in 1s"
ANSWERS = (
    Fault("401", Way.ANSWER, status=401, code="Unauthorized", message="Unauthorized"),
    Fault("403", Way.ANSWER, status=403, code="Forbidden", message="Forbidden", is_verdict=True),
    Fault("404", Way.ANSWER, status=404, code="NotFound", message="Not found", is_verdict=True),
    Fault("408", Way.ANSWER, status=408, code="RequestTimeout", message="Timed out"),
    Fault("409", Way.ANSWER, status=409, code="Conflict", message="Conflict", is_verdict=True),
    Fault(
        "429 of the rate limit",
        Way.ANSWER,
        status=429,
        code="TooManyRequests",
        message=QUOTA,
        headers={"Retry-After": "1"},
    ),
    Fault(
        "429 of the session limit",
        Way.ANSWER,
        status=429,
        code="TooManySessions",
        message="Too many sessions",
    ),
    Fault("500", Way.ANSWER, status=500, code="InternalServerError", message="Internal error"),
    Fault("502", Way.ANSWER, status=502, code="BadGateway", message="Bad gateway"),
    Fault("503", Way.ANSWER, status=503, code="ServiceUnavailable", message="Unavailable"),
    Fault("504", Way.ANSWER, status=504, code="GatewayTimeout", message="Gateway timeout"),
    Fault(
        "redirect",
        Way.ANSWER,
        status=302,
        code="Found",
        message="Found",
        headers={"Location": "/signin"},
        is_verdict=True,
    ),
)

FAULTS = (
    Fault("connection refused", Way.REFUSE),
    Fault("reset before the request is read whole", Way.RESET_UNREAD),
    Fault("reset after the request is read", Way.RESET),
    Fault("reset after the service acted", Way.RESET, acts=True),
    Fault("late answer", Way.SLOW, acts=True),
    Fault("no answer", Way.SILENT),
    Fault("no answer, the service acted", Way.SILENT, acts=True),
    Fault("cut body", Way.CUT, acts=True),
    Fault("garbled body", Way.GARBLE, acts=True),
    Fault("wrong entity", Way.OTHER_ENTITY, acts=True),
    *ANSWERS,
    *(
        Fault(
            f"{fault.name}, the service acted",
            fault.way,
            acts=True,
            status=fault.status,
            code=fault.code,
            message=fault.message,
            headers=fault.headers,
            is_verdict=fault.is_verdict,
        )
        for fault in ANSWERS
    ),
)
