"""What the lanes of a worker share: the client, the store, and what must come back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import mde_live_response as mde
from mde_live_response._emulator_endpoint import scaled

from .service import CONTENT, LIMITS, SPEED

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from typing_extensions import Self

    from .tally import Tally

T = TypeVar("T")

TRIES = 6
"""A fault may last for all attempts of a call. Then the caller does what the error says: again."""


class Work:
    """One client that lives as long as the worker, and what each task of a program needs."""

    def __init__(self, job: dict[str, Any], tally: Tally, leaks: list[object]) -> None:
        self.state: str = job["state"]
        self.folder = Path(job["folder"])
        self.tally = tally
        self.seed: int = job["seed"]
        self._leak: str | None = job.get("leak")
        self._leaks = leaks
        self.tool = self.folder / "tool.txt"

    def __enter__(self) -> Self:
        self.tool.write_text("a tool")
        self.client = self.new_client()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def new_client(self) -> mde.LiveResponseClient:
        return mde.LiveResponseClient(
            state=self.state, limits=scaled(LIMITS, SPEED), proxy=False, request_timeout=20.0
        )

    async def persist(self, what: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await a call, again if its error says that this may help."""
        for attempt in range(TRIES):
            try:
                value = await call()
                self.tally.did(f"calls: {what}")
                return value
            except mde.LiveResponseError as error:
                again = error.retryable or isinstance(error, mde.SubmitUnknownError)
                if not again or attempt == TRIES - 1:
                    raise
                self.tally.did("calls repeated")
        raise AssertionError

    def check_result(self, result: mde.SessionResult, token: str) -> None:
        """Check that a session did what it was asked, and count it."""
        self.tally.did("sessions")
        if self._leak == "results":
            self._leaks.append(result)
        if self._leak == "objects":
            self._leaks.append(object())
        if self._leak == "handles":
            self._leaks.append(self.tool.open())
        if result.reason == "cancelled":
            self.tally.did("sessions cancelled")
            return
        if not result.ok:
            self.tally.did("sessions lost")
            self.tally.fail("session", f"{result.reason}: {result.message}")
            return
        self.tally.did("sessions ok")
        if [script.text.strip() for script in result.scripts] != [f"did {token}"]:
            self.tally.fail("output", [script.text for script in result.scripts])

    def check_content(self, content: bytes) -> None:
        if content != CONTENT:
            self.tally.fail("content", f"{len(content)} bytes")
