"""`python -m soak` lets workers work for an hour, judges what they held, and writes the page."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import resource
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chaos.__main__ import current_commit
from chaos.page import machine_kind
from state_helpers import find_redis, redis_server

import mde_live_response

from . import page
from .runner import Findings, Plan, run

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/endurance.md"
STORES = ("memory", "SQLite", "Redis")


def main() -> int:
    options, commit = parse(), current_commit()
    plan = Plan(options.minutes * 60, seed=options.seed, leak=options.leak)
    if options.minutes < 15:
        plan.every = plan.objects_every = 5.0
        plan.prune_every = 15.0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stores = {}
        for name in options.only or STORES:
            if name == "memory":
                stores[name] = "memory:"
            elif name == "SQLite":
                stores[name] = f"sqlite:///{folder / 'state.db'}"
            elif find_redis() is not None:
                stores[name] = stack.enter_context(contextmanager(redis_server)(folder))
        all_findings = run(stores, folder, plan, Progress())
    if options.samples:
        samples = [dataclasses.asdict(findings) for findings in all_findings]
        options.samples.write_text(json.dumps(samples), encoding="utf-8")
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = page.write(
        all_findings, facts(commit, plan, (spent.ru_utime + spent.ru_stime) / plan.seconds)
    )
    if not options.no_page:
        PAGE.write_text(text, encoding="utf-8")
    print(text)
    return conclude(all_findings)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=STORES, help="one store; repeatable")
    parser.add_argument("--no-page", action="store_true", help="do not write the page")
    parser.add_argument("--samples", type=Path, help="a file for all samples, as JSON")
    parser.add_argument(
        "--leak",
        choices=("results", "handles", "objects"),
        help="leak something with each session, which the run must find",
    )
    options = parser.parse_args()
    if options.minutes < 1:
        parser.error("in less than a minute there are too few samples for a line")
    return options


class Progress:
    """Prints from time to time how far the workers are."""

    def __init__(self, every: float = 60.0) -> None:
        self._every, self._next = every, every

    def __call__(self, seconds: float, all_findings: list[Findings]) -> None:
        if seconds < self._next:
            return
        self._next = seconds + self._every
        parts = []
        for findings in all_findings:
            last = {name: values[-1][1] for name, values in findings.series.items()}
            held = f"RSS {last.get('rss', 0) / 1e6:.1f} MB, {last.get('handles', 0):.0f} handles"
            counts = findings.counts
            done, wrong = counts.get("sessions", 0), counts.get("wrong", 0)
            parts.append(f"{findings.store}: {done} sessions, {wrong} wrong, {held}")
        print(f"{seconds / 60:.0f} min: {'; '.join(parts)}", flush=True)


def conclude(all_findings: list[Findings]) -> int:
    """Print what is not right. The exit code is 1 if there is anything."""
    code = 0
    for findings in all_findings:
        for kind, line in findings.lines().items():
            if not line.is_flat:
                print(f"not flat: {findings.store}: {page.describe(kind, line)}")
                code = 1
        for mistake in findings.mistakes():
            print(f"wrong: {findings.store}: {mistake}")
            code = 1
    print("found something" if code else "everything is flat")
    return code


def facts(commit: str, plan: Plan, load: float) -> dict[str, str]:
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True)
    version = sys.version_info
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "commit": commit,
        "seed": str(plan.seed),
        "library": mde_live_response.__version__,
        "Python": f"{version.major}.{version.minor}.{version.micro}",
        "Redis": redis.stdout.partition("v=")[2].partition(" ")[0] or "none",
        "machine": f"{machine_kind()}, {os.cpu_count()} cores",
        "time": f"{plan.seconds / 60:g} minutes",
        "processor time of all processes": f"{100 * load:.0f} % of a core",
    }


if __name__ == "__main__":
    sys.exit(main())
