"""The tables of a run: rows, columns, and the records that its scripts printed."""

from __future__ import annotations

import json
import logging
import pickle
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import polars
import pytest
from runtime_helpers import wait_until

from mde_live_response import (
    Command,
    FleetReport,
    Limits,
    LiveResponseClient,
    Machine,
    Outcome,
)
from mde_live_response.__main__ import main
from mde_live_response.emulator import Emulator

# It has no types.
pandas: Any = import_module("pandas")

ECHO = Command.run_script("echo.ps1")
NAMES = [f"ws-{number:04}.example.test" for number in range(1, 6)]
HEX_DIGITS = re.compile(r"[0-9a-f]{40}")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    limits = Limits(queue_time=300, script_time=60)
    with Emulator(machines=5, speed=200, limits=limits) as emulator:
        emulator.on_script("echo.ps1", stdout="done", stderr="oh", exit_code=3)
        yield emulator


@pytest.fixture
def report(client: LiveResponseClient) -> FleetReport:
    return client.run_many(NAMES[:3], ECHO, "why").report()


def test_columns_are_the_rows(client: LiveResponseClient) -> None:
    report = client.run_many([*NAMES[:2], "nobody"], [ECHO, ECHO], "why", run_id="r").report()
    rows, columns = report.to_dicts(), report.to_columns()
    assert list(columns) == list(rows[0])
    assert {name: tuple(row[name] for row in rows) for name in rows[0]} == columns
    assert columns["run_id"] == ("r", "r", "r")
    assert columns["row"] == (0, 1, 2)
    assert columns["computer_dns_name"] == (*NAMES[:2], None)
    assert columns["correlation_id"] == ("r/1", "r/1", None)
    assert columns["exit_code"] == (3, 3, None)
    assert columns["stdout"] == ("done\ndone", "done\ndone", None)
    assert columns["stderr"] == ("oh\noh", "oh\noh", None)
    for row, outcome in zip(rows, report, strict=True):
        fields = outcome.to_dict()
        assert {name: row[name] for name in fields if name != "error"} == {
            name: value for name, value in fields.items() if name != "error"
        }
    assert tuple(json.loads(json.dumps(rows))) == rows
    # The dict is the caller's own.
    columns.clear()
    assert report.to_columns()["row"] == (0, 1, 2)


def test_many_rows_without_a_session_come_first(
    client: LiveResponseClient, emulator: Emulator, tmp_path: Path
) -> None:
    """polars infers the types of a list of dicts from its first 100."""
    emulator.put_remote_file("*", "/tmp/a", b"a")
    nobody = [f"nobody-{number}" for number in range(150)]
    commands = [ECHO, Command.get_file("/tmp/a")]
    report = client.run_many([*nobody, *NAMES[:2]], commands, "why", save_to=tmp_path).report()
    frame = polars.DataFrame(report.to_columns())
    assert frame.height == 152
    assert frame.schema["exit_code"] == polars.Int64
    assert frame.schema["stdout"] == polars.String
    assert frame["exit_code"].to_list() == [None] * 150 + [3, 3]
    assert frame["machine"].to_list() == [*nobody, *NAMES[:2]]
    assert [len(files) for files in frame["files"].to_list()] == [0] * 150 + [1, 1]
    assert len(pandas.DataFrame(report.to_columns())) == 152
    assert len(pandas.DataFrame(report.to_dicts())) == 152


def machines_of(kind: str, client: LiveResponseClient) -> list[str | Machine]:
    known = sorted(client.list_machines(), key=lambda machine: str(machine.computer_dns_name))
    if kind == "Machines":
        return [*known]
    names = [str(machine.computer_dns_name) for machine in known]
    if kind == "ids":
        return [machine.id for machine in known]
    return [name.partition(".")[0] if kind == "short names" else name for name in names]


def outcomes_of_every_kind(
    client: LiveResponseClient, emulator: Emulator, machines: list[Any]
) -> tuple[FleetReport, dict[str, Outcome]]:
    emulator.add_foreign_session(NAMES[1], 1e9, listed=False)
    emulator.set_online(NAMES[2], False)
    fleet = client.run_many([*machines, machines[0], "nobody"], ECHO, "why")
    report = fleet.report(120)
    return report, {outcome.reason: outcome for outcome in report}


@pytest.mark.parametrize("kind", ["ids", "names", "short names", "Machines"])
def test_each_outcome_has_the_name(
    kind: str, client: LiveResponseClient, emulator: Emulator
) -> None:
    machines = machines_of(kind, client)
    report, by_reason = outcomes_of_every_kind(client, emulator, machines)
    assert set(by_reason) == {"script", "busy", "timed_out", "duplicate", "machine"}
    assert [outcome.computer_dns_name for outcome in report] == [*NAMES, NAMES[0], None]
    page = report._repr_html_()
    assert not HEX_DIGITS.search(page)
    assert not HEX_DIGITS.search(repr(report.outcomes))
    assert not HEX_DIGITS.search(" ".join(outcome.message for outcome in report[:5]))
    if kind != "ids":
        assert not any(HEX_DIGITS.search(str(row["machine"])) for row in report.to_dicts())


