"""SIGSTOP anywhere between intent and result: another process takes over, and nothing runs twice.

A process is stopped until its lease has expired and another process with the same id is done. Then
it continues: it must end with the same action, or with an error that says what happened.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from gate_helpers import Gate
from runtime_helpers import MACHINE, pick_count
from state_helpers import (
    Calls,
    describe,
    judge,
    read_output,
    run_cases,
    shared_stores,
    stage,
    start_waiting,
    start_worker,
    story,
    wait_for,
    wait_until_ready,
)
from state_worker import limits

from mde_live_response import StateError
from mde_live_response.emulator import Emulator

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGSTOP on Windows")

AT_ONCE = 32
"""Cases that run in parallel: each waits 15 s until the lease of the stopped process expires."""
LIMITS: dict[str, Any] = {
    "submit": [[1000, 1.0]],
    "read": [[1000, 1.0]],
    "sessions": 50,
    "settle_time": 0.5,
}
LATE = {"kind": "delay", "seconds": 600.0}
POST = "runliveresponse"
LIST = "machineactions"
WINDOW = pick_count(6, 15)
LOCKED = "the lock of a write"
STEPS: dict[str, tuple[list[dict[str, Any]], tuple[str, int] | None, str | None]] = {
    # The faults, the call (route and number) that hangs when the process is stopped, and the
    # stage of the intent in the store.
    "before the post": ([{"path": LIST, **LATE}], (LIST, 1), "intended"),
    "on the token of another try": (
        [{"path": POST, "kind": "expire_token"}, {"path": "token", **LATE}],
        ("token", 1),
        "posted",
    ),
    "connecting for the post": ([], None, "posted"),
    "connecting for the post, slowly": ([], None, "posted"),
    "on a post that was not taken": ([{"path": POST, **LATE}], (POST, 1), "posted"),
    "on a post that was taken": ([{"path": POST, "acts": True, **LATE}], (POST, 1), "posted"),
    "settling one that was taken": (
        [{"path": POST, "kind": "drop_after"}, {"path": LIST, "nth": 2, **LATE}],
        (LIST, 2),
        "posted",
    ),
    "settling one that was not": (
        [{"path": POST, "kind": "drop_before"}, {"path": LIST, "nth": 2, **LATE}],
        (LIST, 2),
        "posted",
    ),
    "on a poll": ([{"path": LIST, "nth": 2, **LATE}], (LIST, 2), "started"),
    "on a link": ([{"path": "resultlink", **LATE}], ("resultlink", 1), "started"),
    "on the file": ([{"path": "blob", "nth": 2, **LATE}], ("blob", 2), "started"),
    "anywhere": ([], None, None),
}


TRIES = 4
"""How often a case is tried whose process was not at its step when it was stopped."""


class StepMissedError(AssertionError):
    """The process was stopped, but not at its step."""


class Case:
    """One process that is stopped at one step, with an emulator of its own."""

    def __init__(self, at: int, store: str, folder: Path, tries: int = TRIES) -> None:
        self.at, self.store, self.state = at, store, store
        self.tries = tries
        self.folder = folder / str(at)
        self.folder.mkdir(parents=True)
        if store.startswith("sqlite"):
            # A file of its own: a process that is stopped in the middle of a write has the lock.
            self.state = f"sqlite:///{self.folder / 'state.db'}"
        self.step = list(STEPS)[at % len(STEPS)]
        self.title = f"case {at}, {self.step}"
        self.correlation_id = f"job-{at}"
        self.figures: Counter[str] = Counter(cases=1)

    def run(self) -> Counter[str]:
        try:
            return self.run_once()
        except StepMissedError:
            if self.tries == 1:
                raise
            # The machine is busy. Nothing was tested, so start again.
            return Case(self.at, self.store, self.folder / "again", self.tries - 1).run()

    def run_once(self) -> Counter[str]:
        is_connecting = self.step.startswith("connecting")
        with ExitStack() as stack:
            # The store is shared: each try needs an application of its own.
            seed = self.at * TRIES + self.tries
            emulator = Emulator(limits=limits(LIMITS), seed=seed, tls=is_connecting, machines=1)
            self.emulator = stack.enter_context(emulator)
            emulator.on_script("echo.ps1", stdout=lambda _, args: str(args), duration=0.05)
            emulator.put_remote_file(MACHINE, "C:\\x", b"evidence")
            self.gate = stack.enter_context(Gate(emulator)) if is_connecting else None
            # The submit waits for its window, so that the gate is closed before the POST. No
            # time-out ends the wait at the gate. With this settle time, the wait is too short for
            # another read of the list.
            limited = {**LIMITS, "submit": [[1, WINDOW]], "settle_time": 20.0 * WINDOW}
            slow = {"limits": limited, "timeouts": (60.0, 60.0)}
            options = slow if is_connecting else {}
            process = self.start(self.correlation_id, wait=True, **options)
            try:
                wait_until_ready(process)
                first = read_output(self.start("first", **options), 180)["ran"][0]["id"]
                self.stop(process)
                action = self.take_over()
                action = self.resume(process, action)
            finally:
                process.kill()
                process.communicate()
            self.figures.update(judge(emulator, self.state, {first, action}, self.step))
        return self.figures

    def start(self, correlation_id: str, **options: Any) -> subprocess.Popen[str]:
        job = {
            "state": self.state,
            "limits": LIMITS,
            "shares": [[[MACHINE, correlation_id]]],
            "save_to": str(self.folder),
            "report": True,
            "timeouts": (10.0, 10.0),
            **options,
        }
        url = self.gate.url if self.gate else self.emulator.url
        return start_worker(self.emulator, job, MDE_LIVE_RESPONSE_ENDPOINT=url)

    def stop(self, process: subprocess.Popen[str]) -> None:
        """Stop the process at its step."""
        faults, hangs, known = STEPS[self.step]
        calls, gate = Calls(self.emulator), self.gate
        for fault in faults:
            self.emulator.fault("*", **fault)
        start_waiting(process)
        if gate:
            wait_for(lambda: calls.statuses(LIST) == [200], self.step)
            gate.close()
            wait_for(lambda: gate.is_holding, self.step)
        elif hangs:
            wait_for(lambda: calls.is_hanging(*hangs), self.step)
        else:
            time.sleep(random.Random(self.at).uniform(0.0, 0.5))
        process.send_signal(signal.SIGSTOP)
        found = self.find_stage()
        while known is not None and found == LOCKED:
            # It was stopped in the middle of a write. That is for "anywhere".
            process.send_signal(signal.SIGCONT)
            time.sleep(0.05)
            process.send_signal(signal.SIGSTOP)
            found = self.find_stage()
        if known not in (None, found):
            raise StepMissedError(f"{self.step}: {found}")
        self.figures[f"stopped when {found} in the store"] += 1

    def find_stage(self) -> str:
        """Return the stage of the intent in the store."""
        try:
            return stage(self.state, self.emulator, self.correlation_id) or "nothing"
        except StateError as error:
            if "locked by other processes" not in str(error):
                raise
            return LOCKED

    def take_over(self) -> str | None:
        """Let another process submit with the same id. Returns its action."""
        if self.gate:
            self.gate.open()
            if not self.step.endswith("slowly"):
                self.gate.release()
        return self.read(self.start(self.correlation_id), "second process")

    def resume(self, process: subprocess.Popen[str], action: str | None) -> str:
        """Let the stopped process continue. Returns the action of all."""
        process.send_signal(signal.SIGCONT)
        if self.gate and self.step.endswith("slowly"):
            time.sleep(random.Random(self.at).uniform(0.0, 1.0))
            self.gate.release()
        resumed = self.read(process, "stopped process")
        # Whoever failed has the answer of a further try.
        if action is None or resumed is None:
            action = self.read(self.start(self.correlation_id), "further try")
        assert action is not None, f"{self.step}: {self.figures}"
        assert resumed in (None, action), f"{self.step}: {self.figures}{story(self.emulator)}"
        return action

    def read(self, process: subprocess.Popen[str], who: str) -> str | None:
        """Return the action of a process, or count its error."""
        printed = read_output(process, 180)
        for error in printed["errors"]:
            self.figures[f"{who}: {describe(error, self.folder)}"] += 1
        if not printed["ran"]:
            return None
        (row,) = printed["ran"]
        assert row["ok"], f"{self.step}, {who}: {row}"
        return str(row["id"])


def test_a_process_stopped_at_any_step_starts_nothing_twice(tmp_path: Path) -> None:
    count = pick_count(len(STEPS), 500)
    with shared_stores(tmp_path) as stores:
        cases = {
            kind: [Case(at, address, tmp_path / kind) for at in range(count)]
            for kind, address in stores.items()
        }
        run_cases(cases, AT_ONCE)
