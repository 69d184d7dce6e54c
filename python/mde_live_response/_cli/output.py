"""What a command prints: text for people, or one JSON document on stdout."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, TypeVar

import mde_live_response as mde
from mde_live_response.display import print_safely
from mde_live_response.display.text_table import format_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = [
    "print_document",
    "print_error",
    "print_list",
    "print_note",
    "print_text",
    "to_option_words",
]

_Item = TypeVar("_Item")

_OPTIONS = {
    "cancel_pending_after",
    "correlation_id",
    "description",
    "endpoint",
    "filter",
    "name",
    "on_busy",
    "overwrite",
    "parameters_description",
    "run_id",
    "save_to",
    "save_transcripts",
    "tenant_id",
    "timeout",
    "top",
    "until",
}
"""The parameters of the Python API that are options of the command line."""

_CALLS = {
    "find_session()": "run with the same --correlation-id",
    'list_machines("aadDeviceId eq <id>")': 'machines --filter "aadDeviceId eq <id>"',
    "list_machines(ip=...)": "machines --ip",
    "library.list()": "library list",
    "library.list_files()": "library list",
    "resume(run_id)": "the command resume",
    "session.id": "the command sessions",
}
"""Calls of the Python API in hints, and the words of the command line for them."""


def print_text(text: str) -> None:
    """Print the result of a command on stdout, for people."""
    print_safely(text, sys.stdout)


def print_note(text: str) -> None:
    """Print something beside the result, on stderr."""
    print_safely(text, sys.stderr)


def print_document(document: object) -> None:
    """Print the result of a command on stdout as one JSON document."""
    import json

    print_safely(json.dumps(document, indent=2, default=str), sys.stdout)


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
    text = str(error) if str(error) else type(error).__name__
    print_note(f"error: {to_option_words(text)}")


def to_option_words(text: str) -> str:
    """Replace the words of the Python API in a hint by those of the command line."""
    for call, words in _CALLS.items():
        text = text.replace(call, words)

    def replace(found: re.Match[str]) -> str:
        name, value = found["name"], (found["value"] or "").strip("\"'")
        if name not in _OPTIONS:
            return found[0]
        option = f"--{name.replace('_', '-')}"
        return option if value in ("", "True") else f"{option} {value}"

    return re.sub(r"\b(?P<name>[a-z_]+)=(?P<value>\"\w+\"|'\w+'|True|\w*)", replace, text)


def _error_fields(error: BaseException) -> dict[str, Any]:
    if isinstance(error, mde.LiveResponseError):
        fields = error.to_dict()
        if fields.get("hint"):
            fields["hint"] = to_option_words(fields["hint"])
    elif isinstance(error, KeyboardInterrupt):
        fields = {"message": "interrupted"}
    else:
        fields = {"message": str(error)}
    return {"type": type(error).__name__, **fields}
