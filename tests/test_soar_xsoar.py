"""The Cortex XSOAR example. The test is the server: it keeps only JSON between two executions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from soar_helpers import (
    EXAMPLES,
    MACHINE,
    assert_ran_once,
    environment,
    run_file,
    script_output,
)

from mde_live_response.emulator import Emulator

ARGS = {
    "machine": MACHINE,
    "script": "triage.ps1",
    "args": "-Depth 2",
    "comment": "incident 42",
    "correlation_id": "xsoar-42-triage",
}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(machines=1) as emulator:
        emulator.on_script("triage.ps1", stdout="found it", duration=40)
        yield emulator


def execute(emulator: Emulator, args: dict[str, Any], secret: str | None = None) -> dict[str, Any]:
    """Execute the command once, and return its entry."""
    login = {"identifier": emulator.client_id, "password": secret or emulator.client_secret}
    params: dict[str, Any] = {"tenant_id": emulator.tenant_id, "credentials": login}
    params["login_host"] = emulator.login_url
    env = environment(emulator, XSOAR_PARAMS=json.dumps(params), XSOAR_ARGS=json.dumps(args))
    done = run_file(EXAMPLES / "xsoar_command.py", env=env)
    assert done.returncode == 0, done.stderr
    entry: dict[str, Any] = json.loads(done.stdout)
    return entry


def poll_to_the_end(emulator: Emulator, entry: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Execute what is scheduled, at its time, until nothing is. Return also how often."""
    executions = 0
    while "NextRun" in entry:
        assert entry["PollingCommand"] == "mde-run-script"
        assert 10 <= int(entry["NextRun"]) <= 30
        emulator.advance(int(entry["NextRun"]))
        entry = execute(emulator, entry["PollingArgs"])
        executions += 1
        assert executions < 20
    return entry, executions


def test_the_result_comes_from_a_later_execution(emulator: Emulator) -> None:
    first = execute(emulator, ARGS)
    assert set(first["PollingArgs"]) - set(ARGS) == {"action_id"}
    assert int(first["Timeout"]) > 2 * 3600
    entry, executions = poll_to_the_end(emulator, first)
    ((path, outputs),) = entry["EntryContext"].items()
    assert path == "MDE.Script(val.id && val.id == obj.id)"
    assert outputs["id"] == outputs["action"]["id"] == first["PollingArgs"]["action_id"]
    assert script_output(outputs) == "found it"
    assert executions >= 3
    (action,) = emulator.client().list_machine_actions()
    assert action.commands[0].command.params["Args"] == "-Depth 2"
    assert_ran_once(emulator)


def test_a_repeated_first_execution_finds_the_session(emulator: Emulator) -> None:
    lost, repeated = execute(emulator, ARGS), execute(emulator, ARGS)
    assert repeated["PollingArgs"] == lost["PollingArgs"]
    assert script_output(
        next(iter(poll_to_the_end(emulator, repeated)[0]["EntryContext"].values()))
    )
    assert_ran_once(emulator)


def test_another_incident_runs_the_script_again(emulator: Emulator) -> None:
    poll_to_the_end(emulator, execute(emulator, ARGS))
    poll_to_the_end(emulator, execute(emulator, {**ARGS, "correlation_id": "xsoar-43-triage"}))
    assert_ran_once(emulator, sessions=2)


def test_a_failed_script_is_an_error(emulator: Emulator) -> None:
    emulator.on_script("triage.ps1", exit_code=3, stderr="no disk", duration=5)
    entry, _ = poll_to_the_end(emulator, execute(emulator, ARGS))
    assert entry["Type"] == 4
    assert "exited with 3" in entry["Contents"]


def test_a_wrong_secret_is_an_error(emulator: Emulator) -> None:
    entry = execute(emulator, ARGS, secret="wrong")
    assert entry["Type"] == 4
    assert "client secret" in entry["Contents"]
