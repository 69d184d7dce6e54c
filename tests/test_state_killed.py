"""`kill -9` anywhere between intent and result: with the same id, the commands run exactly once."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from runtime_helpers import MACHINE, pick_count
from state_helpers import (
    Calls,
    judge,
    read_output,
    run_cases,
    shared_stores,
    stage,
    start_waiting,
    start_worker,
    wait_for,
    wait_until_ready,
)
from state_worker import limits

from mde_live_response.emulator import Emulator

if TYPE_CHECKING:
    import subprocess
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


class Case:
    """One process that is killed at one step, with an emulator of its own."""

    def __init__(self, at: int, state: str, folder: Path) -> None:
        self.at, self.state = at, state
        self.step = list(STEPS)[at % len(STEPS)]
        self.title = f"case {at}, {self.step}"
        self.folder = folder / str(at)
        self.correlation_id = f"job-{at}"

    def run(self) -> Counter[str]:
        """Kill a process and continue with another: one action, its result, and no slot taken."""
        with Emulator(limits=limits(LIMITS), seed=self.at) as self.emulator:
            self.emulator.on_script("echo.ps1", stdout=lambda _, args: str(args), duration=0.05)
            self.emulator.put_remote_file(MACHINE, "C:\\x", b"evidence")
            process = self.start(self.correlation_id, wait=True)
            try:
                wait_until_ready(process)
                (first,) = read_output(self.start("first"), 180)
                self.wait_for_step(process)
            finally:
                process.kill()
                process.communicate()
            found = stage(self.state, self.emulator, self.correlation_id)
            assert STEPS[self.step][2] in (None, found), f"{self.step}: {found}"
            (row,) = read_output(self.start(self.correlation_id), 180)
            assert row["ok"], f"{self.step}: {row}"
            figures = judge(self.emulator, self.state, {first["id"], row["id"]}, self.step)
        figures.update({"cases": 1, f"killed when {found} in the store": 1})
        return figures

    def start(self, correlation_id: str, **options: Any) -> subprocess.Popen[str]:
        job = {
            "state": self.state,
            "limits": LIMITS,
            "shares": [[[MACHINE, correlation_id]]],
            "save_to": str(self.folder),
            "timeouts": (10.0, 10.0),
            **options,
        }
        return start_worker(self.emulator, job)

    def wait_for_step(self, process: subprocess.Popen[str]) -> None:
        """Let the process run until it is at its step."""
        faults, hangs, _ = STEPS[self.step]
        calls = Calls(self.emulator)
        for fault in faults:
            self.emulator.fault("*", **fault)
        start_waiting(process)
        if hangs:
            wait_for(lambda: calls.is_hanging(*hangs), self.step)
        else:
            time.sleep(random.Random(self.at).uniform(0.0, 0.5))


def test_a_process_killed_at_any_step_is_resumed(tmp_path: Path) -> None:
    count = pick_count(16, 500)
    with shared_stores(tmp_path) as stores:
        cases = {
            kind: [Case(at, address, tmp_path / kind) for at in range(count)]
            for kind, address in stores.items()
        }
        run_cases(cases, AT_ONCE)
