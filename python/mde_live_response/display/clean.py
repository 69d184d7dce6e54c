"""Makes text from a device or the service safe to show: the device may be hostile."""

from __future__ import annotations

__all__ = ["escape_text", "format_size", "format_time", "machine_label", "strip_unprintable"]

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

    from mde_live_response import Outcome


def strip_unprintable(text: object) -> str:
    """Return text without what a terminal would interpret, such as escape sequences."""
    return "".join(c for c in str(text) if c.isprintable())


def escape_text(text: object) -> str:
    """Return text for HTML."""
    from html import escape

    return escape(strip_unprintable(text))


def format_size(size: int) -> str:
    """Return a size as people read it, and in bytes."""
    value, unit = float(size), "bytes"
    for next_unit in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, next_unit
    return f"{size} bytes" if unit == "bytes" else f"{value:.1f} {unit} ({size} bytes)"


def format_time(time: datetime | None) -> str | None:
    """Return a time to the second, in UTC."""
    return None if time is None else f"{time:%Y-%m-%d %H:%M:%S} UTC"


def machine_label(outcome: Outcome) -> str:
    """Return a row's machine as passed, or its name in place of a machine id."""
    machine = outcome.machine.strip()
    is_id = len(machine) == 40 and all(digit in "0123456789abcdefABCDEF" for digit in machine)
    return (outcome.computer_dns_name or machine) if is_id else machine
