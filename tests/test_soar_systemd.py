"""The systemd example: its units are valid, and each tick is a process that may be killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from runtime_helpers import wait_until
from soar_helpers import EXAMPLES, assert_ran_once, environment, run_file, script_output

from mde_live_response import Command
from mde_live_response.emulator import Emulator

UNITS = EXAMPLES / "systemd"
SCRIPT = UNITS / "mde_triage.py"
NAMES = [f"ws-{number:04}.example.test" for number in range(1, 4)]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(machines=3) as emulator:
        emulator.on_script("triage.ps1", stdout="found it", duration=40)
        yield emulator


@pytest.fixture
def env(emulator: Emulator, tmp_path: Path) -> dict[str, str]:
    """What systemd sets for the service."""
    state, credentials = tmp_path / "state", tmp_path / "credentials"
    state.mkdir()
    credentials.mkdir()
    (credentials / "client-secret").write_text(emulator.client_secret + "\n")
    folders = {"STATE_DIRECTORY": str(state), "CREDENTIALS_DIRECTORY": str(credentials)}
    env = environment(emulator, MDE_LIVE_RESPONSE_STATE=f"sqlite:///{state}/state.db", **folders)
    del env["AZURE_CLIENT_SECRET"]
    return env


def results(env: dict[str, str], day: str | None = None) -> dict[str, Any]:
    folder = Path(env["STATE_DIRECTORY"], day or date.today().isoformat())
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def tick_until(emulator: Emulator, env: dict[str, str], count: int) -> None:
    """Run ticks, a minute apart, until there are `count` results."""
    for _ in range(10):
        assert run_file(SCRIPT, *NAMES, env=env).returncode == 0
        if len(results(env)) == count:
            return
        emulator.advance(60)
    raise AssertionError("the results did not come")


def test_ticks_collect_the_results(emulator: Emulator, env: dict[str, str]) -> None:
    tick_until(emulator, env, 3)
    assert {name: script_output(result) for name, result in results(env).items()} == dict.fromkeys(
        NAMES, "found it"
    )
    requests = len(emulator.requests)
    assert run_file(SCRIPT, *NAMES, env=env).returncode == 0
    assert len(emulator.requests) == requests, "a day that is done needs no request"
    assert_ran_once(emulator, sessions=3)


def test_a_tick_may_be_killed(emulator: Emulator, env: dict[str, str]) -> None:
    process = subprocess.Popen([sys.executable, str(SCRIPT), *NAMES], env=env)
    wait_until(lambda: emulator.counters.get("runliveresponse", 0) >= 2, "the submit")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    tick_until(emulator, env, 3)
    assert_ran_once(emulator, sessions=3)


def test_a_lost_handle_is_found_by_the_correlation_id(
    emulator: Emulator, env: dict[str, str]
) -> None:
    assert run_file(SCRIPT, *NAMES, env=env).returncode == 0
    handles = list(Path(env["STATE_DIRECTORY"]).glob("*/*.handle"))
    assert len(handles) == 3
    for handle in handles:
        handle.unlink()
    tick_until(emulator, env, 3)
    assert_ran_once(emulator, sessions=3)


def test_a_session_of_yesterday_is_collected(emulator: Emulator, env: dict[str, str]) -> None:
    yesterday = Path(env["STATE_DIRECTORY"], "2026-01-01")
    yesterday.mkdir()
    with emulator.client(state=env["MDE_LIVE_RESPONSE_STATE"]) as client:
        session = client.submit(NAMES[0], Command.run_script("triage.ps1"), "x")
    (yesterday / f"{NAMES[0]}.handle").write_text(json.dumps(session.to_dict()))
    emulator.advance(600)
    tick_until(emulator, env, 3)
    assert set(results(env, yesterday.name)) == {NAMES[0]}


def test_the_error_of_one_machine_stops_no_other(emulator: Emulator, env: dict[str, str]) -> None:
    done = run_file(SCRIPT, "nowhere", *NAMES, env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("nowhere: ")
    assert len(done.stderr.splitlines()) == 1
    assert_ran_once(emulator, sessions=3)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_the_units_are_valid(tmp_path: Path) -> None:
    for path in (*UNITS.glob("*.service"), *UNITS.glob("*.timer")):
        # The check looks for the program, which is installed elsewhere.
        text = path.read_text().replace("/opt/mde-triage/bin/python", "/bin/true")
        (tmp_path / path.name).write_text(text)
    units = sorted(str(path) for path in tmp_path.iterdir())
    assert len(units) == 2
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
