"""A run whose workers are killed while they work; other workers continue it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_worker import LIMITS
from runtime_helpers import pick_count
from state_helpers import redis_server

from mde_live_response.emulator import Emulator

WORKER = Path(__file__).with_name("fleet_worker.py")
MACHINES = pick_count(60, 300)
KILLS = pick_count(6, 50)
SESSIONS = 10
DURATION = 0.5


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(machines=MACHINES, limits=LIMITS) as emulator:
        # Long enough that the run is not done before its last worker is killed.
        emulator.on_script("echo.ps1", stdout="done", duration=DURATION)
        yield emulator


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    yield from redis_server(tmp_path)


def work(emulator: Emulator, state: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), state, "a run", str(MACHINES), str(SESSIONS)]
    return subprocess.Popen(
        command, env={**os.environ, **emulator.env}, stdout=subprocess.PIPE, text=True
    )


def kill(worker: subprocess.Popen[str], after: float) -> None:
    """Kill the worker while it works, which it does once it has printed an outcome."""
    assert worker.stdout is not None
    worker.stdout.readline()
    time.sleep(after)
    worker.kill()
    rest, _ = worker.communicate()
    assert worker.returncode == -signal.SIGKILL
    assert len(rest.splitlines()) < MACHINES - 1, "the run was already done"


def read_outcomes(worker: subprocess.Popen[str]) -> list[str]:
    out, _ = worker.communicate(timeout=120)
    assert worker.returncode == 0
    return out.splitlines()


def assert_ran_once(emulator: Emulator, outcomes: list[str]) -> None:
    """Check that every row has an outcome, and every machine exactly one session."""
    assert sorted(int(line.split()[0]) for line in outcomes) == list(range(MACHINES))
    assert {line.split()[1] for line in outcomes} == {"ok"}
    with emulator.client() as client:
        machines = Counter(action.machine_id for action in client.list_machine_actions())
    assert len(machines) == MACHINES
    assert max(machines.values()) == 1


def test_a_run_survives_kill_9(emulator: Emulator, tmp_path: Path) -> None:
    state = f"sqlite:///{tmp_path / 'state.db'}"
    chance = random.Random(7)
    for _ in range(KILLS):
        kill(work(emulator, state), chance.random() * 0.3)
    assert_ran_once(emulator, read_outcomes(work(emulator, state)))


@pytest.mark.parametrize("workers", [2, 4])
def test_processes_share_a_run_over_redis_and_one_is_killed(
    emulator: Emulator, redis: str, workers: int
) -> None:
    processes = [work(emulator, redis) for _ in range(workers)]
    chance = random.Random(workers)
    kill(processes.pop(chance.randrange(workers)), chance.random() * 0.3)
    for process in processes:
        assert_ran_once(emulator, read_outcomes(process))
