"""Read what a script printed as JSON or as a table."""

from __future__ import annotations

import csv
import json
import re
from typing import Any

_BLANKS = re.compile(r"\s*")

Records = tuple[dict[str, Any], ...]


def parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def parse_records(json_text: str, text: str) -> Records:
    """Return the records of JSON or CSV. `json_text` begins at the first JSON value."""
    if json_text.startswith(("{", "[")):
        return _read_json(json_text)
    return _read_csv(text.strip()) if text.strip() else ()


def _read_json(text: str) -> Records:
    decoder, at = json.JSONDecoder(), 0
    values: list[Any] = []
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None
        values.append(value)
        at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
    items = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    if not all(isinstance(item, dict) for item in items):
        raise ValueError("the output is JSON, but its items are not objects")
    return tuple(items)


def _read_csv(text: str) -> Records:
    # Windows PowerShell's ConvertTo-Csv begins with the type of the objects.
    if text.startswith("#TYPE "):
        text = text.partition("\n")[2]
    try:
        header, *rows = [
            row for row in csv.reader(text.splitlines(keepends=True), strict=True) if row
        ]
    except csv.Error as error:
        raise ValueError(f"the output is no CSV: {error}") from error
    # One line, or one column, is rather a message.
    if not rows or len(header) < 2 or len(set(header)) < len(header):
        raise ValueError("the output is neither JSON objects nor CSV with a header")
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"the output is no CSV: {len(header)} columns, a row has {len(row)}")
    return tuple(dict(zip(header, row, strict=True)) for row in rows)
