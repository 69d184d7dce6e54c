"""Whether a series is flat: a line by least squares, and the slope that it may have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WARM_UP = 0.25
"""The first part of a run. Caches, pools and the allocator fill in it."""

ERRORS = 4.0
"""How many standard errors a slope may have by chance. Neighbouring samples are alike, so that the
error is larger than the formula says, which counts them as independent."""


@dataclass(frozen=True)
class Kind:
    """What is measured, and the growth for each session that would not be a leak."""

    name: str
    title: str
    unit: str
    allowed: float
    """Per session, in the unit of the sample: less than the least thing that can leak."""


MB = "MB"
COUNT = ""

KINDS = (
    # The least object of Python has 16 bytes, and a small one of either language about 64. These
    # two see every object, so each allows less than half of one for a session.
    Kind("native", "memory in use (malloc)", MB, 24.0),
    Kind("blocks", "Python's memory blocks", COUNT, 0.1),
    Kind("objects", "Python's container objects", COUNT, 0.05),
    # What was freed and waits for its next use. It is part of the pages below.
    Kind("kept", "free memory that malloc keeps", MB, 200.0),
    # Pages of the process. Holes between objects move them; a kept result has thousands of bytes.
    Kind("rss", "RSS", MB, 200.0),
    Kind("rss_in_use", "RSS without what malloc keeps", MB, 200.0),
    Kind("dirty", "private dirty memory", MB, 200.0),
    # Whatever is left open once in a thousand sessions is a leak.
    Kind("handles", "open handles", COUNT, 0.001),
    Kind("threads", "threads", COUNT, 0.001),
    Kind("tasks", "asyncio tasks", COUNT, 0.001),
    Kind("runtime_tasks", "tasks of the runtime", COUNT, 0.001),
    # A row of one session that is never removed has over 100 bytes, and a key more.
    Kind("store", "the store", MB, 30.0),
    Kind("wal", "the store's -wal", MB, 30.0),
    Kind("keys", "the store's keys", COUNT, 0.05),
)


@dataclass(frozen=True)
class Line:
    """A series after the warm-up. Slopes are per hour."""

    start: float
    end: float
    smallest: float
    largest: float
    slope: float
    error: float
    bound: float

    @property
    def is_flat(self) -> bool:
        return self.slope <= self.bound


def fit(times: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return the slope of the line through the points, and its standard error."""
    count = len(times)
    middle, mean = sum(times) / count, sum(values) / count
    spread = sum((time - middle) ** 2 for time in times)
    pairs = list(zip(times, values, strict=True))
    slope = sum((time - middle) * (value - mean) for time, value in pairs) / spread
    rests = sum((value - mean - slope * (time - middle)) ** 2 for time, value in pairs)
    return slope, math.sqrt(rests / (count - 2) / spread)


def judge(kind: Kind, series: Sequence[tuple[float, float]], sessions_per_hour: float) -> Line:
    """Judge a series of seconds since the start of the run, and what was measured then."""
    start = series[-1][0] * WARM_UP
    kept = [(at / 3600, value) for at, value in series if at >= start]
    assert len(kept) > 3, f"{kind.title}: {len(kept)} samples are too few"
    hours, rest = [at for at, _ in kept], [value for _, value in kept]
    slope, error = fit(hours, rest)
    bound = kind.allowed * sessions_per_hour + ERRORS * error
    return Line(rest[0], rest[-1], min(rest), max(rest), slope, error, bound)
