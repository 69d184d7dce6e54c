"""The commands for sessions that exist: `sessions`, `status`, `result`, `cancel`, `download`."""

from __future__ import annotations

from pathlib import Path

from mde_live_response._cli.exit_codes import FAILED, OK
from mde_live_response._cli.options import (
    add_command,
    add_save_to,
    add_timeout,
    connection_options,
    make_client,
    state_address,
    whole_number,
)
from mde_live_response._cli.output import print_document, print_list, print_note, print_text
from mde_live_response.display.text_table import format_table

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    import mde_live_response as mde

__all__ = ["add_sessions"]

_BREAK = " \\\n      "
"""Continues an example on the next line."""


def add_sessions(commands: Any) -> None:
    """Add the commands to the command line."""
    service = (connection_options(),)
    add_command(
        commands,
        "sessions",
        _sessions,
        help="list the open sessions of the state store",
        example="mde-live-response sessions --state sqlite:///runs.db",
        parents=service,
    )
    for name, call, what, more in (
        ("status", _status, "print the status of a session", ""),
        (
            "result",
            _result,
            "wait for a session and print its result",
            f"{_BREAK}--save-to evidence",
        ),
        ("cancel", _cancel, "cancel a session", f"{_BREAK}--comment 'wrong machine'"),
        (
            "download",
            _download,
            "download a file that a session collected",
            f" 0{_BREAK}--to dump.zip",
        ),
    ):
        example = f"mde-live-response {name} 5382f7ea-7557-4ab7-9782-d50480024a4e{more}"
        parser = add_command(commands, name, call, help=what, example=example, parents=service)
        parser.add_argument("action_id", metavar="ID", help="the session's id, a GUID")
        if name == "result":
            add_timeout(parser, "the session continues after that (default: no limit)")
            add_save_to(
                parser, "folder for collected files and a manifest (default: none is saved)"
            )
        elif name == "cancel":
            parser.add_argument(
                "--comment", required=True, metavar="TEXT", help="the reason, stored by the service"
            )
        elif name == "download":
            parser.add_argument(
                "index",
                type=whole_number,
                metavar="INDEX",
                help="the number of the command, which status shows",
            )
            parser.add_argument(
                "--to",
                type=Path,
                required=True,
                metavar="PATH",
                help="the file to write, which is replaced, or a folder",
            )


def _sessions(options: argparse.Namespace) -> int:
    state_address(options)
    with make_client(options) as client:
        print_list(
            client.list_sessions(),
            _session_fields,
            ("ID", "MACHINE", "CORRELATION ID"),
            _session_row,
            empty="no open sessions",
            as_json=options.json,
        )
    return OK


def _session_fields(session: mde.Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "machine_id": session.machine_id,
        "correlation_id": session.correlation_id,
        "action": session.action and session.action.to_dict(),
    }


def _session_row(session: mde.Session) -> tuple[object, ...]:
    return (session.id, session.machine_id, session.correlation_id)


def _print_action(action: mde.MachineAction, options: argparse.Namespace) -> None:
    if options.json:
        print_document(action.to_dict())
        return
    name = action.computer_dns_name or action.machine_id
    rows = [
        ("id", action.id),
        ("machine", name),
        ("status", action.status),
        ("requestor", action.requestor),
        ("comment", action.requestor_comment),
        ("created", action.creation_date_time_utc),
        ("updated", action.last_update_date_time_utc),
    ]
    if action.error_name is not None:
        rows.append(("error", action.error_name))
    lines = [format_table(("FIELD", "VALUE"), rows)]
    if action.commands:
        steps = [(c.index, c.command.type, c.status, "; ".join(c.errors)) for c in action.commands]
        lines.append(format_table(("#", "COMMAND", "STATUS", "ERRORS"), steps))
    print_text("\n\n".join(lines))


def _status(options: argparse.Namespace) -> int:
    with make_client(options) as client:
        _print_action(client.session(options.action_id).refresh(), options)
    return OK


def _result(options: argparse.Namespace) -> int:
    from mde_live_response.display import session_result_text

    with make_client(options) as client:
        session = client.session(options.action_id)
        print_note(f"Waiting for session {session.id}")
        result = session.result(
            options.timeout, save_to=options.save_to, save_transcripts=options.save_transcripts
        )
    if options.json:
        print_document(result.to_dict())
    else:
        print_text(session_result_text(result))
    return OK if result.ok else FAILED


def _cancel(options: argparse.Namespace) -> int:
    with make_client(options) as client:
        action = client.session(options.action_id).cancel(options.comment)
    _print_action(action, options)
    if not action.done:
        print_note("The service accepted the cancellation, and has not ended the session yet")
    elif action.status != "Cancelled":
        print_note("The session had ended before: nothing was cancelled")
    return OK


def _download(options: argparse.Namespace) -> int:
    with make_client(options) as client:
        file = client.session(options.action_id).download(options.index, options.to)
    if options.json:
        print_document(file.to_dict())
    else:
        print_text(f"{file.path}: {file.size} bytes, SHA-256 {file.sha256}")
    return OK
