"""Runs one fault of a process or of its system, and judges it like the other cells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import rules
from .box import ARGUMENT, REMOTE, SCRIPT, SPEED, Box
from .cells import Operation, StoreKind
from .operations import COMMENT, ID, Ended, Trial
from .rules import Broken, broken
from .system_faults import FAKETIME, SystemFault
from .system_stores import FaultyStore, RedisStore, SqliteStore, fill, mount, unmount

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from .listener import Loop
    from .steps import Step

WORKER = Path(__file__).with_name("worker.py")
PATIENCE = 20.0
"""How long the process waits for its result. A store that is away is given up after ten seconds."""
AGAIN = ("StateError", "SubmitUnknownError")
"""Errors after which the caller tries again with the same id."""
ENDS = 90.0
"""Seconds within which the process must end."""


@dataclass(frozen=True)
class SystemCell:
    """One fault of the system, at one moment, with one store."""

    fault: SystemFault
    store: StoreKind
    moment: Step | None

    def __str__(self) -> str:
        when = f"at the {self.moment.value}" if self.moment else "before the call"
        return f"{self.store.value}: {self.fault.name}, {when}"


class SystemCase:
    """A process that runs commands, and what happens to it."""

    def __init__(self, cell: SystemCell, number: int, folder: Path, loop: Loop) -> None:
        self.cell, self.folder = cell, folder
        folder.mkdir(parents=True)
        self._clock = folder / "clock"
        self._clock.write_text("+0")
        self._is_mounted = False
        self.process: subprocess.Popen[str] | None = None
        self.output = ""
        self.got = ""
        if cell.store is StoreKind.MEMORY:
            self.box = Box(number, folder / "box", "memory:", loop)
            return
        self.store: FaultyStore = (
            SqliteStore(folder / "store")
            if cell.store is StoreKind.SQLITE
            else RedisStore(folder / "store")
        )
        self.store.start()
        self.box = Box(number, folder / "box", self.store.address, loop)

    def run(self, records: Callable[[], str]) -> list[Broken]:
        """Run and judge the case. `records` returns what this process has logged meanwhile."""
        try:
            with self.box as box:
                self._open_to_other_users()
                box.saved.mkdir(mode=0o777)
                box.saved.chmod(0o777)
                return [*self._run(box), *rules.judge_leaks(box, self.output + records())]
        finally:
            self._clean()

    def _run(self, box: Box) -> Iterator[Broken]:
        trial = Trial(box, Operation.RUN, cancels=False)
        fault, moment = self.cell.fault, self.cell.moment
        # Under a limit of threads, the process is another user, who needs a store of its own.
        if self.cell.store is not StoreKind.MEMORY and not fault.limit:
            with box.client(PATIENCE) as client:
                client.list_machines()
            if fault.name.startswith("store put back"):
                self.store.copy()
        if moment is None:
            fault.make(self)
            self.process = self._start(box)
        else:
            box.front.hold(moment)
            self.process = self._start(box)
            if not box.front.is_holding.wait(ENDS):
                yield broken(rules.OCCURRED, f"the process made no such request: {self._end()}")
                return
            fault.make(self)
            box.front.release()
        ends = self._end()
        self.got = summary(ends)
        fault.remove(self)
        yield from self._judge_process(ends)
        yield from self._recover(box, trial)

    def _recover(self, box: Box, trial: Trial) -> Iterator[Broken]:
        ended = trial.recover(Ended())
        if not ended.is_complete and all(type(it).__name__ in AGAIN for it in ended.errors):
            # What the error of a store says: try again.
            ended = trial.recover(Ended())
        yield from rules.judge_recovery(None, trial, ended)
        trial.close()
        yield from rules.judge_service(box, trial)

    def _open_to_other_users(self) -> None:
        """Without threads, the process is another user, who reads and writes there."""
        top = Path(tempfile.gettempdir())
        for path in (self.box.folder, *self.box.folder.parents):
            if path != top and path.is_relative_to(top):
                path.chmod(0o777)

    def _start(self, box: Box) -> subprocess.Popen[str]:
        job = {
            "state": box.state,
            "limit": self.cell.fault.limit,
            "machine": "ws-0001.example.test",
            "tool": str(box.tool),
            "script": SCRIPT,
            "argument": ARGUMENT,
            "remote": REMOTE,
            "comment": COMMENT,
            "saved": str(box.saved),
            "timeout": PATIENCE,
            "id": ID,
            "submit": [[10, 60 / SPEED]],
            "read": [[100, 60 / SPEED], [1500, 3600 / SPEED]],
            "sessions": 1,
            "settle_time": 120 / SPEED,
        }
        env = {**os.environ, **box.env}
        if self.cell.fault.name.startswith("clock"):
            env |= {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        return subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(job)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _end(self) -> list[dict[str, Any]]:
        """Wait for the process, and return what it printed."""
        assert self.process is not None
        try:
            out, err = self.process.communicate(timeout=ENDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            err += "\nHANGS"
        self.output = out + err
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")]

    def _judge_process(self, ends: list[dict[str, Any]]) -> Iterator[Broken]:
        fault = self.cell.fault
        if self.output.endswith("HANGS"):
            yield broken(rules.HANG, f"the process did not end in {ENDS:.0f} s")
            return
        if fault.ends_process:
            return
        if not ends:
            assert self.process is not None
            last = self.output.strip().splitlines()[-1:]
            yield broken(rules.CLEAR, f"the process died: {self.process.returncode}, {last}")
            return
        for error in ends[0]["errors"]:
            text = f"{error['kind']}: {error['text']}"
            if not (error["is_ours"] or (fault.is_local and error["is_local"])):
                yield broken(rules.CLEAR, f"no LiveResponseError: {text}")
            if not error["text"].strip():
                yield broken(rules.CLEAR, f"no message: {error['kind']}")
        if ends[0]["reason"] not in ("ok", "fetch") and not ends[0]["errors"]:
            yield broken(rules.CLEAR, f"no error explains {ends[0]['reason']}")
        if fault.passes and ends[0]["reason"] != "ok":
            yield broken(rules.SURVIVES, ends[0])
        if fault.limit and ends[-1]["reason"] != "ok":
            yield broken(rules.LOST, f"without the limit: {ends[-1]}")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def set_clock(self, step: str) -> None:
        self._clock.write_text(step)

    def fill_saved(self) -> None:
        mount(self.box.saved, "64k")
        self._is_mounted = True
        self.box.saved.chmod(0o777)
        fill(self.box.saved)

    def empty_saved(self) -> None:
        (self.box.saved / "filler").unlink()

    def _clean(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        if self._is_mounted:
            unmount(self.box.saved)
        if self.cell.store is not StoreKind.MEMORY:
            self.store.stop()


def summary(ends: list[dict[str, Any]]) -> str:
    """Return what the process got, as a word or the names of its errors."""
    if not ends:
        return "no answer"
    names = sorted({f"`{error['kind']}`" for error in ends[0]["errors"]})
    if ends[0]["reason"] == "ok":
        return "its result"
    return " and ".join(names) or str(ends[0]["reason"])
