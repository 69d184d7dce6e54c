"""`python -m chaos` runs every cell, prints those that do not hold, and writes the page."""

from __future__ import annotations

import argparse
import datetime
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from state_helpers import find_redis, redis_server

import mde_live_response

from . import capture, page
from .box import SPEED
from .cells import Cell, Operation, cells_of, left_out
from .known import reason_of
from .runner import AT_ONCE, BOUND, Runner, Verdict, seen_of
from .system import SystemCell
from .system_faults import system_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reliability.md"


def main() -> int:
    options, commit = parse(), current_commit()
    out = os.fdopen(os.dup(1), "w", buffering=1)
    started, cpu = time.monotonic(), time.process_time()
    with ExitStack() as stack:
        records = stack.enter_context(capture.records())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = None
        if find_redis() is not None:
            redis = stack.enter_context(contextmanager(redis_server)(folder))
        runner = stack.enter_context(Runner(folder / "cells", redis, records))
        streams = stack.enter_context(capture.streams())
        seen = seen_of(runner, list(product(Operation, runner.stores())))
        cells = [cell for pair, steps in seen.items() for cell in cells_of(*pair, steps)]
        system = [SystemCell(*parts) for parts in system_cells()]
        cells = [cell for cell in cells if is_chosen(cell, options.only)]
        system = [cell for cell in system if is_chosen(cell, options.only)]
        random.Random(options.seed).shuffle(cells)
        verdicts = runner.run_all(cells, Progress(out, len(cells)))
        spent = time.process_time() - cpu
        possible = [cell for cell in system if cell.fault.why_not is None]
        verdicts += runner.run_system(possible, Progress(out, len(possible)))
    runner.search_streams(streams, verdicts)
    report = page.Report(
        sorted(verdicts, key=lambda verdict: str(verdict.cell)),
        left_out(seen),
        facts(commit, options.seed, verdicts, cells, spent, time.monotonic() - started),
        Counter(cell.fault.why_not for cell in system if cell.fault.why_not),
    )
    if not options.no_page:
        PAGE.write_text(page.write(report, BOUND, SPEED), encoding="utf-8")
    return conclude(out, verdicts)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", default=os.environ.get("MDE_LIVE_RESPONSE_CHAOS_SEED", "1"))
    parser.add_argument(
        "--only", action="append", help="run the cells with this text in their name; repeatable"
    )
    parser.add_argument("--no-page", action="store_true", help="do not write the page")
    return parser.parse_args()


def is_chosen(cell: Cell | SystemCell, texts: Sequence[str] | None) -> bool:
    return texts is None or any(text in str(cell) for text in texts)


class Progress:
    """Prints each cell that does not hold, and how many are done."""

    def __init__(self, out: TextIO, count: int) -> None:
        self._out, self._count, self._done = out, count, 0

    def __call__(self, verdict: Verdict) -> None:
        self._done += 1
        for rule, what in verdict.problems:
            known = " (known)" if reason_of(verdict.cell, rule) else ""
            self._out.write(f"not held{known}: {verdict.cell}: {rule}: {what[:1000]}\n")
        if self._done % 250 == 0 or self._done == self._count:
            self._out.write(f"{self._done} of {self._count} cells\n")


def conclude(out: TextIO, verdicts: Sequence[Verdict]) -> int:
    """Print the result. The exit code is 1 if a cell does not hold that is not known to."""
    bad = [verdict for verdict in verdicts if not verdict.held]
    new = [verdict for verdict in bad if not verdict.is_known]
    again = sum(bool(verdict.first) for verdict in verdicts)
    out.write(f"{again} cells hold only alone\n")
    out.write(f"{len(verdicts) - len(bad)} of {len(verdicts)} cells hold, ")
    out.write(f"{len(bad) - len(new)} are known not to, {len(new)} are new\n")
    return 1 if new else 0


def current_commit() -> str:
    """Return the commit of the working tree, with a plus sign if files differ from it."""
    outputs = [
        subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        for words in (
            ["rev-parse", "--short", "HEAD"],
            ["status", "--porcelain", "--untracked-files=no", "--", "src", "python", "tests"],
        )
    ]
    return (outputs[0] or "unknown") + ("+" if outputs[1] else "")


def facts(
    commit: str,
    seed: str,
    verdicts: Sequence[Verdict],
    cells: Sequence[Cell],
    spent: float,
    seconds: float,
) -> dict[str, str]:
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True)
    version = sys.version_info
    calls = [verdict.seconds for verdict in verdicts if isinstance(verdict.cell, Cell)]
    longest = max(calls, default=0.0)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "commit": commit,
        "seed": seed,
        "library": mde_live_response.__version__,
        "Python": f"{version.major}.{version.minor}.{version.micro}",
        "Redis": redis.stdout.partition("v=")[2].partition(" ")[0] or "none",
        "machine": f"{page.machine_kind()}, {os.cpu_count()} cores",
        "time": f"{seconds / 60:.0f} minutes, {AT_ONCE} cells side by side",
        "processor time of a cell": f"{1000 * spent / max(1, len(cells)):.0f} ms",
        "longest call under a fault": f"{longest:.0f} s",
    }


if __name__ == "__main__":
    # Threads of calls that hang must not keep the process.
    code = main()
    sys.stdout.flush()
    os._exit(code)
