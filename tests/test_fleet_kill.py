"""A run whose processes are killed in the middle of what they do, and gone on with by others."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_worker import LIMITS
from runtime_help import times

from mde_live_response.emulator import Emulator

WORKER = Path(__file__).with_name("fleet_worker.py")
MACHINES = times(60, 300)
KILLS = times(6, 50)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(machines=MACHINES, limits=LIMITS) as emulator:
        emulator.on_script("echo.ps1", stdout="done", duration=0.2)
        yield emulator


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()


def work(emulator: Emulator, state: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), state, "a run", str(MACHINES)]
    return subprocess.Popen(command, env={**os.environ, **emulator.env}, stdout=subprocess.PIPE, text=True)


def told(worker: subprocess.Popen[str]) -> list[str]:
    out, _ = worker.communicate(timeout=120)
    assert worker.returncode == 0
    return out.splitlines()


def ran_once(emulator: Emulator, outcomes: list[str]) -> None:
    """Every row has its outcome, and no machine more than one session."""
    assert sorted(int(line.split()[0]) for line in outcomes) == list(range(MACHINES))
    assert {line.split()[1] for line in outcomes} == {"ok"}
    with emulator.client() as client:
        machines = Counter(action.machine_id for action in client.machine_actions())
    assert len(machines) == MACHINES
    assert max(machines.values()) == 1


def test_a_run_survives_kill_9(emulator: Emulator, tmp_path: Path) -> None:
    state = f"sqlite:///{tmp_path / 'state.db'}"
    chance = random.Random(7)
    for _ in range(KILLS):
        worker = work(emulator, state)
        assert worker.stdout is not None
        # It is at work when it tells of its first outcome.
        worker.stdout.readline()
        time.sleep(chance.random() * 0.3)
        worker.kill()
        worker.communicate()
    ran_once(emulator, told(work(emulator, state)))


@pytest.mark.parametrize("workers", [2, 4])
def test_processes_share_a_run_over_redis_and_one_is_killed(emulator: Emulator, redis: str, workers: int) -> None:
    processes = [work(emulator, redis) for _ in range(workers)]
    victim = processes.pop(random.Random(workers).randrange(workers))
    assert victim.stdout is not None
    victim.stdout.readline()
    victim.kill()
    victim.communicate()
    for process in processes:
        ran_once(emulator, told(process))
