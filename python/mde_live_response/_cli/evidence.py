"""The commands `verify` and `pack`, for folders of collected files."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from mde_live_response._cli.exit_codes import FAILED, OK
from mde_live_response._cli.options import add_command
from mde_live_response._cli.output import print_document, print_text
from mde_live_response._cli.words import count

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mde_live_response.evidence import Verification

__all__ = ["add_evidence"]


def add_evidence(commands: Any) -> None:
    """Add `verify` and `pack` to the command line."""
    verify = add_command(
        commands,
        "verify",
        _verify,
        help="check a folder of collected files against its manifest",
        description="Hash every file that a run's manifest lists, and check that no line of the "
        "manifest was changed, removed or moved. Prints each problem, and the hash of the last "
        "line. Exit code 0: no problems.",
        example="mde-live-response verify evidence",
    )
    pack = add_command(
        commands,
        "pack",
        _pack,
        help="put a folder of collected files into one zip, checked before and after",
        description="Check the folder, write its manifest and the files that it lists to one zip, "
        "and check the zip. Prints the zip's SHA-256. A folder with problems is not packed.",
        example="mde-live-response pack evidence --to case-42.zip",
    )
    for parser in (verify, pack):
        parser.add_argument("folder", type=Path, metavar="DIR", help="the folder that was save_to")
        parser.add_argument(
            "--last",
            type=_sha256,
            metavar="SHA256",
            help="the hash of the last line, as noted at the run's end",
        )
        parser.add_argument(
            "--audit",
            type=Path,
            metavar="FILE",
            help="an export of the tenant's audit log (CSV or JSON) to compare",
        )
    pack.add_argument(
        "--to", type=Path, metavar="ZIP", help="the zip to write (default: DIR.zip, beside DIR)"
    )


def _sha256(text: str) -> str:
    if re.fullmatch("[0-9a-fA-F]{64}", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a SHA-256: 64 hexadecimal digits")
    return text


def _require_files(options: argparse.Namespace) -> None:
    """Raise an error for a folder or an audit log that cannot be read: it is no finding."""
    next(options.folder.iterdir(), None)
    if options.audit is not None:
        options.audit.open("rb").close()


def _verify(options: argparse.Namespace) -> int:
    from mde_live_response.evidence import verify

    _require_files(options)
    verification = verify(options.folder, last=options.last, audit=options.audit)
    if options.json:
        print_document(verification.to_dict())
    else:
        _print_verification(verification)
    return OK if verification.ok else FAILED


def _pack(options: argparse.Namespace) -> int:
    from mde_live_response.evidence import pack

    _require_files(options)
    packed = pack(options.folder, options.to, last=options.last, audit=options.audit)
    if options.json:
        print_document(packed.to_dict())
    else:
        _print_verification(packed.verification)
        if packed.path is not None:
            print_text(f"{packed.path}: {packed.size} bytes, SHA-256 {packed.sha256}")
        else:
            print_text("nothing was packed")
    return OK if packed.verification.ok else FAILED


def _print_verification(verification: Verification) -> None:
    for problem in verification.problems:
        print_text(problem)
    if verification.last is not None:
        wrong = len(verification.problems) or "nothing"
        print_text(
            f"{count(verification.files, 'file')}, {wrong} wrong; "
            f"the last line's SHA-256: {verification.last}"
        )
    if (audit := verification.audit) is not None:
        print_text(
            f"audit log: {count(audit['events'], 'event')} of live response; it has the SHA-256 of "
            f"{count(audit['hash'], 'file')}, only the command of {audit['command']}, nothing of "
            f"{audit['none']}, and another SHA-256 of {audit['contradicted']}"
        )
