"""The command `demo`: the documentation's example against the emulator."""

from __future__ import annotations

import sys
from pathlib import Path

import mde_live_response as mde
from mde_live_response._cli.exit_codes import FAILED, OK
from mde_live_response._cli.options import add_command
from mde_live_response._cli.output import print_document
from mde_live_response.display import print_safely

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

__all__ = ["add_demo"]

_DUMP_PATH = r"C:\windows\TEMP\OfficeClickToRun.dmp.zip"


def add_demo(commands: Any) -> None:
    """Add `demo` to the command line."""
    demo = add_command(
        commands,
        "demo",
        _demo,
        help="run the documentation's example against the emulator; needs no tenant",
        description="Start the emulator, run a script on one of its machines, and collect a file. "
        "Needs no tenant; nothing leaves this computer.",
        example="mde-live-response demo --save-to out",
    )
    demo.add_argument(
        "--save-to",
        type=Path,
        default=Path("mde-live-response-demo"),
        metavar="DIR",
        help="folder for the collected file (default: %(default)s)",
    )


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
    out = sys.stderr if options.json else sys.stdout
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
        print_safely(f"The emulator serves the live response API at {emulator.url}", out)
        progress = ProgressLine(out)
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
        print_safely(session_result_text(result), out)
    if options.json:
        print_document(result.to_dict())
    if result.ok:
        print_safely(f"The file is in {options.save_to.resolve()}", out)
    return OK if result.ok else FAILED
