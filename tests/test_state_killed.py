"""`kill -9` anywhere between intent and result: with the same id, the commands run exactly once."""

from __future__ import annotations

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from runtime_helpers import MACHINE, pick_count, requests_of, wait_until
from state_helpers import read_output, redis_server, start_worker
from state_worker import limits

from mde_live_response._native import show_state
from mde_live_response.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")

AT_ONCE = 32
"""Cases that run in parallel: each waits 15 s until the lease of a dead process expires."""
LIMITS: dict[str, Any] = {
    "submit": [[1000, 1.0]],
    "read": [[1000, 1.0]],
    "sessions": 50,
    "settle_time": 0.5,
}

HANGING = ("machineactions", "runliveresponse", "resultlink", "blob")
LATE = {"kind": "delay", "seconds": 60.0}
STEPS: dict[str, tuple[list[dict[str, Any]], tuple[str, int] | None, str | None]] = {
    # The faults, the call (route and number) that hangs when the process is killed, and the
    # stage of the intent in the store.
    "before the post": ([{"path": "machineactions", **LATE}], ("machineactions", 1), "intended"),
    "on the post": ([{"path": "runliveresponse", **LATE}], ("runliveresponse", 1), "posted"),
    "settling one that was taken": (
        [
            {"path": "runliveresponse", "kind": "drop_after"},
            {"path": "machineactions", "nth": 2, **LATE},
        ],
        ("machineactions", 2),
        "posted",
    ),
    "settling one that was not": (
        [
            {"path": "runliveresponse", "kind": "drop_before"},
            {"path": "machineactions", "nth": 2, **LATE},
        ],
        ("machineactions", 2),
        "posted",
    ),
    "on a poll": ([{"path": "machineactions", "nth": 2, **LATE}], ("machineactions", 2), "started"),
    "on a link": ([{"path": "resultlink", **LATE}], ("resultlink", 1), "started"),
    "on the file": ([{"path": "blob", "nth": 2, **LATE}], ("blob", 2), "started"),
    "anywhere": ([], None, None),
}


@pytest.fixture(params=["sqlite", "redis"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "redis":
        yield from redis_server(tmp_path)
    else:
        yield f"sqlite:///{tmp_path / 'state.db'}"


def quotas(state: str, emulator: Emulator) -> list[Any]:
    """Return the store's entries of this emulator: by its application, since ports are reused."""
    return [quota for quota in show_state(state) if quota["application"] == emulator.client_id]


def stage(state: str, emulator: Emulator, job: str) -> str | None:
    """Return the stage of the intent in the store."""
    for quota in quotas(state, emulator):
        for intent in [
            it["intent"] for it in quota["intents"] if it["key"]["correlation_id"] == job
        ]:
            return (
                "started" if intent["action_id"] else "posted" if intent["posted"] else "intended"
            )
    return None


def kill(emulator: Emulator, state: str, job: dict[str, Any], step: str, at: int) -> None:
    faults, hangs, known = STEPS[step]
    before = {route: len(requests_of(emulator, route)) for route in HANGING}
    for fault in faults:
        emulator.fault("*", **fault)
    process = start_worker(emulator, job)
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    if hangs is None:
        time.sleep(random.Random(at).uniform(0.0, 0.5))
    else:
        route, nth = hangs
        wait_until(
            lambda: (
                [call["status"] for call in requests_of(emulator, route)][before[route] + nth - 1 :]
                == [None]
            ),
            step,
        )
    process.kill()
    process.communicate()
    # A worker that starts slowly finds a store without recent entries and holds it against the
    # list first. That list is one call more, so the kill hits an earlier step.
    lists = requests_of(emulator, "machineactions")[before["machineactions"] :]
    was_checked = any("creationDateTimeUtc" in str(call["query"]) for call in lists)
    if known is not None and not was_checked:
        assert stage(state, emulator, job["shares"][0][0][1]) == known, step


def once(state: str, at: int, folder: Path) -> None:
    """Kill a process and continue with another: one action, its result, and no slot left taken."""
    step = list(STEPS)[at % len(STEPS)]
    with Emulator(limits=limits(LIMITS), seed=at) as emulator:
        emulator.on_script("echo.ps1", stdout=lambda _, args: str(args), duration=0.05)
        emulator.put_remote_file(MACHINE, "C:\\x", b"evidence")
        job = {
            "state": state,
            "limits": LIMITS,
            "shares": [[[MACHINE, f"job-{at}"]]],
            "save_to": str(folder / str(at)),
        }
        # A new Redis may be one that lost its data: the list is read more often until a settle
        # time after its first use.
        first = read_output(start_worker(emulator, {**job, "shares": [[[MACHINE, "first"]]]}), 120)[
            0
        ]["id"]
        kill(emulator, state, job, step, at)
        (row,) = read_output(start_worker(emulator, job), 120)
        assert row["ok"], f"{step}: {row}"
        with emulator.client() as client:
            assert {action.id for action in client.list_machine_actions()} == {first, row["id"]}, (
                step
            )
        (quota,) = quotas(state, emulator)
        assert quota["slots"] == [], step
        assert {intent["intent"]["action_id"] for intent in quota["intents"]} == {
            first,
            row["id"],
        }, step
        assert emulator.violations == dict.fromkeys(emulator.violations, 0), step


def test_a_process_killed_at_any_step_is_resumed(state: str, tmp_path: Path) -> None:
    kills = pick_count(32, 500)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(once, state, at, tmp_path) for at in range(kills)]:
            done.result()
