"""The part of the playbook API that the example uses. The test is the server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

acts: list[dict[str, Any]] = []
"""The actions that the playbook asked for."""
notes: list[str] = []
"""The lines in the playbook's log."""


def act(
    action: str,
    parameters: list[dict[str, Any]],
    assets: list[str],
    callback: Callable[..., None],
    start_time: datetime | None = None,
) -> None:
    """Store an action that the server runs now, or at its start time."""
    acts.append(
        {
            "action": action,
            "parameters": parameters,
            "assets": assets,
            "callback": callback.__name__,
            "start_time": start_time,
        }
    )


def debug(note: str) -> None:
    """Add a line to the playbook's log."""
    notes.append(note)
