"""Reads an export of the tenant's audit log, and compares it with a manifest.

The names of the fields are those of published hunts (docs/service.md, section 19). A field that is
missing proves nothing. Nothing in an export is believed to be well formed.
"""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from mde_live_response._manifest import Entries

GET_FILE = "LiveResponseGetFile"
RUN_API = "RunLiveResponseApi"
_OPERATION = ("Operation", "Operations", "ActionType")
"""The names of an event's kind: in the event, in an export as CSV, in advanced hunting."""
_DETAILS = ("AuditData", "RawEventData")
_HASH = re.compile(r"[0-9a-f]{64}")


class Event:
    """What one event says, in lower case. An empty text: it does not say it."""

    __slots__ = ("commands", "file_name", "is_get_file", "machine_id", "machine_name", "sha256")

    def __init__(self, fields: dict[str, Any], *, is_get_file: bool) -> None:
        self.is_get_file = is_get_file
        self.machine_id = _text(fields, "DeviceId")
        self.machine_name = _text(fields, "DeviceName")
        self.file_name = _text(fields, "FileName")
        digest = _text(fields, "FileSHA256")
        self.sha256 = digest if _HASH.fullmatch(digest) else ""
        # A path in the JSON of the commands has each backslash twice.
        self.commands = _text(fields, "CommandsString").replace("\\\\", "\\")

    def may_be_of(self, entry: dict[str, Any]) -> bool:
        """Return whether the event says nothing of another machine."""
        return self.names_machine(entry) or not (self.machine_id or self.machine_name)

    def names_machine(self, entry: dict[str, Any]) -> bool:
        if self.machine_id:
            return self.machine_id == _lower(entry.get("machine_id"))
        own, theirs = _lower(entry.get("machine")), self.machine_name
        return bool(own and theirs) and (own == theirs or own.partition(".")[0] == theirs)

    def names_file(self, entry: dict[str, Any]) -> bool:
        path = _lower(entry.get("remote_path"))
        return bool(path) and self.file_name in (path, re.split(r"[\\/]", path)[-1])


def read_events(path: Path) -> list[Event]:
    """Return the events of live response in an export: CSV, a JSON array, or lines of JSON.

    Raises:
        ValueError: the file is no export.
        OSError: it cannot be read.
    """
    # The portal writes UTF-8 or UTF-16, with a byte order mark.
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = content.decode(encoding, errors="replace")
    events = []
    has_records = False
    for record in _records(text):
        operation = _first(record, _OPERATION)
        details = _details(record)
        operation = operation or _first(details, _OPERATION)
        has_records = has_records or operation is not None
        if operation in (GET_FILE, RUN_API):
            events.append(Event(details, is_get_file=operation == GET_FILE))
    if not has_records:
        raise ValueError("it has no events: export the audit log as CSV or JSON")
    return events


def compare(entries: Entries, events: list[Event]) -> tuple[list[str], dict[str, int]]:
    """Return the contradictions, and how many files the events confirm."""
    problems = []
    counts = {"events": len(events), "hash": 0, "command": 0, "none": 0, "contradicted": 0}
    # An event of another collected file contradicts nothing: the same path may be collected twice.
    known = {digest for entry in entries.values() for digest in _hashes(entry)}
    for path, entry in entries.items():
        # A transcript is no collected file.
        if not isinstance(entry.get("remote_path"), str):
            continue
        found, other = _judge(entry, events, known)
        counts[found] += 1
        if found == "contradicted":
            problems.append(
                f"{path!a}: the audit log has only other SHA-256 of this file on this machine, "
                f"such as {other}; the manifest has {entry['sha256']!a}"
            )
    return problems, counts


def _hashes(entry: dict[str, Any]) -> set[str]:
    # Whether the log has the hash of the file or of what the service sends is not known.
    return {_lower(entry.get(name)) for name in ("sha256", "received_sha256")}


def _judge(entry: dict[str, Any], events: list[Event], known: set[str]) -> tuple[str, str]:
    """Return what the events say of one file, and another hash of it if that is all they say."""
    own = _hashes(entry)
    get_file = [event for event in events if event.is_get_file and event.sha256]
    if any(event.sha256 in own and event.may_be_of(entry) for event in get_file):
        return "hash", ""
    unknown = [event for event in get_file if event.sha256 not in known]
    others = [it for it in unknown if it.names_machine(entry) and it.names_file(entry)]
    if others:
        return "contradicted", others[-1].sha256
    path = _lower(entry.get("remote_path"))
    ran = (event for event in events if not event.is_get_file and event.names_machine(entry))
    return ("command" if path and any(path in event.commands for event in ran) else "none"), ""


def _records(text: str) -> Iterator[dict[str, Any]]:
    start = text.lstrip()[:1]
    try:
        if start == "[":
            values = json.loads(text)
        elif start == "{":
            values = [json.loads(line) for line in io.StringIO(text) if line.strip()]
        else:
            # A record has the whole event in one field.
            csv.field_size_limit(max(csv.field_size_limit(), len(text)))
            values = list(csv.DictReader(io.StringIO(text, newline="")))
    except (ValueError, RecursionError, csv.Error) as error:
        raise ValueError(f"it is neither CSV nor JSON: {error}") from None
    yield from (value for value in values if isinstance(value, dict))


def _details(record: dict[Any, Any]) -> dict[Any, Any]:
    """Return the event itself, which an export may have as JSON in one field."""
    # The name is None for the fields of a CSV row that has too many.
    for name, value in record.items():
        if isinstance(name, str) and name.lower() in (it.lower() for it in _DETAILS):
            try:
                details = json.loads(value) if isinstance(value, str) else value
            except (ValueError, RecursionError):
                return {}
            return details if isinstance(details, dict) else {}
    return record


def _first(record: dict[Any, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        for own, value in record.items():
            if isinstance(own, str) and own.lower() == name.lower() and isinstance(value, str):
                return value
    return None


def _text(fields: dict[str, Any], name: str) -> str:
    return _lower(_first(fields, (name,)))


def _lower(value: object) -> str:
    return value.strip().lower() if isinstance(value, str) else ""
