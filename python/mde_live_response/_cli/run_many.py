"""The commands `run-many`, `resume` and `runs`: runs over many machines."""

from __future__ import annotations

import sys
from pathlib import Path

import mde_live_response as mde
from mde_live_response._cli.command_options import add_command_options, read_commands
from mde_live_response._cli.exit_codes import FAILED, OK
from mde_live_response._cli.inventory import add_selection, has_selection, select_machines
from mde_live_response._cli.options import (
    add_command,
    add_save_to,
    add_timeout,
    add_wait_options,
    connection_options,
    has_shared_store,
    make_client,
    seconds,
    state_address,
)
from mde_live_response._cli.output import print_document, print_list, print_note, print_text
from mde_live_response._cli.words import count
from mde_live_response._progress import Progress
from mde_live_response.display import machine_label
from mde_live_response.display.text_table import format_table

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

__all__ = ["add_run_many"]

_SEPARATORS = ",;\"' \t"
"""No name of a machine has one: the list is a CSV file, or was pasted as one argument."""


def add_run_many(commands: Any) -> None:
    """Add `run-many`, `resume` and `runs` to the command line."""
    run_many = add_command(
        commands,
        "run-many",
        _run_many,
        help="run commands on many machines",
        description="Run the same commands on many machines, and print one line for each. The "
        "machines come from the arguments, from a file or from a selection.",
        example="mde-live-response run-many --machines-from hosts.txt \\\n"
        "      --run-script triage.ps1 --comment 'case 42' --save-to evidence\n"
        "  mde-live-response run-many --tag vip \\\n"
        "      --run-inline Get-Process --comment 'case 42'",
        parents=(connection_options(),),
    )
    run_many.add_argument(
        "machine", nargs="*", metavar="MACHINE", help="a machine id or a computer name"
    )
    run_many.add_argument(
        "--machines-from",
        metavar="FILE",
        help="a file with one machine a line, - for stdin; # begins a comment",
    )
    add_selection(run_many)
    add_command_options(run_many)
    add_save_to(run_many, "folder for collected files and a manifest (default: none is saved)")
    run_many.add_argument(
        "--run-id", metavar="ID", help="name of the run; an existing one is continued"
    )
    _add_until(run_many)
    add_wait_options(run_many)
    add_timeout(run_many, "sessions continue after that (default: no limit)")
    resume = add_command(
        commands,
        "resume",
        _resume,
        help="continue a run of the state store",
        example="mde-live-response resume case-42 --state sqlite:///runs.db",
        parents=(connection_options(),),
    )
    resume.add_argument("run_id", metavar="RUN_ID", help="the id that run-many printed")
    _add_until(resume)
    add_timeout(resume, "sessions continue after that (default: no limit)")
    add_command(
        commands,
        "runs",
        _runs,
        help="list the runs of the state store, newest first",
        example="mde-live-response runs --state sqlite:///runs.db",
        parents=(connection_options(),),
    )


def _add_until(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--until",
        type=seconds,
        metavar="S",
        help="for S seconds from now, try machines that are off once more when the service has "
        "seen them (default: a new run gives up after two hours)",
    )


def _run_many(options: argparse.Namespace) -> int:
    commands = read_commands(options)
    with make_client(options) as client:
        machines = _find_machines(client, options)
        fleet = client.run_many(
            machines,
            commands,
            options.comment,
            save_to=options.save_to,
            save_transcripts=options.save_transcripts,
            run_id=options.run_id,
            cancel_pending_after=options.cancel_pending_after,
            until=options.until,
        )
        return _wait_for(client, fleet, options)


def _resume(options: argparse.Namespace) -> int:
    state_address(options)
    with make_client(options) as client:
        fleet = client.resume(options.run_id, until=options.until)
        return _wait_for(client, fleet, options)


def _runs(options: argparse.Namespace) -> int:
    state_address(options)
    with make_client(options) as client:
        print_list(
            client.list_runs(),
            mde.Run.to_dict,
            ("RUN", "STARTED", "DONE", "OK", "COMMENT"),
            _run_row,
            empty="no runs",
            as_json=options.json,
        )
    return OK


