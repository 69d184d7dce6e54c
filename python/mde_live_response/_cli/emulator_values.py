"""Parses the values of the options of the command `emulator`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mde_live_response._cli.options import seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "existing_file",
    "pair_with_code",
    "pair_with_file",
    "pair_with_seconds",
    "port",
    "proxy_port",
    "switch",
]


def port(text: str) -> int:
    """Parse a port. 0 is a free one."""
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give 0 to 65535")
    return int(text)


def proxy_port(text: str) -> int:
    """Parse the port of a proxy."""
    number = port(text)
    if number == 0:
        raise argparse.ArgumentTypeError("'0' is not a port of a proxy: give 1 to 65535")
    return number


def pair(text: str) -> tuple[str, str]:
    """Parse `NAME=VALUE`."""
    # NAME may be a remote path with `=` in it, so the last `=` separates.
    name, separator, value = text.rpartition("=")
    if not (separator and name and value):
        raise argparse.ArgumentTypeError(f"{text!r} must have the form NAME=VALUE")
    return name, value


def pair_with_file(text: str) -> tuple[str, Path]:
    """Parse `NAME=FILE`."""
    name, value = pair(text)
    return name, existing_file(value)


def pair_with_code(text: str) -> tuple[str, int]:
    """Parse `NAME=N`."""
    name, value = pair(text)
    try:
        return name, int(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not an exit code") from None


def pair_with_seconds(text: str) -> tuple[str, float]:
    """Parse `NAME=SECONDS`."""
    name, value = pair(text)
    return name, seconds(value)


def existing_file(text: str) -> Path:
    """Parse the path of a file that exists."""
    path = Path(text)
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise argparse.ArgumentTypeError(f"file {text!r} {what}")
    return path


def switch(text: str) -> tuple[str, Any]:
    """Parse `NAME=VALUE`. A value that is not JSON is a string."""
    name, separator, value = text.partition("=")
    if not (separator and name):
        raise argparse.ArgumentTypeError(f"{text!r} must have the form NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
