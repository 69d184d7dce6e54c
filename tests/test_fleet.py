"""Runs over many machines, through the Python API."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtime_helpers import requests_of, wait_until

from mde_live_response import (
    Command,
    FleetReport,
    InvalidRequestError,
    LiveResponseClient,
    NotFoundError,
    Outcome,
    WaitTimeoutError,
)
from mde_live_response.emulator import Emulator

ECHO = Command.run_script("echo.ps1")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(machines=5, speed=200) as emulator:
        emulator.on_script("echo.ps1", stdout="done", exit_code=0)
        yield emulator


NAMES = [f"ws-{number:04}" for number in range(1, 6)]


def test_each_row_has_one_outcome_and_every_loop_yields_them_all(
    client: LiveResponseClient, emulator: Emulator
) -> None:
    fleet = client.run_many([*NAMES, "nobody", "ws-0001"], ECHO, "a test")
    assert len(fleet) == 7
    outcomes = list(fleet)
    assert sorted(outcome.row for outcome in outcomes) == list(range(7))
    reasons = {outcome.row: outcome.reason for outcome in outcomes}
    assert sorted(reasons.values()) == ["duplicate", "machine", "ok", "ok", "ok", "ok", "ok"]
    assert reasons[5] == "machine"
    unknown = next(outcome for outcome in outcomes if outcome.row == 5)
    assert isinstance(unknown.error, NotFoundError)
    assert (unknown.load_result(), unknown.action_id, unknown.start_time) == (None, None, None)
    first = outcomes[0] if outcomes[0].ok else outcomes[-1]
    result = first.load_result()
    assert result is not None
    assert result.scripts[0].text.endswith("done")
    assert first.machine_id == result.action.machine_id
    assert first.start_time is not None
    assert first.start_time <= first.end_time
    assert list(fleet) == outcomes
    assert fleet.counts == {"waiting": 0, "pending": 0, "running": 0, "succeeded": 5, "failed": 2}
    assert not any(emulator.violations.values())


def test_with_asyncio(client: LiveResponseClient) -> None:
    async def main() -> list[Outcome]:
        fleet = await client.run_many_async(NAMES, ECHO, "a test", run_id="a run")
        seen = [outcome async for outcome in fleet]
        report = await fleet.report_async()
        assert [outcome.row for outcome in report.outcomes] == [0, 1, 2, 3, 4]
        again = await client.resume_async("a run")
        assert [outcome async for outcome in again] == seen
        return seen

    assert all(outcome.ok for outcome in asyncio.run(main()))


def test_a_mapping_gives_each_machine_its_own_commands(
    client: LiveResponseClient, emulator: Emulator
) -> None:
    emulator.on_script("other.ps1", stdout="other", exit_code=3)
    report = client.run_many(
        NAMES[:2], {"ws-0001": ECHO, "ws-0002": [Command.run_script("other.ps1")]}, "a test"
    ).report()
    assert [outcome.reason for outcome in report.outcomes] == ["ok", "script"]
    assert not report.ok
    with pytest.raises(InvalidRequestError, match=r"no commands for machine .ws-0003."):
        client.run_many(NAMES[:3], {"ws-0001": ECHO, "ws-0002": ECHO}, "a test")


def test_a_report_has_rows_for_a_table(
    client: LiveResponseClient, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.put_remote_file("*", r"C:\a.bin", b"evidence")
    commands = [ECHO, Command.get_file(r"C:\a.bin")]
    report = client.run_many(
        [*NAMES[:2], "<b>no</b>"], commands, "a test", save_to=tmp_path
    ).report()
    rows = report.to_dicts()
    assert list(rows[0]) == [
        "run_id", "row", "tenant_id", "machine", "computer_dns_name", "machine_id", "action_id",
        "correlation_id", "status", "ok", "reason", "message", "start_time", "end_time",
        "exit_code", "stdout", "stderr", "files",
    ]  # fmt: skip
    assert tuple(json.loads(json.dumps(rows))) == rows
    assert [row["ok"] for row in rows] == [True, True, False]
    assert rows[0]["exit_code"] == 0
    assert rows[0]["stdout"].endswith("done")
    assert Path(rows[0]["files"][0]).read_bytes() == b"evidence"
    assert (rows[2]["exit_code"], rows[2]["stdout"], rows[2]["files"]) == (None, None, [])
    page = report._repr_html_()
    assert "&lt;b&gt;no&lt;/b&gt;" in page
    assert page.count("<rect") == 2
    assert "<b>no" not in page


def test_a_pickled_outcome_has_its_result(client: LiveResponseClient) -> None:
    report = client.run_many(NAMES[:2], ECHO, "a test").report()
    again: FleetReport = pickle.loads(pickle.dumps(report))
    assert again.outcomes == report.outcomes
    assert again.outcomes[0].load_result() == report.outcomes[0].load_result()
    assert again.to_dicts() == report.to_dicts()
    with pytest.raises(TypeError, match="run_id"):
        pickle.dumps(client.run_many(NAMES[:1], ECHO, "a test"))


def test_a_report_time_out_does_not_stop_the_run(
    client: LiveResponseClient, emulator: Emulator
) -> None:
    emulator.on_script("echo.ps1", stdout="done", duration=200)
    fleet = client.run_many(NAMES, ECHO, "a test")
    with pytest.raises(WaitTimeoutError, match="0 of 5"):
        fleet.report(timeout=0.01)
    assert fleet.report(timeout=60).ok


def test_resume_fetches_the_results_that_could_not_be_fetched(
    client: LiveResponseClient, emulator: Emulator
) -> None:
    # A firewall of the storage account: it is not asked again.
    emulator.fault(
        "GET", "blob", "status", times=2, status=403, x_ms_error_code="AuthorizationFailure"
    )
    first = {it.machine: it for it in client.run_many(NAMES[:2], ECHO, "a test", run_id="a run")}
    assert [outcome.reason for outcome in first.values()] == ["fetch", "fetch"]
    again = list(client.resume("a run"))
    assert sorted(outcome.machine for outcome in again) == NAMES[:2]
    for outcome in again:
        assert (outcome.ok, outcome.error) == (True, None)
        assert outcome.action_id == first[outcome.machine].action_id
        result = outcome.load_result()
        assert result is not None
        assert result.scripts[0].stdout.endswith("done")
    by_row = sorted(client.resume("a run"), key=lambda outcome: outcome.row)
    assert by_row == sorted(again, key=lambda outcome: outcome.row)
    assert len(requests_of(emulator, "runliveresponse")) == 2


def test_leaving_a_loop_detaches_and_the_run_can_be_resumed(
    client: LiveResponseClient, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(15):
        emulator.add_machine(f"more-{number:02}")
    names = [*NAMES, *(f"more-{number:02}" for number in range(15))]
    fleet = client.run_many(names, ECHO, "a test")
    with caplog.at_level(logging.WARNING, "mde_live_response"):
        for _ in fleet:
            break
        with pytest.raises(InvalidRequestError, match="closed before run"):
            list(fleet)
    assert f"run {fleet.run_id} was detached" in caplog.text
    assert "client.resume(" in caplog.text
    outcomes = list(client.resume(fleet.run_id))
    assert [outcome.reason for outcome in outcomes] == ["ok"] * 20
    with pytest.raises(NotFoundError, match=r"no run .nothing."):
        client.resume("nothing")


def test_ctrl_c_detaches(
    client: LiveResponseClient, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.on_script("echo.ps1", stdout="done", duration=500)
    fleet = client.run_many(NAMES, ECHO, "a test")
    loop = iter(fleet)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with caplog.at_level(logging.WARNING, "mde_live_response"), pytest.raises(KeyboardInterrupt):
        next(loop)
    with pytest.raises(InvalidRequestError, match="closed before run"):
        fleet.report()
    assert f"run {fleet.run_id} was detached" in caplog.text
    assert client.resume(fleet.run_id).report().ok


def test_a_failing_credential_ends_no_row(emulator: Emulator) -> None:
    """The run stops with the exception of the credential, and can be resumed."""
    sealed = threading.Event()

    def token() -> str:
        if sealed.is_set():
            raise RuntimeError("the vault is sealed")
        return emulator.token_with("Machine.LiveResponse", "Machine.ReadWrite.All")

    emulator.on_script("echo.ps1", stdout="done", duration=400)
    with emulator.client(credential=token) as client:
        fleet = client.run_many(NAMES, ECHO, "a test")
        wait_until(lambda: fleet.counts["waiting"] == 0, "the submits")
        sealed.set()
        emulator.fault("*", "machineactions", "expire_token")
        with pytest.raises(RuntimeError, match="the vault is sealed"):
            list(fleet)
        assert fleet.counts["failed"] == 0
        assert not fleet.done
        sealed.clear()
        assert client.resume(fleet.run_id).report(60).ok
    assert len(requests_of(emulator, "runliveresponse")) == 5


def test_a_cancelled_run_ends(client: LiveResponseClient, emulator: Emulator) -> None:
    emulator.on_script("echo.ps1", stdout="done", duration=2000)
    fleet = client.run_many(NAMES, ECHO, "a test")
    while fleet.counts["running"] < 5:
        with pytest.raises(WaitTimeoutError):
            fleet.report(timeout=0.02)
    fleet.cancel("enough")
    assert {outcome.reason for outcome in fleet.report(timeout=60).outcomes} == {"cancelled"}


@pytest.mark.parametrize(
    ("machines", "error"),
    [("ws-0001", TypeError), (3, TypeError), ([3], TypeError), (b"ws-0001", TypeError)],
)
def test_machines_of_a_wrong_type_are_refused(
    client: LiveResponseClient, machines: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match="machines takes"):
        client.run_many(machines, ECHO, "a test")  # type: ignore[arg-type]
