"""Several processes with one state store keep the limits together, and submit everything once."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from state_helpers import read_output, redis_server, start_worker
from state_worker import limits

from mde_live_response.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES, THREADS, SUBMITS = 8, 4, 200
LIMITS: dict[str, Any] = {
    "submit": [[10, 0.4]],
    "read": [[100, 1.0], [1500, 60.0]],
    "sessions": 10,
    "settle_time": 2.0,
}


@pytest.fixture(params=["sqlite", "redis"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "redis":
        yield from redis_server(tmp_path)
    else:
        yield f"sqlite:///{tmp_path / 'state.db'}"


def strict_emulator(machines: int) -> Emulator:
    emulator = Emulator(machines=0, limits=limits(LIMITS))
    emulator.on_script("echo.ps1", stdout=lambda _, args: str(args), duration=0.05)
    for machine in range(1, machines + 1):
        emulator.add_machine(f"ws-{machine:04}.example.test", start_delay=0.05)
        emulator.put_remote_file(f"ws-{machine:04}.example.test", "C:\\x", b"evidence")
    return emulator


def test_eight_processes_break_no_limit_and_run_each_job_once(state: str) -> None:
    """Some machines are busy with other callers, and several processes submit the same job."""
    chance = random.Random(4)
    orders = [
        [f"ws-{chance.randint(1, 25):04}.example.test", f"order-{at}"] for at in range(SUBMITS)
    ]
    doubled = [*orders, *chance.sample(orders, SUBMITS // 10)]
    chance.shuffle(doubled)
    shares = [doubled[at :: PROCESSES * THREADS] for at in range(PROCESSES * THREADS)]
    with strict_emulator(25) as emulator:
        told = [
            {"state": state, "limits": LIMITS, "shares": shares[at::PROCESSES]}
            for at in range(PROCESSES)
        ]
        processes = [start_worker(emulator, order) for order in told]
        ran = [row for process in processes for row in read_output(process, 240)]
        assert len(ran) == len(doubled)
        assert [row["message"] for row in ran if not row["ok"]] == []
        told_by = {row["id"]: row["stdout"].split()[-1] for row in ran}
        assert sorted(told_by.values()) == sorted(name for _, name in orders), (
            "each has its own result"
        )
        posts = [request for request in emulator.requests if request["route"] == "runliveresponse"]
        assert len(posts) == SUBMITS, [
            request["status"] for request in posts if request["status"] != 201
        ]
        assert emulator.violations == dict.fromkeys(emulator.violations, 0)
