"""The Celery example, with real workers and a real Redis. One worker is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fleet_worker import LIMITS
from runtime_helpers import wait_until
from state_helpers import redis_server

from mde_live_response.emulator import Emulator

EXAMPLES = Path(__file__).parent.parent / "examples"
MACHINES = 40


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[tuple[Emulator, dict[str, str]]]:
    with (
        contextmanager(redis_server)(tmp_path) as address,
        Emulator(machines=MACHINES, limits=LIMITS) as emulator,
    ):
        emulator.on_script("triage.ps1", stdout="done", duration=3)
        address = address.rsplit("/", 1)[0]
        state = {"MDE_LIVE_RESPONSE_STATE": f"{address}/0", "CELERY_BROKER_URL": f"{address}/1"}
        path = {"PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(Path(__file__).parent)])}
        yield emulator, {**os.environ, **emulator.env, **state, **path}


def worker(name: str, env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "celery_worker",
        "worker",
        "--pool",
        "solo",
        "-n",
        name,
        "-l",
        "INFO",
    ]
    with log.open("wb") as out:
        return subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)


def test_workers_share_a_run_and_one_is_killed(
    environment: tuple[Emulator, dict[str, str]], tmp_path: Path
) -> None:
    emulator, env = environment
    logs = [tmp_path / f"worker {number}" for number in range(2)]
    workers = [worker(f"w{number}@here", env, log) for number, log in enumerate(logs)]
    try:
        wait_until(lambda: all(b"ready" in log.read_bytes() for log in logs), "the workers", 60)
        names = [f"ws-{number:04}.example.test" for number in range(1, MACHINES + 1)]
        code = f"import celery_worker; print(celery_worker.celery_workers.start_run({names!r}, 2))"
        begun = subprocess.run(
            [sys.executable, "-c", code],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        run_id = begun.stdout.strip()
        wait_until(lambda: all(b"received" in log.read_bytes() for log in logs), "a task each", 60)
        wait_until(lambda: emulator.counters.get("runliveresponse", 0) > 5, "the run's way", 60)
        workers[0].kill()
        with emulator.client(state=env["MDE_LIVE_RESPONSE_STATE"]) as client:
            report = client.resume(run_id).report(120)
            machines = Counter(action.machine_id for action in client.list_machine_actions())
        assert [outcome.reason for outcome in report.outcomes] == ["ok"] * MACHINES
        assert (len(machines), max(machines.values())) == (MACHINES, 1)
        assert not any(emulator.violations.values())
        wait_until(lambda: b"succeeded" in logs[1].read_bytes(), "the end of the other's task", 60)
    finally:
        for process in workers:
            process.kill()
            process.wait()
