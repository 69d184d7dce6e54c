"""Options that several commands share, and the client that they describe."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

import mde_live_response as mde

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "STATE_VARIABLE",
    "add_command",
    "add_save_to",
    "add_timeout",
    "add_wait_options",
    "age",
    "connection_options",
    "decimal_number",
    "duration",
    "has_shared_store",
    "make_client",
    "seconds",
    "state_address",
    "whole_number",
]

STATE_VARIABLE = "MDE_LIVE_RESPONSE_STATE"

_VERSION = f"mde-live-response {mde.__version__}"


_UNITS = {
    "s": ("seconds", 1.0),
    "m": ("minutes", 60.0),
    "h": ("hours", 3600.0),
    "d": ("days", 86_400.0),
}


def duration(text: str, unit: str) -> float:
    """Parse a duration, such as `90` in this unit or `2h`, and return it in seconds."""
    letter = text[-1:].lower() if text[-1:].lower() in _UNITS else ""
    try:
        value = float(text[: len(text) - len(letter)]) * _UNITS[letter or unit][1]
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        name = _UNITS[unit][0]
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a duration: give a number of {name}, 0 or more, or one with a unit, "
            "such as 90s, 15m, 2h or 3d"
        )
    return value


def age(text: str) -> float:
    """Parse an age. What deletes must not guess a unit."""
    if duration(text, "d") and text[-1:].lower() not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} has no unit: give {text}d for days, or {text}h")
    return duration(text, "d")


def seconds(text: str) -> float:
    """Parse a duration in seconds, unless it has another unit."""
    return duration(text, "s")


def decimal_number(text: str) -> float:
    """Parse a number. The library checks its bounds."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def whole_number(text: str) -> int:
    """Parse a whole number. The library checks its bounds."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


_CONNECTION = (
    ("--cloud", "NAME", "the cloud (default: $MDE_LIVE_RESPONSE_CLOUD, or public)"),
    ("--endpoint", "URL", "the API's address (default: the cloud's)"),
    (
        "--state",
        "ADDRESS",
        "the state store that processes share: sqlite:///path or redis://host:6379/0. "
        "$MDE_LIVE_RESPONSE_STATE keeps a password out of the process list (default: memory)",
    ),
    ("--tenant-id", "ID", "refuse a token of another tenant"),
)


def connection_options() -> argparse.ArgumentParser:
    """Return the options of every command that calls the service, as a parent parser."""
    parent = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    group = parent.add_argument_group("service")
    for name, metavar, what in _CONNECTION:
        group.add_argument(name, metavar=metavar, help=what)
    return parent


def _ignored_options() -> argparse.ArgumentParser:
    """Return the same options for commands that call no service: callers may always pass them."""
    parent = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name, metavar, _ in _CONNECTION:
        parent.add_argument(name, metavar=metavar, help=argparse.SUPPRESS)
    return parent


def add_command(
    commands: Any,
    name: str,
    call: Callable[[argparse.Namespace], int],
    *,
    help: str,  # noqa: A002 - argparse's own word
    example: str,
    description: str | None = None,
    parents: tuple[argparse.ArgumentParser, ...] = (),
) -> argparse.ArgumentParser:
    """Add a command with an example and the options of every command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=description or f"{help[0].upper()}{help[1:]}.",
        epilog=f"example:\n  {example}",
        parents=parents or (_ignored_options(),),
        # A command may have an own option of the same name.
        conflict_handler="error" if parents else "resolve",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document; everything else on stderr"
    )
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="log to stderr; -vv: every request"
    )
    parser.add_argument("--version", action="version", version=_VERSION)
    parser.set_defaults(call=call)
    return parser


def add_timeout(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--timeout`."""
    parser.add_argument("--timeout", type=seconds, metavar="S", help=f"seconds to wait; {what}")


def add_save_to(parser: argparse.ArgumentParser, what: str, *, default: Path | None = None) -> None:
    """Add `--save-to` and `--save-transcripts`."""
    parser.add_argument("--save-to", type=Path, metavar="DIR", default=default, help=what)
    parser.add_argument(
        "--save-transcripts",
        action="store_true",
        help="save the output of each script there too, as the service returned it",
    )


def add_wait_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that start sessions."""
    parser.add_argument(
        "--cancel-pending-after",
        type=seconds,
        metavar="S",
        help="cancel a session that the device has not started after S seconds",
    )


def make_client(options: argparse.Namespace) -> mde.LiveResponseClient:
    """Make the client. The credential comes from the environment."""
    return mde.LiveResponseClient(
        cloud=options.cloud,
        endpoint=options.endpoint,
        state=options.state,
        tenant_id=options.tenant_id,
    )


def has_shared_store(options: argparse.Namespace) -> bool:
    """Return whether another process can read what this one stores."""
    address = options.state or os.environ.get(STATE_VARIABLE, "")
    return address not in ("", "memory:")


def state_address(options: argparse.Namespace) -> str:
    """Return the address of the state store, for a command that reads what others stored."""
    given = getattr(options, "address", None) or options.state
    address = given or os.environ.get(STATE_VARIABLE, "")
    if not address:
        raise mde.InvalidRequestError(
            "no state store was given", hint=f"give --state ADDRESS, or set {STATE_VARIABLE}"
        )
    if address == "memory:":
        raise mde.InvalidRequestError(
            "a memory store cannot be read from another process",
            hint="use sqlite:///path or redis://host:6379/0",
        )
    scheme, _, path = str(address).partition(":///")
    # A client would create it: the address was mistyped.
    if scheme.lower() == "sqlite" and not Path(path).exists():
        raise mde.InvalidRequestError(
            f"there is no state store at {path}",
            hint="check the path; the first command that starts a session creates the store",
        )
    return str(address)
