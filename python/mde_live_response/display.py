"""How results and progress are shown to people: in a notebook, and on a terminal.

Everything that a device or the service may have put in is escaped or stripped: a script's output is the device's to
write, and the device may be hostile.
"""

from __future__ import annotations

import os
import time
from shutil import get_terminal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from mde_live_response import CommandResult, MachineAction, SessionResult

__all__ = ["ProgressLine", "command_text", "session_result_html", "session_result_text"]

_SHOWN = 20_000  # characters of one script's output in a notebook cell


def _plain(text: object) -> str:
    return "".join(c for c in str(text) if c.isprintable())


def _size(size: int) -> str:
    value, unit = float(size), "bytes"
    for bigger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, bigger
    return f"{size} bytes" if unit == "bytes" else f"{value:.1f} {unit} ({size} bytes)"


def command_text(command: CommandResult) -> str:
    """Write a command as a person would: its type, its name or path, its arguments unless they are to be hidden."""
    params = command.command.params
    if os.environ.get("MDE_LIVE_RESPONSE_HIDE_ARGS", "0") not in ("", "0"):
        params = {name: "***" if name == "Args" else value for name, value in params.items()}
    return _plain(" ".join([command.command.type, *params.values()]))


def _facts(command: CommandResult) -> Iterator[str]:
    if command.skipped:
        yield "skipped, because a command before it failed"
    yield from (_plain(error) for error in command.errors)
    if command.script is not None and command.script.exit_code is not None:
        yield f"exit code {command.script.exit_code}"
    if command.file is not None:
        yield f"{_size(command.file.size)}, SHA-256 {command.file.sha256}"
        if command.file.path is not None:
            yield f"saved as {_plain(command.file.path)}"
    if command.error is not None:
        yield f"its result is not here: {_plain(command.error)}"


def session_result_text(result: SessionResult) -> str:
    """Write a session's result for a terminal."""
    action = result.action
    lines = [f"{_plain(action.computer_dns_name or action.machine_id or 'machine')}: {_plain(action.status)}"]
    if not result.ok:
        lines.append(f"{_plain(result.reason)}: {_plain(result.message)}")
    for command in result.commands:
        lines.append(f"  [{command.index}] {command_text(command)}: {_plain(command.status)}")
        lines.extend(f"      {fact}" for fact in _facts(command))
        if command.script is not None:
            lines.extend(f"      | {line}" for line in command.script.text.splitlines())
            lines.extend(f"      ! {_plain(line)}" for line in command.script.stderr.splitlines())
    return "\n".join(lines)


def session_result_html(result: SessionResult) -> str:
    """Write a session's result as an HTML table, for `SessionResult._repr_html_`."""
    from html import escape

    action = result.action
    name = escape(_plain(action.computer_dns_name or action.machine_id or "machine"))
    verdict = "ok" if result.ok else f"{escape(_plain(result.reason))}: {escape(_plain(result.message))}"
    rows = []
    for command in result.commands:
        facts = "<br>".join(escape(fact) for fact in _facts(command))
        if command.script is not None:
            for output in (command.script.text, "\n".join(map(_plain, command.script.stderr.splitlines()))):
                cut = "\n... cut here" if len(output) > _SHOWN else ""
                facts += f"<pre>{escape(output[:_SHOWN])}{cut}</pre>" if output else ""
        rows.append(
            f"<tr><td>{command.index}</td><td>{escape(command_text(command))}</td>"
            f"<td>{escape(_plain(command.status))}</td><td>{facts}</td></tr>"
        )
    head = f"<b>{name}</b>: {escape(_plain(action.status))}, {verdict}<br><small>{escape(_plain(action.id))}</small>"
    return (
        f"<p>{head}</p>"
        "<table><thead><tr><th>#</th><th>command</th><th>status</th><th>what it left</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


class ProgressLine:
    """Shows how a session stands: on a terminal by rewriting one line, elsewhere by a line for each change.

    Give it to `run` as `on_update`; close it before printing anything else.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._began = time.monotonic()
        self._last = ""

    def __call__(self, action: MachineAction) -> None:
        """Show the action as it now stands."""
        steps = ", ".join(f"{c.command.type} {_plain(c.status)}" for c in action.commands)
        text = f"{_plain(action.computer_dns_name or action.machine_id or action.id)}: {_plain(action.status)}"
        text = f"{text} ({steps})" if steps else text
        if self._live:
            line = f"{text}, {time.monotonic() - self._began:.0f} s"
            self._stream.write(f"\r{line[: get_terminal_size().columns - 1]}\x1b[K")
        elif text != self._last:
            self._stream.write(f"{text}\n")
        self._stream.flush()
        self._last = text

    def close(self) -> None:
        """End the line."""
        if self._live and self._last:
            self._stream.write("\n")
            self._stream.flush()
        self._last = ""
