"""Shows results and progress in a notebook and on a terminal.

All text from a device or the service is escaped or stripped, because the device may be hostile.
"""

from __future__ import annotations

import os
import time
from shutil import get_terminal_size

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from mde_live_response import CommandResult, MachineAction, Outcome, SessionResult

__all__ = [
    "ProgressLine",
    "command_text",
    "machine_label",
    "print_safely",
    "report_failed_display",
    "session_result_html",
    "session_result_text",
]

_MAX_OUTPUT = 20_000
"""The most characters of one script's output that a notebook cell shows."""


def strip_unprintable(text: object) -> str:
    """Return text without what a terminal would interpret, such as escape sequences."""
    return "".join(c for c in str(text) if c.isprintable())


def machine_label(outcome: Outcome) -> str:
    """Return a row's machine as passed, or its name in place of a machine id."""
    machine = outcome.machine.strip()
    is_id = len(machine) == 40 and all(digit in "0123456789abcdefABCDEF" for digit in machine)
    return (outcome.computer_dns_name or machine) if is_id else machine


def _format_size(size: int) -> str:
    value, unit = float(size), "bytes"
    for next_unit in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, next_unit
    return f"{size} bytes" if unit == "bytes" else f"{value:.1f} {unit} ({size} bytes)"


def command_text(command: CommandResult) -> str:
    """Return a command as text: its type, its name or path, and its arguments unless hidden."""
    params = command.command.params
    if os.environ.get("MDE_LIVE_RESPONSE_HIDE_ARGS", "0") not in ("", "0"):
        params = {name: "***" if name == "Args" else value for name, value in params.items()}
    return strip_unprintable(" ".join([command.command.type, *params.values()]))


def _details(command: CommandResult) -> Iterator[str]:
    if command.skipped:
        yield "skipped: an earlier command failed"
    yield from (strip_unprintable(error) for error in command.errors)
    if command.script is not None and command.script.exit_code is not None:
        yield f"exit code {command.script.exit_code}"
    if command.file is not None:
        yield f"{_format_size(command.file.size)}, SHA-256 {command.file.sha256}"
        if command.file.path is not None:
            yield f"saved as {strip_unprintable(command.file.path)}"
    if command.error is not None:
        yield f"the result could not be fetched: {strip_unprintable(command.error)}"


def session_result_text(result: SessionResult) -> str:
    """Return a session's result as text for a terminal."""
    action = result.action
    name = strip_unprintable(action.computer_dns_name or action.machine_id or "machine")
    lines = [f"{name}: {strip_unprintable(action.status)}"]
    if not result.ok:
        lines.append(f"{strip_unprintable(result.reason)}: {strip_unprintable(result.message)}")
    for command in result.commands:
        lines.append(
            f"  [{command.index}] {command_text(command)}: {strip_unprintable(command.status)}"
        )
        lines.extend(f"      {detail}" for detail in _details(command))
        if command.script is not None:
            # `text` is already free of control characters; `stderr` is as the device sent it.
            lines.extend(f"      | {line}" for line in command.script.text.splitlines())
            lines.extend(
                f"      ! {strip_unprintable(line)}" for line in command.script.stderr.splitlines()
            )
    return "\n".join(lines)


def session_result_html(result: SessionResult) -> str:
    """Return a session's result as an HTML table, for `SessionResult._repr_html_`."""
    from html import escape

    action = result.action
    name = escape(strip_unprintable(action.computer_dns_name or action.machine_id or "machine"))
    reason, message = (escape(strip_unprintable(text)) for text in (result.reason, result.message))
    summary = "ok" if result.ok else f"{reason}: {message}"
    rows = []
    for command in result.commands:
        details = "<br>".join(escape(detail) for detail in _details(command))
        if command.script is not None:
            for output in (
                command.script.text,
                "\n".join(map(strip_unprintable, command.script.stderr.splitlines())),
            ):
                cut = "\n... truncated" if len(output) > _MAX_OUTPUT else ""
                details += f"<pre>{escape(output[:_MAX_OUTPUT])}{cut}</pre>" if output else ""
        rows.append(
            f"<tr><td>{command.index}</td><td>{escape(command_text(command))}</td>"
            f"<td>{escape(strip_unprintable(command.status))}</td><td>{details}</td></tr>"
        )
    status, action_id = (escape(strip_unprintable(text)) for text in (action.status, action.id))
    return (
        f"<p><b>{name}</b>: {status}, {summary}<br><small>{action_id}</small></p>"
        "<table><thead><tr><th>#</th><th>command</th><th>status</th><th>result</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


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


def print_safely(text: str, stream: TextIO | None) -> None:
    """Print a line. A stream that is missing, closed or broken gets nothing, and nothing fails."""
    if stream is None:
        return
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):
        import contextlib

        # Else the interpreter fails at its exit, when it flushes the stream again.
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


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
