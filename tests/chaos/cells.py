"""The cells of the matrix, and the rules that leave out those that cannot occur."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from .faults import FAULTS, Fault
from .steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


Drawn = TypeVar("Drawn")


class Operation(Enum):
    """A call of the library. The value is its name."""

    RUN = "run"
    SUBMIT = "submit"
    RUN_MANY = "run_many"
    RESUME = "resume"


class StoreKind(Enum):
    """A kind of state store."""

    MEMORY = "memory"
    SQLITE = "SQLite"
    REDIS = "Redis"


@dataclass(frozen=True)
class Cell:
    """One fault at one step of one operation, with one store, once or for good."""

    operation: Operation
    store: StoreKind
    step: Step
    fault: Fault
    once: bool

    def __str__(self) -> str:
        duration = "once" if self.once else "for good"
        place = f"{self.operation.value}, {self.store.value}, {self.step.value}"
        return f"{place}: {self.fault.name}, {duration}"

    @property
    def must_succeed(self) -> bool:
        """Whether the call must bring its result although the fault occurs.

        An answer that is late but in time changes nothing. A fault that passes is survived, unless
        the answer is a verdict of the service.
        """
        is_late = self.fault.name == "late answer"
        return is_late or (self.once and not self.fault.is_final_at(self.step))

    @property
    def may_be_final(self) -> bool:
        """Whether a correct client may give up what the request was for."""
        if self.must_succeed:
            return False
        return self.fault.is_final_at(self.step) or not (self.once or self.fault.is_outage)

    @property
    def is_outage(self) -> bool:
        """Whether the service is away for good, without a verdict: a later call may succeed."""
        return not self.once and self.fault.is_outage


def cells_of(operation: Operation, store: StoreKind, seen: frozenset[Step]) -> Iterator[Cell]:
    """Yield the cells of an operation that makes the requests of these steps."""
    for step in Step:
        for fault in FAULTS:
            if step in seen and fault.why_not_at(step) is None:
                yield Cell(operation, store, step, fault, once=True)
                yield Cell(operation, store, step, fault, once=False)


def left_out(seen: Mapping[tuple[Operation, StoreKind], frozenset[Step]]) -> dict[str, int]:
    """Return how many cells each rule leaves out."""
    counts: dict[str, int] = {}
    for steps in seen.values():
        for step in Step:
            for fault in FAULTS:
                absent = None if step in steps else "the call makes no such request"
                if reason := absent or fault.why_not_at(step):
                    counts[reason] = counts.get(reason, 0) + 2
    return counts


def draw(cells: Sequence[Drawn], share: float, seed: str) -> list[Drawn]:
    """Return a random share of the cells, at least one."""
    count = max(1, round(len(cells) * share))
    return random.Random(seed).sample(cells, count)
