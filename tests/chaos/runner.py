"""Runs cells side by side, each with a watchdog, and judges them."""

from __future__ import annotations

import shutil
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from leak_helpers import LeakDetector

from . import rules
from .box import Box
from .cells import Cell, Operation, StoreKind
from .known import reason_of
from .listener import Loop
from .operations import LATER, Ended, Trial
from .rules import Broken, broken
from .steps import Step
from .system import SystemCase, SystemCell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Self

    from .capture import Records

AT_ONCE = 32
"""Cells that run side by side: most of them wait."""
AT_ONCE_SYSTEM = 8
"""Processes that run side by side."""
PATIENCES = (4.0, 12.0, 36.0)
"""Seconds that a caller waits while a fault lasts for good. The next is for a machine so slow that
the call did not come to the step of the fault."""
BOUND = 60.0
"""Seconds of real time within which a call must end, with all cells of this machine beside it."""


@dataclass
class Verdict:
    """What came of a cell."""

    cell: Cell | SystemCell
    problems: list[Broken] = field(default_factory=list)
    seconds: float = 0.0
    """How long the call took while the fault lasted."""
    got: str = ""
    """What a process got while the fault lasted."""

    first: list[Broken] = field(default_factory=list)
    """What was broken when the cell was first tried, beside others, if it held alone."""

    @property
    def held(self) -> bool:
        return not self.problems

    @property
    def is_known(self) -> bool:
        """Whether each broken rule is one that this cell is known to break."""
        return all(reason_of(self.cell, rule) for rule, _ in self.problems)


