"""The Airflow example, run by the real Airflow: worker, trigger and database.

`make test-examples` installs Airflow into an environment of its own. That takes minutes, so
`make test` leaves these tests out.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from soar_helpers import HAS_PLATFORMS, MACHINE, PLATFORMS, assert_ran_once, environment
from soar_helpers import script_output as output_of

from mde_live_response.emulator import Emulator

DAGS = PLATFORMS / "airflow_dags"

if importlib.util.find_spec("airflow") is None:
    assert not HAS_PLATFORMS, "make test-examples installs Airflow"
    pytest.skip("Airflow is not installed: run make test-examples", allow_module_level=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Airflow home with an empty database."""
    home = tmp_path_factory.mktemp("airflow")
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env={**os.environ, **settings(home)},
        capture_output=True,
        timeout=300,
        check=True,
    )
    return home


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(machines=1, speed=20.0) as emulator:
        emulator.on_script("triage.ps1", stdout="found it", duration=60)
        yield emulator


def settings(home: Path) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }


def run_dag(emulator: Emulator, home: Path, *, dies: bool = False) -> dict[str, Any]:
    """Run the DAG once, and return the end of its task."""
    env = environment(emulator, **settings(home), **({"TEST_DIES": "1"} if dies else {}))
    done = subprocess.run(
        [sys.executable, str(DAGS / "triage_dag.py"), MACHINE],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads((home / "report.json").read_text())
    return report


def test_the_task_defers_and_returns_the_result(emulator: Emulator, home: Path) -> None:
    report = run_dag(emulator, home)
    assert (report["state"], report["attempts"]) == ("success", 1)
    assert output_of(report["result"]) == "found it"
    (action,) = emulator.client().list_machine_actions()
    assert (action.requestor_comment or "").startswith("case 42 ")
    assert action.commands[0].command.params["Args"] == "-Depth 2"
    assert_ran_once(emulator)


def test_the_second_attempt_finds_the_session(emulator: Emulator, home: Path) -> None:
    report = run_dag(emulator, home, dies=True)
    assert (report["state"], report["attempts"]) == ("success", 2)
    assert output_of(report["result"]) == "found it"
    assert_ran_once(emulator)


def test_a_failed_script_fails_the_task(emulator: Emulator, home: Path) -> None:
    emulator.on_script("triage.ps1", exit_code=3, duration=5)
    assert run_dag(emulator, home)["state"] == "failed"
    assert_ran_once(emulator)
