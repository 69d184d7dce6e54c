"""What a command prints: text for people, or one JSON document on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

import mde_live_response as mde
from mde_live_response._cli.words import to_option_words
from mde_live_response.display import print_safely
from mde_live_response.display.text_table import format_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = [
    "lost_output",
    "print_document",
    "print_error",
    "print_list",
    "print_note",
    "print_text",
]

_Item = TypeVar("_Item")


lost_output: list[OSError] = []
"""Why results could not be printed. The command ends all the same."""


def print_text(text: str) -> None:
    """Print the result of a command on stdout, for people."""
    failed = print_safely(text, sys.stdout)
    if failed is not None:
        lost_output.append(failed)


def print_note(text: str) -> None:
    """Print something beside the result, on stderr."""
    print_safely(text, sys.stderr)


def print_document(document: object) -> None:
    """Print the result of a command on stdout as one JSON document."""
    import json

    print_text(json.dumps(document, indent=2, default=str))


def print_list(
    items: Sequence[_Item],
    to_fields: Callable[[_Item], object],
    heads: Sequence[str],
    to_row: Callable[[_Item], Sequence[object]],
    *,
    empty: str,
    as_json: bool,
) -> None:
    """Print a list: as a document, or else as a table, or else what `empty` says."""
    if as_json:
        print_document([to_fields(item) for item in items])
    else:
        print_text(format_table(heads, [to_row(item) for item in items]) or empty)


def print_error(error: BaseException, *, as_json: bool, **more: Any) -> None:
    """Print an error: as a document on stdout, or else as one line on stderr."""
    if as_json:
        print_document({"error": {**_error_fields(error), **more}})
        return
    print_note(f"error: {_error_text(error)}")


def _error_text(error: BaseException) -> str:
    """Return what an error says, with the hint in the words of the command line."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return to_option_words(str(error)) or type(error).__name__


def _error_fields(error: BaseException) -> dict[str, Any]:
    if isinstance(error, mde.LiveResponseError):
        fields = error.to_dict()
        if fields.get("hint"):
            fields["hint"] = to_option_words(fields["hint"])
    elif isinstance(error, KeyboardInterrupt):
        fields = mde.LiveResponseError("interrupted").to_dict()
    else:
        fields = {"message": _error_text(error)}
    return {"type": type(error).__name__, **fields}
