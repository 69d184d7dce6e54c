"""Shows the progress of one session, on a stream that may be missing or break at any time."""

from __future__ import annotations

import os
import time
from shutil import get_terminal_size

from .clean import strip_unprintable

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from mde_live_response import MachineAction

__all__ = ["ProgressLine", "print_safely", "report_failed_display"]


def report_failed_display(what: str, error: Exception) -> None:
    """Log that a display failed and was dropped. Never raises."""
    import contextlib
    import logging

    with contextlib.suppress(Exception):
        logging.getLogger("mde_live_response").warning(
            "%s failed and is no longer shown; the work continues: %s: %s",
            what,
            type(error).__name__,
            error,
        )


def print_safely(text: str, stream: TextIO | None) -> OSError | None:
    """Print a line. A stream that is missing, closed or broken gets nothing, and nothing fails.

    Returns the error of a stream that cannot be written, but not that of a reader who left.
    """
    failed = None
    if stream is None:
        return failed
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            failed = error
        import contextlib

        # Else the interpreter fails at its exit, when it flushes the stream again.
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
    return failed


class ProgressLine:
    """Shows the progress of a session: on a terminal in one line, elsewhere one line per change.

    A stream that is missing or broken is dropped with one log record: the session continues.

    Pass it to `run` as `on_update`, and close it before printing anything else.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._is_terminal = False
        if stream is not None:
            try:
                self._is_terminal = stream.isatty()
            except Exception as error:
                self._drop(error)
        self._started_at = time.monotonic()
        self._last_text = ""

    def __call__(self, action: MachineAction) -> None:
        """Show the current state of the action."""
        steps = ", ".join(
            f"{c.command.type} {strip_unprintable(c.status)}" for c in action.commands
        )
        name = strip_unprintable(action.computer_dns_name or action.machine_id or action.id)
        text = f"{name}: {strip_unprintable(action.status)}"
        text = f"{text} ({steps})" if steps else text
        if self._stream is None:
            return
        try:
            self._write(self._stream, text)
        except Exception as error:
            self._drop(error)
        self._last_text = text

    def _write(self, stream: TextIO, text: str) -> None:
        if self._is_terminal:
            line = f"{text}, {time.monotonic() - self._started_at:.0f} s"
            # A full line would make the terminal scroll; the escape sequence clears the rest.
            stream.write(f"\r{line[: get_terminal_size().columns - 1]}\x1b[K")
        elif text != self._last_text:
            stream.write(f"{text}\n")
        stream.flush()

    def _drop(self, error: Exception) -> None:
        self._stream = None
        report_failed_display("the progress line", error)

    def close(self) -> None:
        """End the progress line."""
        if self._stream is not None and self._is_terminal and self._last_text:
            try:
                self._stream.write("\n")
                self._stream.flush()
            except Exception as error:
                self._drop(error)
        self._last_text = ""
