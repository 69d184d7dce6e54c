"""What a worker did, and what went wrong. It keeps counts, so that it does not grow itself."""

from __future__ import annotations

import logging
from collections import Counter

MAX_TEXTS = 20


class Tally:
    """Counts of calls and sessions, and the first texts of what went wrong."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def did(self, what: str, count: int = 1) -> None:
        self.counts[what] += count

    def fail(self, what: str, error: object) -> None:
        """Record what must not happen."""
        self.did("wrong")
        if len(self.wrong) < MAX_TEXTS:
            self.wrong.append(f"{what}: {type(error).__name__}: {error}"[:600])


class Records(logging.Handler):
    """A handler of log records, as programs have."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(logging.DEBUG)
        self._tally = tally

    def emit(self, record: logging.LogRecord) -> None:
        self._tally.did(f"records of {record.levelname}", bool(record.getMessage()))
