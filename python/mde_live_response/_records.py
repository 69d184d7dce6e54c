"""Reads what scripts printed as JSON or as a table."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any

from mde_live_response.display import machine_label

if TYPE_CHECKING:
    from mde_live_response import FleetReport, Outcome, ScriptOutput

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
        # Not `splitlines()`: it also splits at characters that a value may have, such as U+2028.
        lines = io.StringIO(text, newline="")
        header, *rows = [row for row in csv.reader(lines, strict=True) if row]
    except csv.Error as error:
        raise ValueError(f"the output is no CSV: {error}") from error
    # One line is rather a message, and so is one column without quotation marks.
    is_column = len(header) > 1 or text.startswith('"')
    if not rows or not is_column or len(set(header)) < len(header):
        raise ValueError("the output is neither JSON objects nor CSV with a header")
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"the output is no CSV: {len(header)} columns, a row has {len(row)}")
    return tuple(dict(zip(header, row, strict=True)) for row in rows)


_MAX_NAMED = 5
"""How many outputs that are no table one warning names."""


def report_records(report: FleetReport, strict: bool) -> Records:
    """Return the records of all scripts of a run, each with its machine."""
    found: list[dict[str, Any]] = []
    refused: list[str] = []
    for outcome in report:
        # One result at a time: those of a large run do not fit into memory together.
        result = outcome.load_result()
        for script in result.scripts if result is not None else ():
            try:
                records = script.records()
            except ValueError as error:
                refused.append(_describe(outcome, script, error))
                if strict:
                    raise ValueError(refused[0]) from error
                continue
            found += [_with_machine(outcome, record) for record in records]
    if refused:
        _warn_of(report.run_id, refused)
    return tuple(found)


def _with_machine(outcome: Outcome, record: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"machine": outcome.machine, "machine_id": outcome.machine_id}
    for name, value in record.items():
        # What a machine prints must not pass for another machine.
        if name in ("machine", "machine_id"):
            name = f"script_{name}"
            while name in record:
                name = f"script_{name}"
        row[name] = value
    return row


def _describe(outcome: Outcome, script: ScriptOutput, error: ValueError) -> str:
    return f"{script.script_name!a} of {machine_label(outcome)!a}: {error}"


def _warn_of(run_id: str, refused: list[str]) -> None:
    import logging

    more = len(refused) - _MAX_NAMED
    logging.getLogger("mde_live_response").warning(
        "the records of run %s lack %d outputs that are no table: %s%s",
        run_id,
        len(refused),
        "; ".join(refused[:_MAX_NAMED]),
        f"; and {more} more" if more > 0 else "",
    )
