"""The command `run`: commands on one machine, and their results."""

from __future__ import annotations

import sys
from pathlib import Path

import mde_live_response as mde
from mde_live_response._cli.command_options import add_command_options, read_commands
from mde_live_response._cli.exit_codes import FAILED, OK
from mde_live_response._cli.options import (
    add_command,
    add_save_to,
    add_timeout,
    add_wait_options,
    connection_options,
    make_client,
)
from mde_live_response._cli.output import print_document, print_note, print_text

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

__all__ = ["add_run"]


def add_run(commands: Any) -> None:
    """Add `run` to the command line."""
    run = add_command(
        commands,
        "run",
        _run,
        help="run commands on a machine of your tenant",
        description="Run commands on a machine and print the results. Credentials: "
        "AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET.",
        example="mde-live-response run ws-0042 --run-script triage.ps1 \\\n"
        "      --args '-Depth 2' --comment 'case 42'",
        parents=(connection_options(),),
    )
    run.add_argument("machine", metavar="MACHINE", help="a machine id or a computer name")
    add_command_options(run)
    add_save_to(
        run, "folder for collected files and a manifest (default: the current one)", default=Path()
    )
    add_timeout(run, "a submit in progress is settled first (default: no limit)")
    add_wait_options(run)
    run.add_argument(
        "--on-busy",
        choices=["raise", "wait"],
        default="raise",
        help="what to do if another caller's session is on the machine (default: %(default)s)",
    )
    run.add_argument(
        "--correlation-id", metavar="ID", help="the id of an earlier call, to adopt its session"
    )


def _run(options: argparse.Namespace) -> int:
    from mde_live_response._native import new_correlation_id
    from mde_live_response.display import ProgressLine, session_result_text

    commands = read_commands(options)
    # Chosen here and not by the client, so that it can be printed after Ctrl-C.
    options.correlation_id = options.correlation_id or new_correlation_id()
    progress = ProgressLine(sys.stderr)
    announced: list[str] = []

    def on_update(action: mde.MachineAction) -> None:
        if not announced:
            announced.append(action.id)
            ids = f"Session {action.id}, correlation id {options.correlation_id}"
            (print_note if options.json else print_text)(ids)
        progress(action)

    try:
        with make_client(options) as client:
            result = client.run(
                options.machine,
                commands,
                options.comment,
                save_to=options.save_to,
                save_transcripts=options.save_transcripts,
                timeout=options.timeout,
                cancel_pending_after=options.cancel_pending_after,
                on_busy=options.on_busy,
                correlation_id=options.correlation_id,
                on_update=on_update,
            )
    except KeyboardInterrupt:
        progress.close()
        print_note(_resume_hint(bool(announced), options.correlation_id))
        raise
    except mde.SubmitUnknownError as error:
        error.hint = _resume_hint(bool(announced), options.correlation_id)
        raise
    except mde.WaitTimeoutError as error:
        # A timeout without a session means that nothing was sent: there is nothing to adopt.
        if announced or error.session is not None:
            error.hint = _resume_hint(True, options.correlation_id)
        raise
    finally:
        progress.close()
    if options.json:
        print_document(result.to_dict())
    else:
        print_text(session_result_text(result))
    return OK if result.ok else FAILED


def _resume_hint(started: bool, correlation_id: str) -> str:
    state = "the session continues" if started else "a session may have been started"
    return f"{state}; to adopt it, run the same command with --correlation-id {correlation_id}"
