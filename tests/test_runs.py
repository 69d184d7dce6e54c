"""Lists of runs, and runs that try machines again that were off."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from runtime_helpers import wait_until

from mde_live_response import (
    Command,
    InvalidRequestError,
    Limits,
    LiveResponseClient,
    NotFoundError,
    Run,
)
from mde_live_response._cli import main
from mde_live_response.emulator import Emulator

ECHO = Command.run_script("echo.ps1")
ON, OFF = "ws-on.example.test", "ws-off.example.test"
# The machines are listed every two seconds.
LIMITS = Limits(queue_time=4.0, settle_time=1.0)
WORKER = f"""
from mde_live_response import Command, Limits, LiveResponseClient
limits = Limits(queue_time=4.0, settle_time=1.0)
with LiveResponseClient(limits=limits) as client:
    script = Command.run_script("echo.ps1")
    client.run_many(["{ON}", "{OFF}"], script, "case 42", until=600).report()
"""


@pytest.fixture
def ran() -> Counter[str]:
    """Counts how often the script ran, by machine id."""
    return Counter()


@pytest.fixture
def emulator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ran: Counter[str]
) -> Iterator[Emulator]:
    def count(machine_id: str, args: str | None) -> str:
        ran[machine_id] += 1
        return "done"

    with Emulator(machines=0, limits=LIMITS) as emulator:
        emulator.add_machine(ON)
        emulator.add_machine(OFF, online=False)
        emulator.on_script("echo.ps1", stdout=count)
        for name, value in emulator.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MDE_LIVE_RESPONSE_STATE", f"sqlite:///{tmp_path / 'state.db'}")
        yield emulator


@pytest.fixture
def client(emulator: Emulator) -> Iterator[LiveResponseClient]:
    with LiveResponseClient(limits=LIMITS) as client:
        yield client


def is_waiting(client: LiveResponseClient) -> bool:
    """Return whether one machine has its outcome, and no session is open."""
    runs = client.list_runs()
    return bool(runs) and runs[0].done == 1 and not client.list_sessions()


def test_a_run_of_a_killed_process_is_found_and_reaches_the_machine_that_was_off(
    emulator: Emulator, client: LiveResponseClient, ran: Counter[str]
) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER])
    try:
        wait_until(lambda: is_waiting(client), "one machine is done", seconds=60)
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    emulator.set_online(OFF, True)
    (run,) = client.list_runs()
    assert (run.comment, run.machines, run.done, run.ok) == ("case 42", 2, 1, 1)
    report = client.resume(run.run_id).report(60)
    assert [outcome.reason for outcome in report] == ["ok", "ok"]
    assert sorted(ran.values()) == [1, 1]
    (run,) = client.list_runs()
    assert (run.done, run.ok, run.cancelled) == (2, 2, False)


def test_a_machine_that_was_given_up_is_tried_again(
    emulator: Emulator, client: LiveResponseClient, ran: Counter[str]
) -> None:
    run_id = client.run_many([ON, OFF], ECHO, "case 42").report(60).run_id
    assert [outcome.reason for outcome in client.resume(run_id).report(60)] == ["ok", "timed_out"]
    emulator.set_online(OFF, True)
    end = datetime.now(timezone.utc) + timedelta(minutes=5)
    report = client.resume(run_id, until=end).report(60)
    assert [outcome.reason for outcome in report] == ["ok", "ok"]
    assert sorted(ran.values()) == [1, 1]


def test_the_last_outcome_comes_when_the_time_is_over(client: LiveResponseClient) -> None:
    fleet = client.run_many([OFF], ECHO, "case 42", until=timedelta(seconds=8))
    assert fleet.counts["waiting"] + fleet.counts["pending"] == 1
    (outcome,) = fleet.report(60)
    assert (outcome.reason, outcome.status) == ("timed_out", "TimeOut")
    assert outcome.load_result() is not None


def test_runs_are_listed_newest_first(client: LiveResponseClient) -> None:
    assert client.list_runs() == ()
    began = datetime.now(timezone.utc)
    ids = [client.run_many([ON], ECHO, f"case {at}").report(60).run_id for at in range(3)]
    runs = asyncio.run(client.list_runs_async())
    assert [run.run_id for run in runs] == ids[::-1]
    assert [run.comment for run in runs] == ["case 2", "case 1", "case 0"]
    assert all(abs(run.created - began) < timedelta(minutes=2) for run in runs)
    assert isinstance(runs[0], Run)
    assert json.loads(json.dumps(runs[0].to_dict()))["machines"] == 1
    assert ids[2] in repr(runs[0])


def test_a_run_that_was_cancelled_says_so(client: LiveResponseClient) -> None:
    fleet = client.run_many([OFF], ECHO, "case 42", until=600)
    fleet.cancel("enough")
    fleet.report(60)
    (run,) = client.list_runs()
    assert (run.cancelled, run.done, run.ok) == (True, 1, 0)


@pytest.mark.parametrize(
    "until",
    [
        -1,
        float("inf"),
        float("nan"),
        timedelta(seconds=-1),
        datetime(2020, 1, 1, tzinfo=timezone.utc),
        datetime(2100, 1, 1),
    ],
)
def test_a_wrong_time_is_refused_before_any_request(
    until: Any, client: LiveResponseClient, emulator: Emulator
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.run_many([ON], ECHO, "case 42", until=until)
    assert "until" in str(caught.value)
    with pytest.raises(InvalidRequestError):
        client.resume("x", until=until)
    assert not emulator.requests
    with pytest.raises(TypeError):
        client.run_many([ON], ECHO, "case 42", until="tomorrow")  # type: ignore[arg-type]


def test_an_unknown_run_is_not_found(client: LiveResponseClient) -> None:
    with pytest.raises(NotFoundError):
        client.resume("x", until=60)


def test_the_command_line_lists_runs(
    client: LiveResponseClient, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = client.run_many([ON], ECHO, "case\x1b[31m 42").report(60).run_id
    assert main(["runs", "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["run_id"], run["machines"], run["ok"]) == (run_id, 1, 1)
    assert main(["runs"]) == 0
    shown = capsys.readouterr().out
    assert run_id in shown
    assert main(["state", "show"]) == 0
    shown += capsys.readouterr().out
    assert f"{run_id}  1 of 1 machines done, 1 ok, case" in shown
    assert "\x1b" not in shown
    assert main(["state", "show", "--json"]) == 0
    (quota,) = json.loads(capsys.readouterr().out)
    assert quota["runs"][0]["run_id"] == run_id


def test_until_on_the_command_line(
    emulator: Emulator, client: LiveResponseClient, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator.set_online(OFF, True)
    script = ["--run-script", "echo.ps1", "--comment", "case 42"]
    assert main(["run-many", OFF, *script, "--run-id", "x", "--until", "600", "--json"]) == 0
    assert main(["resume", "x", "--until", "60", "--json"]) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["resume", "x", "--until", "-1"])
    assert stopped.value.code == 2
    assert "'-1' is not a duration" in capsys.readouterr().err
