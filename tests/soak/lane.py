"""One lane of a worker: it does what programs do, one task after the other, on its own machines."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from mde_live_response import LiveResponseError

from . import calls, sessions, transfers
from .service import LANE_MACHINES
from .work import Work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Action = Callable[["Lane"], Awaitable[None]]

ACTIONS: list[tuple[int, Action]] = [
    (3, sessions.run_in_loop),
    (2, sessions.run_in_thread),
    (2, sessions.fetch_later),
    (2, sessions.wait_too_short),
    (2, sessions.cancel),
    (2, sessions.interrupt),
    (2, sessions.fleet),
    (2, transfers.through_session),
    (1, transfers.to_disk),
    (1, transfers.to_file_object),
    (1, transfers.streamed),
    (1, calls.library),
    (1, calls.library_folder),
    (1, calls.lists),
    (1, calls.mistakes),
    (1, calls.new_client),
    (1, calls.fork),
]
"""What a lane does, and how often compared with the others."""


class Lane:
    """Machines that no other lane uses, so that a session is never refused as busy."""

    def __init__(self, work: Work, number: int) -> None:
        self.work, self.number = work, number
        first = 1 + number * LANE_MACHINES
        self.machines = [f"ws-{first + at:04}.example.test" for at in range(LANE_MACHINES)]
        self.random = random.Random(f"{work.seed} {number}")
        self._turn = 0
        self._ids = 0

    @property
    def machine(self) -> str:
        """The next machine."""
        self._turn += 1
        return self.machines[self._turn % len(self.machines)]

    def new_id(self) -> str:
        """Return a text that no other session has: its correlation id and its argument."""
        self._ids += 1
        return f"soak-{self.number}-{self._ids}"

    async def act(self) -> None:
        """Do one thing. An error that the library should have avoided is recorded."""
        weights = [weight for weight, _ in ACTIONS]
        (action,) = self.random.choices([action for _, action in ACTIONS], weights)
        try:
            await action(self)
        except (LiveResponseError, OSError, AssertionError, asyncio.TimeoutError) as error:
            self.work.tally.fail(action.__name__, error)
        self.work.tally.did(f"tasks: {action.__name__}")
