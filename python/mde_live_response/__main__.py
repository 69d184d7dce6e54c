"""The command line: `python -m mde_live_response`.

Exit codes: 0 success; 1 the session ended and was not ok; 2 wrong usage; 3 the service, a
permission or a limit prevented it; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from io import TextIOWrapper
from pathlib import Path

import mde_live_response as mde
from mde_live_response import _emulator_cli, _verify
from mde_live_response._command_options import add_command_options, read_commands
from mde_live_response._state_cli import add_commands
from mde_live_response.display import print_safely

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["main"]

OK, FAILED, USAGE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130

_DUMP_PATH = r"C:\windows\TEMP\OfficeClickToRun.dmp.zip"


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mde_live_response", description=mde.__doc__, allow_abbrev=False
    )
    parser.add_argument(
        "--version", action="version", version=f"mde-live-response {mde.__version__}"
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="emulator|demo|run|state|verify"
    )
    _add_emulator(commands)
    _add_demo(commands)
    _add_run(commands)
    add_commands(commands)
    _verify.add_command(commands)
    return parser


def _add_emulator(commands: Any) -> None:
    emulator = commands.add_parser(
        "emulator",
        allow_abbrev=False,
        help="serve the live response API on this machine until stopped",
        description=_emulator_cli.DESCRIPTION,
        epilog=_emulator_cli.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _emulator_cli.add_arguments(emulator)
    emulator.set_defaults(call=_emulator_cli.serve)


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        allow_abbrev=False,
        help="run the documentation's example against the emulator; needs no tenant",
    )
    demo.add_argument(
        "--save-to",
        type=Path,
        default=Path("mde-live-response-demo"),
        metavar="DIR",
        help="folder for the collected file (default: %(default)s)",
    )
    demo.set_defaults(call=_demo)


def _add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        allow_abbrev=False,
        help="run commands on a machine of your tenant",
        description="Run commands on a machine and print the results. The service runs every "
        "--put first, then every --run, then every --get-file. Local files and code are uploaded "
        "to the library first, with the permission Library.Manage. Credentials: "
        "AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET.",
    )
    add = run.add_argument
    add("machine", metavar="MACHINE", help="a machine id or a computer name")
    add_command_options(run)
    add("--comment", required=True, metavar="TEXT", help="the reason, stored with the action")
    add(
        "--save-to",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder for collected files (default: the current one)",
    )
    add(
        "--timeout",
        type=_seconds,
        metavar="S",
        help="seconds to wait; a submit in progress is settled first (default: no limit)",
    )
    add(
        "--on-busy",
        choices=["raise", "wait"],
        default="raise",
        help="what to do if another caller's session is on the machine (default: %(default)s)",
    )
    add("--correlation-id", metavar="ID", help="the id of an earlier call, to adopt its session")
    add(
        "--json",
        action="store_true",
        help="print the result as JSON, and everything else to stderr",
    )
    run.set_defaults(call=_run)


def _make_dump() -> bytes:
    import io
    import zipfile

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        body = "".join(f"{address:016x}  OfficeClickToRun\r\n" for address in range(0, 2**17, 16))
        archive.writestr(zipfile.ZipInfo("OfficeClickToRun.dmp"), body, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _demo(options: argparse.Namespace) -> int:
    from mde_live_response.display import ProgressLine, session_result_text
    from mde_live_response.emulator import Emulator

    machine = "ws-0001.example.test"
    with Emulator() as emulator:
        emulator.add_library_file(
            "minidump.ps1", b"# writes a process dump to C:\\windows\\TEMP\r\n"
        )
        emulator.on_script(
            "minidump.ps1", stdout=lambda _, args: f"Dumping {args}\r\nSaved {_DUMP_PATH}\r\n"
        )
        emulator.put_remote_file(machine, _DUMP_PATH, _make_dump())
        # Everything is given explicitly: the demo must not read the environment of a real tenant.
        credential = mde.ClientSecretCredential(
            emulator.tenant_id,
            emulator.client_id,
            emulator.client_secret,
            authority=emulator.login_url,
        )
        print(f"The emulator serves the live response API at {emulator.url}")
        progress = ProgressLine(sys.stdout)
        with mde.LiveResponseClient(
            credential, endpoint=emulator.url, state="memory:", proxy=False
        ) as client:
            result = client.run(
                machine,
                [
                    mde.Command.run_script("minidump.ps1", "OfficeClickToRun"),
                    mde.Command.get_file(_DUMP_PATH),
                ],
                "Testing Live Response API",
                save_to=options.save_to,
                on_update=progress,
            )
        progress.close()
        print(session_result_text(result))
    if result.ok:
        print(f"The file is in {options.save_to.resolve()}")
    return OK if result.ok else FAILED


def _run(options: argparse.Namespace) -> int:
    import uuid

    from mde_live_response.display import ProgressLine, session_result_text

    commands = read_commands(options)
    # Chosen here and not by the client, so that it can be printed after Ctrl-C.
    correlation_id = options.correlation_id or str(uuid.uuid4())
    out = sys.stderr if options.json else sys.stdout
    progress = ProgressLine(sys.stderr)
    announced: list[str] = []

    def on_update(action: mde.MachineAction) -> None:
        if not announced:
            announced.append(action.id)
            print_safely(f"Session {action.id}, correlation id {correlation_id}", out)
        progress(action)

    try:
        with mde.LiveResponseClient() as client:
            result = client.run(
                options.machine,
                commands,
                options.comment,
                save_to=options.save_to,
                timeout=options.timeout,
                on_busy=options.on_busy,
                correlation_id=correlation_id,
                on_update=on_update,
            )
    except (KeyboardInterrupt, mde.WaitTimeoutError, mde.SubmitUnknownError) as error:
        progress.close()
        started = bool(announced) or getattr(error, "session", None) is not None
        # A time-out without a session means that nothing was sent: there is nothing to adopt.
        if started or not isinstance(error, mde.WaitTimeoutError):
            print_safely(_resume_hint(started, correlation_id), sys.stderr)
        raise
    finally:
        progress.close()
    if options.json:
        import json

        print_safely(json.dumps(result.to_dict(), indent=2), sys.stdout)
    else:
        print_safely(session_result_text(result), sys.stdout)
    return OK if result.ok else FAILED


def _resume_hint(started: bool, correlation_id: str) -> str:
    state = "The session continues." if started else "A session may have been started."
    return f"{state} To adopt it, run the same command with --correlation-id {correlation_id}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    # A missing descriptor (2>&-) would become that of the first file or connection.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    options = _build_parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A transcript may contain characters that the terminal's encoding lacks.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code: int = options.call(options)
    except KeyboardInterrupt:
        print_safely("Interrupted.", sys.stderr)
        return INTERRUPTED
    except mde.InvalidRequestError as error:
        print_safely(f"error: {error}", sys.stderr)
        return USAGE
    except (mde.LiveResponseError, OSError) as error:
        print_safely(f"error: {error}", sys.stderr)
        return REFUSED
    return code


if __name__ == "__main__":
    sys.exit(main())
