"""Collected files, compared with an export of the tenant's audit log."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mde_live_response import Command, evidence
from mde_live_response.__main__ import main
from mde_live_response.emulator import Emulator
from mde_live_response.evidence import pack, verify

PATHS = [r"C:\Temp\a.txt", r"C:\Temp\b.log"]
OTHER = "0" * 63 + "f"
Event = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "evidence"
    with Emulator(speed=200) as emulator, emulator.client() as client:
        emulator.on_script("echo.ps1", stdout="done")
        for path in PATHS:
            emulator.put_remote_file("*", path, path.encode())
        commands = [Command.run_script("echo.ps1"), *map(Command.get_file, PATHS)]
        client.run("ws-0001", commands, "why", save_to=folder, save_transcripts=True)
    return folder


def entries(folder: Path) -> list[Event]:
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if entry["remote_path"]]


def get_file(entry: Event, **changes: Any) -> Event:
    """Return an event of one file, with the fields that published hunts read."""
    return {
        "CreationTime": "2026-11-29T03:00:00",
        "Operation": "LiveResponseGetFile",
        "Workload": "MicrosoftDefenderForEndpoint",
        "DeviceName": entry["machine"],
        "FileName": entry["remote_path"],
        "FileSHA256": entry["sha256"],
        **changes,
    }


def run_api(entry: Event, **changes: Any) -> Event:
    commands = json.dumps([{"type": "GetFile", "params": [{"value": path} for path in PATHS]}])
    return {
        "Operation": "RunLiveResponseApi",
        "DeviceId": entry["machine_id"],
        "CommandsString": commands,
        **changes,
    }


def as_json(events: list[Event]) -> str:
    return json.dumps(events, indent=2)


def as_lines(events: list[Event]) -> str:
    return "\n".join(json.dumps(event) for event in events) + "\n\n"


def as_csv(events: list[Event], operation: str = "Operation", details: str = "AuditData") -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["RecordId", operation, "UserId", details])
    writer.writerows([7, event["Operation"], "a@b", json.dumps(event)] for event in events)
    return text.getvalue()


def as_hunt(events: list[Event]) -> str:
    return as_lines([{"ActionType": it["Operation"], "RawEventData": it} for it in events])


def as_raw_lines(events: list[Event]) -> str:
    odd = [{**event, "UserId": "a\u2028b\x85c"} for event in events]
    return "\r\n".join(json.dumps(event, ensure_ascii=False) for event in odd)


FORMS = [
    as_raw_lines,
    as_json,
    as_lines,
    as_csv,
    as_hunt,
    lambda events: as_csv(events, "Operations"),
    lambda events: as_csv(events, "ActionType", "RawEventData"),
    lambda events: "\ufeff" + as_csv(events),
]


def compare(folder: Path, text: str, encoding: str = "utf-8") -> evidence.Verification:
    export = folder.parent / "audit.csv"
    export.write_text(text, encoding=encoding)
    return verify(folder, audit=export)


def counts(**found: int) -> dict[str, int]:
    return {"events": 0, "hash": 0, "command": 0, "none": 0, "contradicted": 0, **found}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_each_form_of_an_export(
    form: Callable[[list[Event]], str], encoding: str, folder: Path
) -> None:
    first, second = entries(folder)
    other = {"Operation": "IsolateDevice", "DeviceName": first["machine"]}
    found = compare(folder, form([other, get_file(first), run_api(second)]), encoding)
    assert (found.ok, found.problems) == (True, ())
    assert found.audit == counts(events=2, hash=1, command=1)
    assert found.to_dict()["audit"] == found.audit


@pytest.mark.parametrize(
    "changes",
    [
        {"FileSHA256": "received"},
        {"FileName": "a.txt"},
        {"DeviceName": None},
        {"DeviceName": "WS-0001"},
        {"DeviceName": "gone", "DeviceId": "id"},
        {"FileSHA256": "upper"},
    ],
    ids=str,
)
def test_a_hash_confirms_its_file(changes: Event, folder: Path) -> None:
    first, _ = entries(folder)
    values = {
        "received": first["received_sha256"],
        "upper": first["sha256"].upper(),
        "id": first["machine_id"],
    }
    event = get_file(first, **{key: values.get(it, it) for key, it in changes.items()})
    found = compare(folder, as_lines([event]))
    assert found.ok
    assert found.audit == counts(events=1, hash=1, none=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"DeviceName": "ws-0002.example.test"},
        {"DeviceId": "f" * 40},
        {"FileSHA256": None},
        {"FileSHA256": "no hash"},
        {"FileSHA256": 7},
        {"FileName": r"C:\else.txt", "FileSHA256": OTHER},
        {"DeviceName": "", "FileSHA256": OTHER},
    ],
    ids=str,
)
def test_what_proves_nothing(changes: Event, folder: Path) -> None:
    first, _ = entries(folder)
    found = compare(folder, as_lines([get_file(first, **changes)]))
    assert found.ok
    assert found.audit == counts(events=1, none=2)


def test_another_hash_of_the_same_file_is_a_problem(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = entries(folder)
    text = as_csv([get_file(first, FileSHA256=OTHER), get_file(second)])
    found = compare(folder, text)
    assert not found.ok
    assert found.audit == counts(events=2, hash=1, contradicted=1)
    (problem,) = found.problems
    assert OTHER in problem
    assert first["sha256"] in problem
    export = str(folder.parent / "audit.csv")
    assert main(["verify", str(folder), "--audit", export]) == 1
    assert "has the SHA-256 of 1 file, only the command of 0" in capsys.readouterr().out
    assert main(["verify", str(folder), "--audit", export, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["audit"]["contradicted"] == 1
    assert main(["pack", str(folder), "--audit", export]) == 1
    assert pack(folder, audit=export).path is None
    # The file was collected again: the log has both events.
    assert compare(folder, as_csv([get_file(first), get_file(first, FileSHA256=OTHER)])).ok


def test_an_event_of_another_collected_file_is_no_contradiction(folder: Path) -> None:
    """The same path was collected twice, and the export has only one of the events."""
    with Emulator(speed=200) as emulator, emulator.client() as client:
        emulator.put_remote_file("*", PATHS[0], b"changed since")
        client.run("ws-0001", Command.get_file(PATHS[0]), "why", save_to=folder)
    first, _, again = entries(folder)
    assert (first["machine"], first["remote_path"]) == (again["machine"], again["remote_path"])
    found = compare(folder, as_lines([get_file(again)]))
    assert found.ok
    assert found.audit == counts(events=1, hash=1, none=2)


@pytest.mark.parametrize("name", ["CommandsString", "DeviceId"])
def test_a_command_is_that_of_its_machine_and_file(name: str, folder: Path) -> None:
    first, _ = entries(folder)
    found = compare(folder, as_lines([run_api(first, **{name: r'"C:\\Temp\\other"'})]))
    assert found.audit == counts(events=1, none=2)
    found = compare(folder, as_lines([run_api(first)]))
    assert found.audit == counts(events=1, command=2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "{",
        '{"a": 1}\n{',
        "[",
        "[" * 100_000,
        "[1, null]",
        '{"Operation": 5}',
        "a,b\n1,2\n",
        "\x00\x01",
        '"' + "x" * 300_000,
    ],
    ids=lambda text: text[:10],
)
def test_what_is_no_export_is_a_problem(text: str, folder: Path) -> None:
    found = compare(folder, text)
    assert not found.ok
    assert "audit.csv' cannot be read" in found.problems[-1]
    assert found.problems[-1].isascii()
    assert found.audit is None


@pytest.mark.parametrize(
    "event",
    [
        {"Operation": "LiveResponseGetFile"},
        {"Operation": "LiveResponseGetFile", "AuditData": "{"},
        {"Operation": "LiveResponseGetFile", "AuditData": [1]},
        {"Operation": "LiveResponseGetFile", "FileName": {"a": 1}, "FileSHA256": [OTHER]},
        {"Operation": "RunLiveResponseApi", "CommandsString": 7, "DeviceId": None},
    ],
    ids=str,
)
def test_an_odd_event_proves_nothing(event: Event, folder: Path) -> None:
    found = compare(folder, as_lines([event]))
    assert found.ok
    assert found.audit == counts(events=1, none=2)


def test_a_missing_export_is_a_problem(folder: Path) -> None:
    found = verify(folder, audit=folder / "nowhere.csv")
    assert "No such file" in found.problems[0]
    assert verify(folder).audit is None
