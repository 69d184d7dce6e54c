"""What is known not to hold. Such a cell is still run and judged, and the page lists it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import rules
from .cells import Cell
from .faults import Way
from .steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable


class Known(NamedTuple):
    """A rule that some cells break, and why."""

    rule: str
    applies: Callable[[Cell], bool]
    why: str


def is_refusal_that_acted(cell: Cell) -> bool:
    is_refusal = cell.fault.way is Way.ANSWER and cell.fault.status < 500
    return cell.step is Step.SUBMIT and cell.fault.acts and is_refusal


KNOWN = (
    Known(
        rules.LIMITS,
        is_refusal_that_acted,
        "The service starts a session and answers with a refusal. Until the list shows the "
        "session, its slot counts as free. If the tenant has no other free slot, the next submit "
        "of the run is one too many, and the service refuses it.",
    ),
)


def reason_of(cell: object, rule: str) -> str | None:
    """Return why a cell is known to break a rule, or None."""
    for known in KNOWN:
        if isinstance(cell, Cell) and known.rule == rule and known.applies(cell):
            return known.why
    return None
