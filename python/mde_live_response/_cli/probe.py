"""The command `probe`."""

from __future__ import annotations

import json
from pathlib import Path

import mde_live_response as mde
from mde_live_response._cli.exit_codes import OK
from mde_live_response._cli.options import add_command, connection_options, make_client
from mde_live_response._cli.output import print_document, print_note, print_text
from mde_live_response.display.text_table import format_table

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

__all__ = ["add_probe"]

_DESCRIPTION = (
    "Observe how the tenant's service behaves where its documentation says nothing. Without "
    "MACHINE the command only reads. With MACHINE it also runs a few harmless scripts of its own "
    "there. It never tests a rate or a limit. The profile has no name, id, path, address or text "
    "of the tenant."
)
_UNCUT = 100_000
"""The width of the tables: their reader must see all that will be in the file."""
_CONTENT = (
    "This is all that the profile has: no name, id, path, address or text of the tenant.\n"
    "What was not seen is absent: it need not be the default."
)


def add_probe(commands: Any) -> None:
    """Add `probe` to the command line."""
    probe = add_command(
        commands,
        "probe",
        _probe,
        help="observe what the service's documentation does not say",
        description=_DESCRIPTION,
        example="mde-live-response probe --save profile.json",
        parents=(connection_options(),),
    )
    probe.add_argument(
        "machine",
        nargs="?",
        metavar="MACHINE",
        help="a machine id or a computer name: run the scripts there",
    )
    probe.add_argument(
        "--save", type=Path, metavar="PATH", help="save the profile as JSON, after it is shown"
    )


def _probe(options: argparse.Namespace) -> int:
    save: Path | None = options.save
    # Before the probe: its result would be lost.
    if save is not None and (save.is_dir() or not save.parent.is_dir()):
        raise mde.InvalidRequestError(
            f"--save is {str(save)!r}, which is a folder or in a folder that does not exist",
            hint="give the path of a file in a folder that exists",
        )
    with make_client(options) as client:
        profile = client.probe(options.machine)
    if options.json:
        print_document(profile.to_dict())
    else:
        _show(profile)
    if save is not None:
        profile.save(save)
        print_note(f"Saved to {save}")
    return OK


def _show(profile: mde.Profile) -> None:
    counts = profile.counts
    rows = [(name, json.dumps(value), counts[name]) for name, value in profile.observed.items()]
    print_text(
        format_table(("SWITCH", "OBSERVED", "TIMES"), rows, width=_UNCUT)
        or "no switch was observed"
    )
    facts = [row for name, value in profile.facts.items() for row in _fact_rows(name, value)]
    if facts:
        print_text("")
        print_text(format_table(("FACT", "", "OBSERVED"), facts, width=_UNCUT))
    print_text("")
    print_text(_CONTENT)


def _fact_rows(name: str, value: object) -> list[tuple[str, str, str]]:
    if isinstance(value, dict):
        return [(name, word, json.dumps(seen)) for word, seen in value.items()]
    return [(name, "", json.dumps(value))]