def test_a_row_that_was_not_submitted_has_the_name() -> None:
    with Emulator(machines=0, speed=200) as emulator, emulator.client() as client:
        emulator.on_script("echo.ps1")
        names = [f"late-{number:03}.example.test" for number in range(120)]
        ids = [emulator.add_machine(name, online=False).id for name in names]
        fleet = client.run_many(ids, ECHO, "why")
        wait_until(lambda: fleet.counts["pending"] >= 3, "some sessions")
        fleet.cancel("enough")
        report = fleet.report(120)
    assert [outcome.computer_dns_name for outcome in report] == names
    assert {outcome.reason for outcome in report} == {"cancelled", "not_submitted"}
    assert not HEX_DIGITS.search(" ".join(outcome.message for outcome in report))


def test_the_command_line_shows_names(
    emulator: Emulator,
    client: LiveResponseClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    machine = client.get_machine(NAMES[0])
    assert main(["run-many", machine.id, "--run-script", "echo.ps1", "--comment", "why"]) == 1
    out = capsys.readouterr().out
    assert NAMES[0] in out
    assert machine.id not in out


# -- records


def print_by_machine(emulator: Emulator, client: LiveResponseClient, *texts: str) -> None:
    """Let each machine print its own text."""
    by_id = {client.get_machine(name).id: text for name, text in zip(NAMES, texts, strict=False)}
    emulator.on_script("echo.ps1", stdout=lambda machine_id, args: by_id[machine_id])


def test_records_of_all_machines(client: LiveResponseClient, emulator: Emulator) -> None:
    print_by_machine(
        emulator,
        client,
        '{"pid": 1}\n{"pid": 2}\n',
        "pid,user\n3,a\n",
        '{"machine": "other", "machine_id": 7, "script_machine": 1, "pid": 4}',
    )
    machines: list[Any] = [NAMES[0], client.get_machine(NAMES[1]), "ws-0003", "nobody"]
    report = client.run_many(machines, [ECHO, ECHO], "why").report()
    ids = [outcome.machine_id for outcome in report]
    first, second = (
        [{"machine": name, "machine_id": machine_id} for name, machine_id in pairs]
        for pairs in ([(NAMES[0], ids[0])], [(NAMES[1], ids[1])])
    )
    third = {
        "machine": "ws-0003",
        "machine_id": ids[2],
        "script_script_machine": "other",
        "script_machine_id": 7,
        "script_machine": 1,
        "pid": 4,
    }
    assert report.records() == (
        *([{**first[0], "pid": 1}, {**first[0], "pid": 2}] * 2),
        *([{**second[0], "pid": "3", "user": "a"}] * 2),
        *([third] * 2),
    )
    assert all(list(record)[:2] == ["machine", "machine_id"] for record in report.records())
    again: FleetReport = pickle.loads(pickle.dumps(report))
    assert again.records() == report.records(strict=True)
    frame = polars.DataFrame(report.records()[:4])
    assert frame.columns == ["machine", "machine_id", "pid"]


def test_output_that_is_no_table_is_left_out(
    client: LiveResponseClient, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    print_by_machine(emulator, client, '{"pid": 1}', "Access denied", "", "[1, 2]")
    report = client.run_many(NAMES[:4], ECHO, "why").report()
    with caplog.at_level(logging.WARNING, "mde_live_response"):
        assert [record["pid"] for record in report.records()] == [1]
    (warning,) = caplog.records
    assert f"run {report.run_id} lack 2 outputs" in warning.getMessage()
    assert "'ws-0002.example.test': the output is neither" in warning.getMessage()
    with pytest.raises(ValueError, match=r"'echo.ps1' of 'ws-0002.example.test': the output"):
        report.records(strict=True)


def test_a_script_that_failed_has_its_records(
    client: LiveResponseClient, emulator: Emulator
) -> None:
    emulator.on_script("echo.ps1", stdout='{"pid": 1}', exit_code=5)
    report = client.run_many(NAMES[:1], ECHO, "why").report()
    assert not report.ok
    assert [record["pid"] for record in report.records()] == [1]


def test_the_warning_names_a_few_of_many(
    client: LiveResponseClient, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.on_script("echo.ps1", stdout="done\x1b[31m")
    report = client.run_many(NAMES, [ECHO, ECHO], "why").report()
    with caplog.at_level(logging.WARNING, "mde_live_response"):
        assert report.records() == ()
    assert "lack 10 outputs" in caplog.text
    assert "and 5 more" in caplog.text
    assert "\x1b" not in caplog.text


def test_a_report_is_a_sequence(report: FleetReport) -> None:
    """A report has all that a sequence has."""
    assert isinstance(report, Sequence)
    outcomes = list(report)
    assert list(reversed(report)) == outcomes[::-1]
    assert outcomes[0] in report
    assert object() not in report
    assert [report.index(outcome) for outcome in outcomes] == list(range(len(report)))
    assert report.count(outcomes[0]) == 1
    assert report.count(None) == 0
    with pytest.raises(ValueError, match="not in"):
        report.index(outcomes[0], 1)
