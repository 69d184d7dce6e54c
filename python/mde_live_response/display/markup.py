"""The HTML that notebooks show: tables, cards and words with a coloured dot.

Every style is inline: a notebook that is not trusted drops style sheets. The text has the colour
of the page, so that it is read on a light and on a dark one, and no meaning is in a colour alone.
"""

from __future__ import annotations

from .clean import escape_text

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "AMBER",
    "GREEN",
    "GREY",
    "MAX_ROWS",
    "RED",
    "Html",
    "card",
    "dot",
    "html_table",
    "output_block",
    "to_cell",
]

# Each has a contrast of three or more to white and to the black of dark themes.
GREEN, RED, AMBER, GREY = "#2e9e4f", "#e5484d", "#b7791f", "#808080"

MAX_ROWS = 500
"""The most rows of one table."""
_MAX_OUTPUT = 20_000
"""The most characters of one script's output."""
_MAX_CELL = 2_000
"""The most characters of one cell."""

_MAX_UNBROKEN = 40
"""The most characters of a cell that is kept in one line: a name breaks at its hyphens else."""

_LINE = "1px solid rgba(128,128,128,.35)"
# JupyterLab aligns the cells of a table to the right.
_CELL = f"text-align:left;vertical-align:top;padding:.2em .8em .2em 0;border-bottom:{_LINE}"
_OUTPUT = (
    "text-align:left;font-family:monospace;white-space:pre-wrap;overflow-wrap:anywhere;"
    "margin:.2em 0;padding:.2em .6em;border-left:3px solid {colour}"
)


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def to_cell(value: object) -> Html:
    """Return a value as the HTML of a cell."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html("")
    if isinstance(value, bool):
        return Html("yes" if value else "no")
    if isinstance(value, (tuple, list)):
        return Html(", ".join(map(escape_text, value)))
    text = str(value)
    if len(text) > _MAX_CELL or len(text.splitlines()) > 1:
        return output_block(text, limit=_MAX_CELL)
    return Html(escape_text(text))


def dot(colour: str, words: object) -> Html:
    """Return words after a coloured dot."""
    return Html(
        f'<span style="color:{colour}" aria-hidden="true">&#9679;</span>&nbsp;{escape_text(words)}'
    )


def output_block(
    text: str, label: str = "", colour: str = GREY, *, limit: int = _MAX_OUTPUT
) -> Html:
    """Return the output of a script: monospaced, with its label, cut if it is long."""
    lines = "\n".join(map(escape_text, text[:limit].splitlines()))
    cut = f"\n&hellip; {len(text) - limit} more characters" if len(text) > limit else ""
    title = (
        f'<div style="text-align:left"><small>{escape_text(label)}</small></div>' if label else ""
    )
    return Html(f'{title}<pre style="{_OUTPUT.format(colour=colour)}">{lines}{cut}</pre>')


def _style_of(value: object) -> str:
    is_short = not isinstance(value, (Html, list, tuple)) and len(str(value)) <= _MAX_UNBROKEN
    return f'style="{_CELL}{";white-space:nowrap" if is_short else ""}"'


def html_table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, left_out: int = 0
) -> Html:
    """Return a table. `left_out` is the number of rows that are not shown."""
    head = "".join(f"<th {_style_of(text)}>{escape_text(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td {_style_of(value)}>{to_cell(value)}</td>" for value in row) + "</tr>"
        for row in rows
    )
    more = f"<p>{left_out} more are not shown.</p>" if left_out else ""
    return Html(
        '<table style="border-collapse:collapse;margin-left:0">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
    )


def card(title: object, fields: Iterable[tuple[str, object]], *more: Html) -> Html:
    """Return one thing: its title, and a line for each field that has a value."""
    lines = "".join(
        f'<tr><th scope="row" style="{_CELL};font-weight:normal;opacity:.75">{escape_text(name)}'
        f'</th><td style="{_CELL}">{to_cell(value)}</td></tr>'
        for name, value in fields
        if value not in (None, "", (), [])
    )
    body = f'<table style="border-collapse:collapse;margin-left:0"><tbody>{lines}</tbody></table>'
    heading = f'<div style="text-align:left"><b>{to_cell(title)}</b></div>'
    return Html(heading + (body if lines else "") + "".join(more))
