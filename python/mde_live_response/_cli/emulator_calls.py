"""What the command `emulator` prints on stderr: a line for each call, and a summary at the end."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading

from mde_live_response.display import strip_unprintable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from mde_live_response._native import EmulatorServer

__all__ = ["CallPrinter", "call_line", "summary"]

_INTERVAL = 0.1
"""How often the ended calls are taken, in seconds. What is taken is never taken again."""

_PATIENCE = 2.0
"""How long the end waits for a reader of stderr who does not read, in seconds."""

_MAX_PATH = 300


def call_line(call: Mapping[str, Any]) -> str:
    """Return the line of one call: nothing in it can change a terminal."""
    path = call["path"]
    if len(path) > _MAX_PATH:
        path = path[:_MAX_PATH] + "..."
    # 2026-03-10T14:36:51.25Z
    parts = [call["time"][11:19], call["method"], path, str(call["status"])]
    parts.append(_duration(call["seconds"]))
    if call["machine"]:
        parts.append(call["machine"])
    if call["fault"]:
        parts.append(f"fault: {call['fault']}")
    if call["broken"]:
        parts.append(f"BROKEN RULE: {', '.join(call['broken'])}")
    return strip_unprintable(" ".join(parts))


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 9.9995 else f"{seconds:.0f} s"


def summary(counters: Mapping[str, int], violations: Mapping[str, int]) -> str:
    """Return how many calls there were, and which rules were broken how often."""
    calls = {name: count for name, count in counters.items() if not name.startswith("polls:")}
    total = sum(calls.values())
    named = ", ".join(f"{count} {name}" for name, count in sorted(calls.items()))
    broken = ", ".join(f"{name} {count}" for name, count in violations.items() if count)
    return "\n".join(
        [
            f"{total} call{'' if total == 1 else 's'}{': ' if named else ''}{named}",
            f"rules broken: {broken}" if broken else "no rule was broken",
        ]
    )


class CallPrinter:
    """Prints each call from a thread of its own: a reader who does not read stops nothing.

    If it is quiet, it prints only the text that `close` gets.
    """

    def __init__(self, server: EmulatorServer, *, quiet: bool) -> None:
        self._server = None if quiet else server
        self._last = ""
        if self._server is not None:
            self._server.take_calls()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mde-emulator-calls", daemon=True)
        self._thread.start()

    def close(self, last: str) -> None:
        """Print the calls that are left, then this text."""
        self._last = last
        self._ended.set()
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        interval = None if self._server is None else _INTERVAL
        while not self._ended.wait(interval):
            if not self._print_calls():
                return
        if self._print_calls():
            write_lines([self._last])

    def _print_calls(self) -> bool:
        if self._server is None:
            return True
        calls, missed = json.loads(self._server.take_calls())
        lines = [f"... {missed} calls are not shown"] if missed else []
        lines += map(call_line, calls)
        return write_lines(lines)


def write_lines(lines: list[str]) -> bool:
    """Write lines on stderr, or return False if it cannot be written."""
    if not lines:
        return True
    text = "".join(f"{line}\n" for line in lines)
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            sys.stderr.write(text)
        return sys.stderr is not None
    # Not through the stream: a thread that is stuck would keep its lock.
    rest = memoryview(text.encode(sys.stderr.encoding or "utf-8", "replace"))
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        return False
    return True
