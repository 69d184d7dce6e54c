"""Shows results and progress in a notebook and on a terminal.

All text from a device or the service is escaped or stripped, because the device may be hostile.
"""

from __future__ import annotations

from .clean import machine_label, strip_unprintable
from .progress import ProgressLine, print_safely, report_failed_display

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .session import command_text, session_result_html, session_result_text
    from .tables import Table, table

__all__ = [
    "ProgressLine",
    "Table",
    "command_text",
    "machine_label",
    "print_safely",
    "report_failed_display",
    "session_result_html",
    "session_result_text",
    "strip_unprintable",
    "table",
]

_LAZY = {
    "Table": "tables",
    "command_text": "session",
    "session_result_html": "session",
    "session_result_text": "session",
    "table": "tables",
}
"""The names that are imported when they are first used: the command line needs few of them."""


def __getattr__(name: str) -> object:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{module}"), name)