class Runner:
    """Runs cells with the stores of one folder."""

    def __init__(self, folder: Path, redis: str | None, records: Records) -> None:
        self.folder, self.redis, self.records = folder, redis, records
        self.loop = Loop()
        self._number = 0
        self._lock = threading.Lock()
        self.secrets: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.close()

    def stores(self) -> list[StoreKind]:
        """Return the kinds of stores that are available here."""
        return [kind for kind in StoreKind if kind is not StoreKind.REDIS or self.redis]

    def _next_number(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def box(self, store: StoreKind) -> Box:
        number = self._next_number()
        folder = self.folder / str(number)
        states = {
            StoreKind.MEMORY: "memory:",
            StoreKind.SQLITE: f"sqlite:///{folder / 'state.db'}",
            StoreKind.REDIS: self.redis or "",
        }
        return Box(number, folder, states[store], self.loop)

    def steps_of(self, operation: Operation, store: StoreKind) -> frozenset[Step]:
        """Run the operation without a fault, and return the steps of which it makes requests."""
        seen: set[Step] = set()
        for cancels in (False, True):
            with self.box(store) as box:
                trial = Trial(box, operation, cancels)
                trial.prepare()
                ended = trial.act(LATER)
                steps = set(box.front.seen)
                if cancels and Step.CANCEL not in steps:
                    trial.close()
                    continue
                problems = [*rules.judge_recovery(None, trial, trial.recover(ended))]
                problems += rules.judge_service(box, trial)
                trial.close()
                assert rules.has_succeeded(trial, ended), rules.describe(ended)
                assert not problems, problems
                # Only a cancel needs a machine that is off; all else is seen without it.
                seen |= steps & {Step.CANCEL} if cancels else steps
        return frozenset(seen)

    def run_all(self, cells: Sequence[Cell], done: Callable[[Verdict], None]) -> list[Verdict]:
        return self._side_by_side(cells, self.run, AT_ONCE, done)

    def _side_by_side(
        self,
        cells: Sequence[Any],
        run: Callable[[Any], Verdict],
        at_once: int,
        done: Callable[[Verdict], None],
    ) -> list[Verdict]:
        def one(cell: Cell | SystemCell) -> Verdict:
            verdict = run(cell)
            done(verdict)
            return verdict

        with ThreadPoolExecutor(at_once) as pool:
            verdicts = list(pool.map(one, cells))
        return [self._again(verdict, run) for verdict in verdicts]

    def _again(self, verdict: Verdict, run: Callable[[Any], Verdict]) -> Verdict:
        """Run a cell again that did not hold, alone: with others beside it, it may be too slow."""
        if verdict.held or verdict.is_known:
            return verdict
        again = run(verdict.cell)
        if again.held:
            again.first = verdict.problems
        return again

    def run(self, cell: Cell) -> Verdict:
        """Run a cell in a thread of its own. Does not wait for one that hangs."""
        verdict = Verdict(cell)
        thread = threading.Thread(target=self._run, args=[verdict], daemon=True)
        thread.start()
        thread.join(BOUND * 3)
        if thread.is_alive():
            frame = sys._current_frames().get(thread.ident or 0)
            stack = traceback.extract_stack(frame)[-1] if frame else "no frame"
            verdict.problems.append(broken(rules.HANG, f"no end after {BOUND * 3:.0f} s: {stack}"))
        return verdict

    def run_system(
        self, cells: Sequence[SystemCell], done: Callable[[Verdict], None]
    ) -> list[Verdict]:
        """Run the faults of the process and its system."""
        return self._side_by_side(cells, self._run_system, AT_ONCE_SYSTEM, done)

    def _run_system(self, cell: SystemCell) -> Verdict:
        verdict, number = Verdict(cell), self._next_number()
        started, start = time.monotonic(), len(self.records.lines)
        try:
            case = SystemCase(cell, number, self.folder / f"system-{number}", self.loop)
            verdict.problems = case.run(lambda: self.records.since(start))
            verdict.got = case.got
        except Exception:
            verdict.problems.append(broken(rules.OCCURRED, traceback.format_exc()))
        verdict.seconds = time.monotonic() - started
        return verdict

    def search_streams(self, streams: Sequence[str], verdicts: Sequence[Verdict]) -> None:
        """Search what the process wrote. A secret there is a leak of one of the cells."""
        detector = LeakDetector(*self.secrets)
        for text in streams:
            detector.text("a stream", text)
        for way, what in detector.leaks():
            verdicts[0].problems.append(broken(rules.LEAK, f"{what} in {way} of some cell"))

    def _run(self, verdict: Verdict) -> None:
        assert isinstance(verdict.cell, Cell)
        try:
            for patience in PATIENCES:
                with self.box(verdict.cell.store) as box:
                    self._judge(box, verdict, verdict.cell, patience)
                    is_tried = bool(box.front.hits)
                shutil.rmtree(box.folder, ignore_errors=True)
                if is_tried:
                    return
        except Exception:
            verdict.problems.append(broken(rules.OCCURRED, traceback.format_exc()))

    def _judge(self, box: Box, verdict: Verdict, cell: Cell, patience: float) -> None:
        start = len(self.records.lines)
        trial = Trial(box, cell.operation, cell.step is Step.CANCEL)
        trial.prepare()
        box.front.arm(cell.fault, cell.step, cell.once)
        started = time.monotonic()
        ended = trial.act(LATER if cell.must_succeed else patience)
        verdict.seconds = time.monotonic() - started
        problems = [*rules.judge_call(cell, trial, ended)]
        if verdict.seconds > BOUND:
            problems.append(broken(rules.HANG, f"the call took {verdict.seconds:.0f} s"))
        box.front.clear()
        recovered = trial.recover(ended)
        problems += rules.judge_recovery(cell, trial, recovered)
        trial.close()
        problems += rules.judge_service(box, trial)
        with self._lock:
            self.secrets |= box.secrets
        problems += rules.judge_leaks(box, self._texts(start, ended, recovered))
        verdict.problems = problems

    def _texts(self, start: int, *ends: Ended) -> str:
        """Return everything that a user could have seen of a cell."""
        detector = LeakDetector()
        for ended in ends:
            for error in ended.errors:
                detector.error(error)
            for result in ended.results.values():
                detector.value(result)
        return self.records.since(start) + "\n".join(text for _, text in detector.texts)


def seen_of(
    runner: Runner, pairs: Sequence[tuple[Operation, StoreKind]]
) -> Mapping[tuple[Operation, StoreKind], frozenset[Step]]:
    """Return the steps of each operation with each store."""
    with ThreadPoolExecutor(4) as pool:
        steps = list(pool.map(lambda pair: runner.steps_of(*pair), pairs))
    return dict(zip(pairs, steps, strict=True))
