"""A stand-in for the part of Cortex XSOAR's common functions that the example uses.

Written from https://xsoar.pan.dev/docs/integrations/scheduled-commands and from
https://xsoar.pan.dev/docs/integrations/code-conventions.
"""

from __future__ import annotations

import sys
from typing import Any

import demistomock as demisto

__all__ = ["CommandResults", "ScheduledCommand", "return_error", "return_results"]

NOTE, ERROR = 1, 4


class ScheduledCommand:
    """When the server executes which command again, and with which arguments."""

    def __init__(
        self,
        command: str,
        next_run_in_seconds: int,
        args: dict[str, Any] | None = None,
        timeout_in_seconds: int | None = None,
    ) -> None:
        self.entry = {
            "PollingCommand": command,
            "NextRun": str(next_run_in_seconds),
            "PollingArgs": args,
            "Timeout": str(timeout_in_seconds),
        }


class CommandResults:
    """What a command returns: outputs for the context, or a scheduled command."""

    def __init__(
        self,
        outputs_prefix: str | None = None,
        outputs_key_field: str | None = None,
        outputs: Any = None,
        scheduled_command: ScheduledCommand | None = None,
    ) -> None:
        self.entry: dict[str, Any] = {"Type": NOTE}
        if outputs_prefix is not None:
            key = f"(val.{outputs_key_field} && val.{outputs_key_field} == obj.{outputs_key_field})"
            self.entry["EntryContext"] = {outputs_prefix + key: outputs}
        if scheduled_command is not None:
            self.entry.update(scheduled_command.entry)


def return_results(results: CommandResults) -> None:
    """Return the results to the server."""
    demisto.results(results.entry)


def return_error(message: str) -> None:
    """Return an error entry to the server, and end the command."""
    demisto.results({"Type": ERROR, "Contents": message})
    sys.exit(0)
