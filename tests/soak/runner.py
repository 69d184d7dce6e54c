"""Starts the processes of a run, collects their samples, and judges them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mde_live_response

from . import measure
from .slopes import KINDS, Kind, Line, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

TESTS = Path(__file__).resolve().parents[1]
PACKAGE = Path(mde_live_response.__file__).resolve().parents[1]
EXACT_MALLOC = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""Freed memory that a thread keeps for itself counts as in use. It fills for hours: each thread may
keep up to 0.2 MB."""
END = 120.0
"""Seconds within which a worker must end what it does."""


@dataclass
class Plan:
    """How a run is done."""

    seconds: float
    samples: int = 0
    """The least samples of each worker, however long they take."""
    every: float = 10.0
    objects_every: float = 60.0
    prune_every: float = 60.0
    rate: float = 6.0
    """Tasks that a worker starts in a second."""
    seed: int = 1
    leak: str | None = None

    def is_sampled(self, all_findings: Sequence[Findings]) -> bool:
        return all(len(it.series.get("rss", ())) >= self.samples for it in all_findings)


@dataclass
class Findings:
    """What one worker did, and what it held."""

    store: str
    seconds: float = 0.0
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    service: dict[str, int] = field(default_factory=dict)

    @property
    def sessions_per_hour(self) -> float:
        return self.counts.get("sessions", 0) / self.seconds * 3600

    @property
    def calls(self) -> int:
        return sum(count for what, count in self.counts.items() if what.startswith("calls: "))

    def lines(self) -> dict[Kind, Line]:
        """Return the fitted line of each series."""
        return {
            kind: judge(kind, self.series[kind.name], self.sessions_per_hour)
            for kind in KINDS
            if kind.name in self.series
        }

    def mistakes(self) -> Iterator[str]:
        """Yield what is not right, apart from slopes."""
        yield from self.wrong
        done = self.counts.get("sessions ok", 0)
        most = done + self.counts.get("sessions cancelled", 0)
        ran = self.service["ran"]
        if not done <= ran <= most:
            yield f"{ran} sessions ran at the service; {done} to {most} have a result"
        for what in ("twice", "broken_limits"):
            if self.service[what]:
                yield f"{what}: {self.service[what]}"


class Pair:
    """A worker and its emulator."""

    def __init__(self, findings: Findings, state: str, folder: Path, plan: Plan) -> None:
        self.findings, self._state = findings, state
        path = os.pathsep.join(map(str, (TESTS, PACKAGE)))
        env = {**os.environ, "PYTHONPATH": path}
        self._service = self._start("service", str(plan.seed), env)
        assert self._service.stdout is not None
        env |= json.loads(self._service.stdout.readline())
        job = {
            "state": state,
            "folder": str(folder),
            "seed": plan.seed,
            "rate": plan.rate,
            "every": plan.every,
            "objects_every": plan.objects_every,
            "prune_every": plan.prune_every,
            "leak": plan.leak,
        }
        self._worker = self._start("worker", json.dumps(job), env | EXACT_MALLOC)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _start(self, module: str, argument: str, env: Mapping[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", f"soak.{module}", argument],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _read(self) -> None:
        assert self._worker.stdout is not None
        for line in self._worker.stdout:
            self._record(json.loads(line))

    def _record(self, line: dict[str, Any]) -> None:
        findings = self.findings
        findings.counts = line["counts"]
        if line.get("ended"):
            findings.wrong = line["wrong"]
            return
        findings.seconds = line["time"]
        for name, value in {**line["sample"], **measure.store(self._state)}.items():
            findings.series.setdefault(name, []).append((line["time"], value))

    @property
    def is_alive(self) -> bool:
        return self._worker.poll() is None

    def end(self) -> None:
        """Let the worker end, then ask the emulator what it has counted."""
        assert self._worker.stdin is not None
        self._worker.stdin.close()
        code = self._worker.wait(END)
        self._reader.join(END)
        if code != 0:
            self.findings.wrong.append(f"the worker ended with exit code {code}")
        assert self._service.stdin is not None
        assert self._service.stdout is not None
        self._service.stdin.close()
        self.findings.service = json.loads(self._service.stdout.readline())
        self._service.wait(END)

    def kill(self) -> None:
        for process in (self._worker, self._service):
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


@contextmanager
def running(findings: Findings, state: str, folder: Path, plan: Plan) -> Iterator[Pair]:
    pair = Pair(findings, state, folder, plan)
    try:
        yield pair
    finally:
        pair.kill()


def run(
    stores: Mapping[str, str],
    folder: Path,
    plan: Plan,
    report: Callable[[float, list[Findings]], None] = lambda *_: None,
) -> list[Findings]:
    """Run a worker for each store, given by its name and address."""
    all_findings = [Findings(name) for name in stores]
    with ExitStack() as stack:
        pairs = [
            stack.enter_context(running(findings, address, folder / findings.store, plan))
            for findings, address in zip(all_findings, stores.values(), strict=True)
        ]
        sampled = partial(plan.is_sampled, all_findings)
        started = time.monotonic()
        while (left := started + plan.seconds - time.monotonic()) > 0 or not sampled():
            time.sleep(max(0.1, min(plan.every, left)))
            assert all(pair.is_alive for pair in pairs), "a worker has died"
            report(time.monotonic() - started, all_findings)
        for pair in pairs:
            pair.end()
    return all_findings
