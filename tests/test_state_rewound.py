"""A store that is put back to an earlier copy in the middle of a run: nothing runs twice.

The process that runs is killed before that, or continues. A second process then asks for the same
id, and submits more. Each must end with the one action or with a StateError that says what
happened, and the limits of the service are kept.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from rewind_helpers import RedisServer, RewindableStore, SqliteFile
from runtime_helpers import MACHINE, SOAK, pick_count
from state_helpers import (
    Calls,
    describe,
    find_redis,
    judge,
    read_output,
    run_cases,
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

AT_ONCE = 24
LIMITS: dict[str, Any] = {
    # A submit that the store forgot makes one too many, if it does not count.
    "submit": [[3, 6.0]],
    "read": [[1000, 1.0]],
    "sessions": 50,
    "settle_time": 1.0,
}
TRUSTED = 2.5
"""A copy that is younger is trusted, if the file or the server is the same (docs/state.md)."""
IN_PLACE = ("restored through SQLite", "overwritten", "reloaded")
POST = "runliveresponse"
LIST = "machineactions"
LATE = {"kind": "delay", "seconds": 600.0}
SHORT = {"kind": "delay", "seconds": 3.0 if SOAK else 1.5}
"""Long enough to copy the store."""


class Moment(NamedTuple):
    """When the store is put back."""

    faults: list[dict[str, Any]]
    hangs: tuple[str, int]
    """The call (route and number) that hangs then."""
    has_action: bool
    copies: tuple[str, ...]
    """When the copy can have been made: at a stage of the intent, or before the run."""


MOMENTS = {
    "before the post": Moment([{"path": LIST, **LATE}], (LIST, 1), False, ("before",)),
    "on a post that is not taken": Moment(
        [{"path": LIST, **SHORT}, {"path": POST, **LATE}], (POST, 1), False, ("before", "intended")
    ),
    "on a post that is taken": Moment(
        [{"path": LIST, **SHORT}, {"path": POST, "acts": True, **LATE}],
        (POST, 1),
        True,
        ("before", "intended"),
    ),
    "settling": Moment(
        [
            {"path": LIST, **SHORT},
            {"path": POST, "kind": "drop_after"},
            {"path": LIST, "nth": 2, **LATE},
        ],
        (LIST, 2),
        True,
        ("before", "intended"),
    ),
    "on a poll": Moment(
        [
            {"path": LIST, **SHORT},
            {"path": POST, "acts": True, **SHORT},
            {"path": LIST, "nth": 2, **LATE},
        ],
        (LIST, 2),
        True,
        ("before", "intended", "posted"),
    ),
    "on a link": Moment([{"path": "resultlink", **LATE}], ("resultlink", 1), True, ("before",)),
    "anywhere": Moment([], ("", 0), False, ("before",)),
}
COPIED_AT = {"intended": (LIST, 1), "posted": (POST, 1)}
"""The call that hangs while the store is copied."""
CASES = [
    (moment, copy, is_killed)
    for moment, (*_, copies) in MOMENTS.items()
    for copy, is_killed in product(copies, (True, False))
]


class Case:
    """One run whose store is put back, with an emulator and a store of its own."""

    def __init__(
        self, at: int, of: list[tuple[str, str, bool]], store: type[RewindableStore], folder: Path
    ) -> None:
        self.at = at
        self.name, self.copied_at, self.is_killed = of[at % len(of)]
        # Every way comes with every case, one after the other.
        self.how = store.WAYS[(at + at // len(of)) % len(store.WAYS)]
        self.moment = MOMENTS[self.name]
        self.title = (
            f"case {at}: {self.name}, copied {self.copied_at}, {self.how}, "
            f"{'killed' if self.is_killed else 'alive'}"
        )
        self.folder = folder / f"{store.__name__}-{at}"
        self.store_type = store
        self.correlation_id = f"job-{at}"
        self.figures: Counter[str] = Counter(cases=1)
        self.errors: list[str] = []
        self.losses = 0

    def run(self) -> Counter[str]:
        self.folder.mkdir()
        self.store = self.store_type(self.folder)
        try:
            # A file that was replaced is known to be a copy. Then no action is missed, even if the
            # list does not show it yet.
            self.list_lag = 0.5 if self.how == "replaced" else 0.0
            with Emulator(
                limits=limits(LIMITS),
                seed=self.at,
                machines=1,
                switches={"list_lag": self.list_lag},
            ) as self.emulator:
                self.run_with_emulator()
        finally:
            self.store.stop()
        return self.figures

    def run_with_emulator(self) -> None:
        emulator = self.emulator
        emulator.on_script("echo.ps1", stdout=lambda _, args: str(args), duration=0.05)
        emulator.put_remote_file(MACHINE, "C:\\x", b"evidence")
        process = self.start([self.correlation_id], wait=True)
        resumed: dict[str, str] = {}
        try:
            wait_until_ready(process)
            first = self.read(self.start(["first"]))["first"]
            self.rewind_in_the_middle(process)
            more = [self.correlation_id, "after-1", "after-2"]
            ran = self.read(self.start(more))
            if not self.is_killed:
                resumed = self.read(process)
        finally:
            process.kill()
            process.communicate()
        if self.errors:
            self.store.repair()
            ran = self.read(self.start(more))
        assert list(ran) == more, f"{self.title}: {ran}, {self.errors}"
        if not self.is_killed:
            assert resumed.items() <= ran.items(), f"{self.title}: {resumed}, {ran}"
        self.figures.update(judge(emulator, self.store.address, {first, *ran.values()}, self.title))
        self.check_warnings()

    def start(self, correlation_ids: list[str], **options: Any) -> subprocess.Popen[str]:
        job = {
            "state": self.store.address,
            "limits": LIMITS,
            "shares": [[[MACHINE, correlation_id] for correlation_id in correlation_ids]],
            "save_to": str(self.folder),
            "report": True,
            "timeouts": (5.0, 5.0),
            **options,
        }
        return start_worker(self.emulator, job)

    def rewind_in_the_middle(self, process: subprocess.Popen[str]) -> None:
        if self.copied_at == "before":
            self.copy()
        calls = Calls(self.emulator)
        for fault in self.moment.faults:
            self.emulator.fault("*", **fault)
        start_waiting(process)
        if self.copied_at != "before":
            wait_for(lambda: calls.is_hanging(*COPIED_AT[self.copied_at]), self.title)
            self.copy()
        if self.moment.faults:
            wait_for(lambda: calls.is_hanging(*self.moment.hangs), self.title)
        else:
            time.sleep(random.Random(self.at).uniform(0.0, 0.8))
        found = stage(self.store.address, self.emulator, self.correlation_id)
        self.figures[f"put back when {found or 'nothing'} was stored"] += 1
        # A slow machine reads the list once more before the POST, and the fault hit that read.
        self.has_action = self.moment.has_action and found != "intended"
        if self.is_killed:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if self.how in IN_PLACE:
            time.sleep(max(0.0, self.copied + TRUSTED - time.monotonic()))
        self.store.rewind(self.how)

    def copy(self) -> None:
        self.store.copy()
        self.copied = time.monotonic()

    def read(self, process: subprocess.Popen[str]) -> dict[str, str]:
        """Return the actions by their correlation id. Keeps errors and warnings."""
        printed = read_output(process, 180)
        for error in printed["errors"]:
            text = describe(error, self.folder)
            assert error["kind"] in ("StateError", "SubmitUnknownError"), f"{self.title}: {text}"
            assert "disk I/O" not in text, self.title
            self.figures[text] += 1
            self.errors.append(text)
        self.losses += sum("does not know all submits" in text for text in printed["warnings"])
        ran = {}
        for row in printed["ran"]:
            if row["ok"]:
                ran[row["correlation_id"]] = row["id"]
                continue
            # The session is known, but its result waits for the store too.
            assert "state store" in row["message"], f"{self.title}: {row}"
            self.figures["no result yet, because of the state store"] += 1
            self.errors.append(row["message"])
        return ran

    def check_warnings(self) -> None:
        """Check that a loss is said once: an action that the store had, and forgot."""
        self.figures["warnings about lost submits"] += self.losses
        # A -wal file that stays has all that the copy lacks.
        is_loss = self.has_action and "-wal" not in self.how
        # The check reads a list that may not show the action yet. Then the intent finds it.
        is_listed = self.list_lag == 0.0 or self.copied_at == "before"
        if is_loss and is_listed and self.is_killed and not self.errors:
            assert self.losses == 1, self.title
        assert self.losses <= 1, self.title


def test_a_store_put_back_in_the_middle_starts_nothing_twice(tmp_path: Path) -> None:
    # A copy of a running submit has its lease, which takes 15 s to expire.
    of = [case for case in CASES if SOAK or case[1] == "before"]
    kinds: list[type[RewindableStore]] = [SqliteFile]
    if find_redis() is not None:
        kinds.append(RedisServer)
    count = pick_count(len(of), 500)
    run_cases(
        {kind.__name__: [Case(at, of, kind, tmp_path) for at in range(count)] for kind in kinds},
        AT_ONCE,
    )
