"""Tables for people: aligned, cut to the width of a terminal, with colour only on a terminal."""

from __future__ import annotations

import os
import sys
from shutil import get_terminal_size

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["format_table", "wants_colour"]

_GAP = "  "
_BOLD, _RED, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[0m"
_SHORTEST = 8
"""A column is not cut below this width."""


def wants_colour() -> bool:
    """Return whether stdout is a terminal whose user did not set `NO_COLOR`."""
    return bool(
        sys.stdout is not None
        and sys.stdout.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


def format_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    width: int | None = None,
    colour: bool | None = None,
    bad_rows: Iterable[int] = (),
) -> str:
    """Return a table as text.

    `width` is the most columns of a line. By default it is that of the terminal; without a
    terminal nothing is cut, so that other programs get every value whole. The first column is
    cut last: it has the id or the name to copy. `bad_rows` are red.
    """
    cells = [[_to_text(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    if width is None and sys.stdout is not None and sys.stdout.isatty():
        width = get_terminal_size().columns
    colour = wants_colour() if colour is None else colour
    widths = [max(len(line[at]) for line in [list(heads), *cells]) for at in range(len(heads))]
    if width is not None:
        _shrink(widths, width - len(_GAP) * (len(heads) - 1))
    bad = set(bad_rows)
    lines = [_paint(_format_line(heads, widths), _BOLD if colour else "")]
    for number, line in enumerate(cells):
        red = _RED if colour and number in bad else ""
        lines.append(_paint(_format_line(line, widths), red))
    return "\n".join(lines)


def _to_text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    # A name or a message from outside must not move the cursor.
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def _shrink(widths: list[int], total: int) -> None:
    """Cut the widest columns until the line fits, and the first one last."""
    for first in (1, 0):
        while sum(widths) > total and max(widths[first:], default=0) > _SHORTEST:
            widths[widths.index(max(widths[first:]), first)] -= 1


def _format_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = [
        cell if len(cell) <= width else f"{cell[: width - 1]}…"
        for cell, width in zip(cells, widths, strict=True)
    ]
    padded = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
    return _GAP.join(padded).rstrip()


def _paint(text: str, colour: str) -> str:
    return f"{colour}{text}{_PLAIN}" if colour else text
