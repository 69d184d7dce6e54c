"""The Splunk SOAR example: each action is a process, and the playbook gets only its JSON."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from soar_helpers import (
    EXAMPLES,
    HAS_PLATFORMS,
    MACHINE,
    PLATFORMS,
    assert_ran_once,
    environment,
    run_file,
    script_output,
)

from mde_live_response.emulator import Emulator

CONTAINER = {"id": 42}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(machines=1) as emulator:
        emulator.on_script("triage.ps1", stdout="found it", duration=40)
        yield emulator


@pytest.fixture
def playbook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The playbook, and the platform's `rules` that it called."""
    monkeypatch.syspath_prepend(str(PLATFORMS))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    for name in ("phantom.rules", "phantom", "splunk_playbook"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("splunk_playbook")


def run_action(emulator: Emulator, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    """Run the action once, and return its result as the server stores it."""
    config = {"tenant_id": emulator.tenant_id, "client_id": emulator.client_id}
    config |= {"client_secret": emulator.client_secret, "login_host": emulator.login_url}
    action = {"identifier": "run_script", "config": config, "parameters": parameters}
    env = environment(emulator)
    done = run_file(PLATFORMS / "splunk_daemon.py", env=env, content=json.dumps(action))
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["sdk"] or not HAS_PLATFORMS
    return result


def serve(emulator: Emulator, playbook: Any) -> list[dict[str, Any]]:
    """Run the stored actions, at their times, until there is none. Return their results."""
    results = []
    acts = playbook.phantom.acts
    while acts:
        act = acts.pop(0)
        assert (act["action"], act["assets"]) == ("run script", ["mde"])
        if act["start_time"] is not None:
            pause = (act["start_time"] - datetime.now()).total_seconds()
            assert 1 < pause <= 30
            emulator.advance(pause)
        results.append(run_action(emulator, act["parameters"]))
        success = results[-1]["action_results"][0]["status"] == "success"
        getattr(playbook, act["callback"])(results=[results[-1]], success=success, container={})
        assert len(results) < 40
    return results


def test_the_playbook_comes_back_for_the_result(emulator: Emulator, playbook: Any) -> None:
    playbook.on_start(CONTAINER)
    results = serve(emulator, playbook)
    assert len(results) >= 3
    found = [result["action_results"][0] for result in results]
    assert len({each["summary"]["action_id"] for each in found}) == 1
    assert [each["summary"]["done"] for each in found] == [False] * (len(found) - 1) + [True]
    assert [len(each["data"]) for each in found] == [0] * (len(found) - 1) + [1]
    assert script_output(found[-1]["data"][0]) == "found it"
    (note,) = playbook.phantom.notes
    assert note.endswith("found it")
    assert_ran_once(emulator)


def test_a_playbook_that_is_started_again_finds_the_session(
    emulator: Emulator, playbook: Any
) -> None:
    playbook.on_start(CONTAINER)
    (lost,) = playbook.phantom.acts
    run_action(emulator, lost["parameters"])
    playbook.phantom.acts.clear()
    playbook.on_start(CONTAINER)
    serve(emulator, playbook)
    assert_ran_once(emulator)


def test_a_failed_script_fails_the_action(emulator: Emulator, playbook: Any) -> None:
    emulator.on_script("triage.ps1", exit_code=3, duration=5)
    playbook.on_start(CONTAINER)
    results = serve(emulator, playbook)
    assert results[-1]["action_results"][0]["status"] == "failed"
    (note,) = playbook.phantom.notes
    assert "exited with 3" in note


def test_a_machine_that_does_not_exist_fails_the_action(emulator: Emulator) -> None:
    parameters = {"machine": "nowhere", "script": "triage.ps1", "comment": "x"}
    result = run_action(emulator, [{**parameters, "correlation_id": "x"}])
    (found,) = result["action_results"]
    assert found["status"] == "failed"
    assert "nowhere" in found["message"]
    assert MACHINE not in found["message"]
