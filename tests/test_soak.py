"""The short form of the endurance run, and how a leak differs from noise.

`make soak` runs it for an hour with all stores, and writes docs/endurance.md.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from runtime_helpers import MACHINE, run_python
from soak.runner import Plan, run
from soak.slopes import KINDS, MB, Kind, fit, judge

from mde_live_response.emulator import Emulator

HOUR = 3600.0
SESSIONS = 12_000.0
"""Per hour, as one worker of the run has."""

LEAST = {
    "native": 64.0,
    "kept": 1000.0,
    "blocks": 1.0,
    "objects": 1.0,
    "rss": 1000.0,
    "rss_in_use": 1000.0,
    "dirty": 1000.0,
    "handles": 0.01,
    "threads": 0.01,
    "tasks": 0.01,
    "runtime_tasks": 0.01,
    "store": 150.0,
    "wal": 150.0,
    "keys": 1.0,
}
"""The least leak of each kind that must be found, per session: an object, a row, or something
left open by every hundredth session. The pages of the process show a leaked result only."""


def noisy(kind: Kind, seed: int, per_session: float) -> list[tuple[float, float]]:
    """Return the samples of an hour: noise around a line, with a step and some spikes."""
    draw = random.Random(f"{kind.name} {seed}")
    every = 60.0 if kind.name in ("blocks", "objects") else 10.0
    level, noise = (20e6, 0.2e6) if kind.unit == MB else (50.0, 2.0)
    series = []
    for at in range(int(HOUR / every)):
        time = every * (at + draw.uniform(0.0, 0.2))
        spike = 3 * noise if draw.random() < 0.05 else 0.0
        value = level + draw.gauss(0.0, noise) + spike + per_session * SESSIONS * time / HOUR
        series.append((time, value))
    return series


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_noise_is_flat_and_a_leak_is_not(kind: Kind) -> None:
    for seed in range(50):
        assert judge(kind, noisy(kind, seed, 0.0), SESSIONS).is_flat, seed
        assert not judge(kind, noisy(kind, seed, LEAST[kind.name]), SESSIONS).is_flat, seed


def test_growth_during_the_warm_up_is_no_leak() -> None:
    (kind,) = [kind for kind in KINDS if kind.name == "handles"]
    series = [(float(at), min(at, 800.0)) for at in range(0, 3600, 10)]
    line = judge(kind, series, SESSIONS)
    assert (line.start, line.end, line.slope, line.is_flat) == (800.0, 800.0, 0.0, True)


def test_the_line_is_that_of_least_squares() -> None:
    slope, error = fit([0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 5.0, 7.0])
    assert (slope, error) == (2.0, 0.0)
    slope, error = fit([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 1.0, 2.0])
    assert slope == pytest.approx(0.6)
    assert error == pytest.approx((0.2 / 2 / 5) ** 0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc, which only Linux has")
def test_workers_work_and_are_measured(tmp_path: Path) -> None:
    stores = {"memory": "memory:", "SQLite": f"sqlite:///{tmp_path / 'state.db'}"}
    plan = Plan(seconds=8.0, samples=3, every=1.5, objects_every=3.0, prune_every=3.0, rate=4.0)
    for findings in run(stores, tmp_path, plan):
        assert list(findings.mistakes()) == [], findings.store
        counts = findings.counts
        assert len(findings.series["rss"]) >= 3
        assert 1 <= len(findings.series["blocks"]) <= len(findings.series["rss"])
        of_malloc = {"native", "kept", "rss_in_use"}
        assert of_malloc.isdisjoint(findings.series) or of_malloc <= findings.series.keys()
        kinds = {kind.name for kind in KINDS} - {"store", "wal", "keys"} - of_malloc
        assert kinds <= findings.series.keys()
        assert ("store" in findings.series) == (findings.store == "SQLite")
        sessions, done = counts["sessions"], counts["sessions ok"]
        assert sessions == done + counts.get("sessions cancelled", 0) > 0
        assert done <= findings.service["ran"] <= sessions
        assert findings.service["twice"] == findings.service["broken_limits"] == 0
        assert findings.calls >= sum(n for name, n in counts.items() if name.startswith("tasks: "))
        assert counts["prunes"] >= 1


def test_what_the_worker_asks_of_the_native_module(emulator: Emulator) -> None:
    # A process of its own: other tests have memory stores too.
    code = f"""
import mde_live_response as mde
from mde_live_response._native import prune_memory, runtime_tasks
client = mde.LiveResponseClient(state="memory:")
client.run({MACHINE!r}, mde.Command.run_inline("id"), "why")
assert runtime_tasks() > 0
(pruned,) = prune_memory(0)
assert (pruned["intents"], pruned["statuses"]) == (1, 1), pruned
(again,) = prune_memory(0)
assert again["intents"] == 0, again
"""
    done = run_python(code, emulator.env)
    assert (done.code, done.err) == (0, ""), done
