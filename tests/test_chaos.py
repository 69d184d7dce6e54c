"""The short form of the fault matrix: a tenth of its cells, drawn by a seed that is printed.

`make chaos` runs all of them. MDE_LIVE_RESPONSE_CHAOS_SEED chooses another tenth.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from chaos import capture
from chaos.cells import Operation, StoreKind, cells_of, draw
from chaos.runner import Runner, Verdict
from chaos.system import SystemCell
from chaos.system_faults import system_cells
from state_helpers import find_redis, redis_server

SEED = os.environ.get("MDE_LIVE_RESPONSE_CHAOS_SEED", "1")
SHARE = 0.1


def new_failures(verdicts: list[Verdict]) -> list[str]:
    """Return what did not hold and is not known not to."""
    return [
        f"{verdict.cell}: {rule}: {what}"
        for verdict in verdicts
        if not verdict.is_known
        for rule, what in verdict.problems
    ]


def ignore(verdict: Verdict) -> None:
    pass


@pytest.mark.parametrize("store", StoreKind, ids=lambda store: store.value)
@pytest.mark.parametrize("operation", Operation, ids=lambda operation: operation.value)
def test_a_tenth_of_the_cells_holds(operation: Operation, store: StoreKind, tmp_path: Path) -> None:
    if store is StoreKind.REDIS and find_redis() is None:
        pytest.skip("there is no redis-server here")
    print(f"MDE_LIVE_RESPONSE_CHAOS_SEED={SEED}")
    with ExitStack() as stack:
        redis = None
        if store is StoreKind.REDIS:
            redis = stack.enter_context(contextmanager(redis_server)(tmp_path))
        records = stack.enter_context(capture.records())
        runner = stack.enter_context(Runner(tmp_path / "cells", redis, records))
        cells = list(cells_of(operation, store, runner.steps_of(operation, store)))
        drawn = draw(cells, SHARE, f"{SEED} {operation.value} {store.value}")
        with capture.streams() as streams:
            verdicts = runner.run_all(drawn, ignore)
        runner.search_streams(streams, verdicts)
    assert len(verdicts) == len(drawn) > 5
    assert new_failures(verdicts) == []


def test_a_tenth_of_the_faults_of_the_system_holds(tmp_path: Path) -> None:
    print(f"MDE_LIVE_RESPONSE_CHAOS_SEED={SEED}")
    cells = [SystemCell(*parts) for parts in system_cells() if parts[0].why_not is None]
    if find_redis() is None:
        cells = [cell for cell in cells if cell.store is not StoreKind.REDIS]
    drawn = draw(cells, SHARE, f"{SEED} system")
    with capture.records() as records, Runner(tmp_path / "cells", None, records) as runner:
        verdicts = runner.run_system(drawn, ignore)
    assert new_failures(verdicts) == []