def _run_row(run: mde.Run) -> tuple[object, ...]:
    cancelled = ", cancelled" if run.cancelled else ""
    done = f"{run.done} of {run.machines}{cancelled}"
    return (run.run_id, f"{run.created:%Y-%m-%d %H:%M}", done, run.ok, run.comment)


def _find_machines(
    client: mde.LiveResponseClient, options: argparse.Namespace
) -> list[str | mde.Machine]:
    names = [*options.machine]
    if options.machines_from:
        names += _read_machines(options.machines_from)
    _check_names(names)
    machines: list[str | mde.Machine] = [*names]
    is_selected = has_selection(options)
    if machines and is_selected:
        raise mde.InvalidRequestError(
            "machines were given, and a selection too",
            hint="give names, or a selection such as --filter: it does not narrow the names",
        )
    if is_selected:
        machines += select_machines(client, options)
    if not machines and is_selected:
        raise mde.InvalidRequestError(
            "no machine satisfies the selection",
            hint="the command machines takes the same options, and shows what they select",
        )
    if not machines:
        raise mde.InvalidRequestError(
            "no machines were given",
            hint="give their names, --machines-from FILE, or a selection such as --filter",
        )
    return machines


def _check_names(names: list[str]) -> None:
    for name in names:
        if Path(name).is_file():
            hint = f"to read the machines from it, give --machines-from {name}"
            raise mde.InvalidRequestError(f"{name!r} is a file", hint=hint)
        if any(character in _SEPARATORS for character in name):
            raise mde.InvalidRequestError(
                f"{name!r} is not the name of one machine",
                hint="give one machine to an argument, and one to a line of --machines-from",
            )


def _read_machines(source: str) -> list[str]:
    content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    # PowerShell 5 writes UTF-16.
    is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        message = f"the list of machines is not UTF-8: {source}"
        raise mde.InvalidRequestError(message, hint="write it as UTF-8") from None
    names = (line.partition("#")[0].strip() for line in text.splitlines())
    return [name for name in names if name]


def _wait_for(client: mde.LiveResponseClient, fleet: mde.Fleet, options: argparse.Namespace) -> int:
    options.run_id = fleet.run_id
    # Before the progress, which does not end its line.
    print_note(f"Run {fleet.run_id}, {count(len(fleet), 'machine')}")
    progress = Progress(fleet)
    try:
        try:
            report = fleet.report(options.timeout)
        finally:
            progress.finish()
    except KeyboardInterrupt:
        _print_sessions(client, fleet)
        print_note(_how_to_resume(fleet, options))
        raise
    except mde.WaitTimeoutError as error:
        _print_sessions(client, fleet)
        error.hint = _how_to_resume(fleet, options)
        raise
    if options.json:
        rows = list(report.to_dicts())
        print_document({"run_id": report.run_id, "ok": report.ok, "outcomes": rows})
    else:
        print_text(_format_report(report))
    return OK if report.ok else FAILED


def _print_sessions(client: mde.LiveResponseClient, fleet: mde.Fleet) -> None:
    for session in client.list_sessions():
        # The store has those of other runs too.
        if (session.correlation_id or "").rpartition("/")[0] == fleet.run_id:
            print_note(f"Session {session.id} continues at the service")


def _how_to_resume(fleet: mde.Fleet, options: argparse.Namespace) -> str:
    if has_shared_store(options):
        return (
            f"to continue the run: mde-live-response resume {fleet.run_id}, with the same --state"
        )
    return "without a state store (--state), the run itself cannot be continued"


def _format_report(report: mde.FleetReport) -> str:
    heads = ("MACHINE", "STATUS", "REASON", "EXIT", "MESSAGE")
    rows = [
        (
            machine_label(outcome),
            outcome.status,
            outcome.reason,
            row["exit_code"],
            "" if outcome.ok else outcome.message,
        )
        for outcome, row in zip(report, report.to_dicts(), strict=True)
    ]
    bad = [number for number, outcome in enumerate(report) if not outcome.ok]
    return f"{format_table(heads, rows, bad_rows=bad)}\n{len(rows) - len(bad)} of {len(rows)} ok"
