"""The result of one session: as text for a terminal, and as HTML for a notebook."""

from __future__ import annotations

import os

from .clean import escape_text, format_size, strip_unprintable
from .markup import AMBER, GREEN, GREY, RED, Html, card, dot, html_table, output_block

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from mde_live_response import CommandResult, MachineAction, SessionResult

__all__ = [
    "command_card",
    "command_details",
    "command_text",
    "session_result_html",
    "session_result_text",
]

_COLOURS = {"Completed": GREEN, "Failed": RED, "Created": GREY}


def command_text(command: CommandResult) -> str:
    """Return a command as text: its type, its name or path, and its arguments unless hidden."""
    params = command.command.params
    if os.environ.get("MDE_LIVE_RESPONSE_HIDE_ARGS", "0") not in ("", "0"):
        params = {name: "***" if name == "Args" else value for name, value in params.items()}
    return strip_unprintable(" ".join([command.command.type, *params.values()]))


def command_details(command: CommandResult) -> Iterator[str]:
    """Return what is to be said of a command's result, a line each."""
    if command.skipped:
        yield "skipped: an earlier command failed"
    yield from (strip_unprintable(error) for error in command.errors)
    if command.script is not None and command.script.exit_code is not None:
        yield f"exit code {command.script.exit_code}"
    if command.file is not None:
        yield f"{format_size(command.file.size)}, SHA-256 {command.file.sha256}"
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
        lines.append(strip_unprintable(f"not ok ({result.reason}): {result.message}"))
    for command in result.commands:
        lines.append(
            f"  [{command.index}] {command_text(command)}: {strip_unprintable(command.status)}"
        )
        lines.extend(f"      {detail}" for detail in command_details(command))
        if command.script is not None:
            # `text` is already free of control characters; `stderr` is as the device sent it.
            lines.extend(f"      | {line}" for line in command.script.text.splitlines())
            lines.extend(
                f"      ! {strip_unprintable(line)}" for line in command.script.stderr.splitlines()
            )
    return "\n".join(lines)


def _command_rows(command: CommandResult) -> Html:
    """Return the details and the output of a command."""
    details = "".join(f"<div>{line}</div>" for line in map(escape_text, command_details(command)))
    script = command.script
    if script is not None and script.text:
        details += output_block(script.text)
    if script is not None and script.stderr:
        details += output_block(script.stderr, "stderr", RED)
    return Html(details)


def _command_status(command: CommandResult) -> Html:
    return dot(_COLOURS.get(command.status, AMBER), command.status)


def command_card(command: CommandResult) -> Html:
    """Return one command as HTML, for `CommandResult._repr_html_`."""
    fields = (("status", _command_status(command)), ("result", _command_rows(command)))
    return card(f"{command.index}: {command_text(command)}", fields)


def session_result_html(result: SessionResult) -> Html:
    """Return a session's result as HTML, for `SessionResult._repr_html_`."""
    rows = [
        (command.index, command_text(command), _command_status(command), _command_rows(command))
        for command in result.commands
    ]
    action: MachineAction = result.action
    reason = "ok" if result.ok else f"not ok ({result.reason}): {result.message}"
    fields = (
        ("result", dot(GREEN if result.ok else RED, reason)),
        ("status", action.status),
        ("session", action.id),
    )
    name = action.computer_dns_name or action.machine_id or "machine"
    return card(name, fields, html_table(("#", "command", "status", "result"), rows))
