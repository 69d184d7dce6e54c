"""Writes docs/endurance.md from what a run found. Nobody edits that page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .service import FAULT_RATE, SPEED
from .slopes import ERRORS, KINDS, MB, WARM_UP, Kind, Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .runner import Findings

INTRODUCTION = """# Endurance

Does a program that works for long hold more and more? `make soak` lets programs work for an hour, \
measures what they hold, and writes this page; nobody edits it.
"""

HOW = """## How it is done

One worker process for each kind of state store works with one client for the whole time. Each has \
its own [emulator](emulator.md) in another process, whose clock runs {speed:.0f} times as fast as \
real time and where {faults:g} calls in a thousand fail. Drawn by a seed, a worker does what \
programs do:

- `run_async` with `on_update`, and `run` in a thread;
- sessions that put a file, run a script and get a file; results saved to disk, written into a \
file object, and streamed to the end or not;
- `run_many` over three machines, with all outcomes and results;
- a submit whose result another client fetches, a wait that times out and then another, a cancel, \
and an asyncio task that is cancelled in the middle of `run_async`, then the same call again;
- uploads, lists, deletes and syncs of the library; lists of machines, actions, sessions and runs;
- errors: a machine that does not exist, arguments that are refused;
- a client that is made and closed, and `os.fork` with a call in the child.

A handler takes the log records. Every ten seconds the calls end, and when none runs the worker \
measures itself; Python's objects are counted once a minute, after a garbage collection. Stores \
are measured from outside.

A line is fitted by least squares to each series, without the first {warm_up:.0%} of the time, in \
which caches and pools fill. It is flat if its slope is at most the *bound*: what \
`tests/soak/slopes.py` allows for each session, which is less than one small object, plus \
{errors:g} standard errors. `tests/test_soak.py` shows that a leak is found and noise is not.

RSS and private dirty memory also have what was freed and malloc keeps for its next use. That \
grows while its arenas break up into holes, so RSS is measured without it too.
"""

DESIGN = """## What is not flat by design

A store keeps each intent for 180 days, so that the same correlation id never runs a script again, \
and each run until it is pruned ([The state store](state.md#what-a-store-keeps-and-for-how-long)). \
Without pruning a store grows with each session. The workers prune once a minute what is older \
than a minute, as `mde-live-response state prune` does, and they prune the library. The \
memory store has no command for it, because it belongs to one process: its worker uses a private \
function. Without it, that store keeps the status of each action for an hour, the newest 10,000 \
intents, and each run until the last client closes.
"""


def write(all_findings: Sequence[Findings], facts: Mapping[str, str]) -> str:
    parts = [
        INTRODUCTION,
        "\n".join(result(all_findings)),
        HOW.format(speed=SPEED, faults=1000 * FAULT_RATE, warm_up=WARM_UP, errors=ERRORS),
        "\n".join(["| this run | |", "|---|---|", *(row(pair) for pair in facts.items())]) + "\n",
        "\n".join(work(all_findings)),
        "\n".join(slopes(all_findings)),
        DESIGN,
    ]
    return "\n".join(parts)


def result(all_findings: Sequence[Findings]) -> Iterator[str]:
    lines = [(it, kind, line) for it in all_findings for kind, line in it.lines().items()]
    steep = [entry for entry in lines if not entry[2].is_flat]
    yield "## The result\n"
    total = sum(findings.counts["sessions"] for findings in all_findings)
    calls = sum(findings.calls for findings in all_findings)
    flat = f"{len(lines) - len(steep)} of {len(lines)} series are flat"
    yield f"{flat}, after {total:,} sessions and {calls:,} calls of the library."
    twice = sum(findings.service["twice"] for findings in all_findings)
    lost = sum(findings.counts.get("sessions lost", 0) for findings in all_findings)
    yield f"{twice:,} sessions ran twice, {lost:,} were lost.\n"
    for findings, kind, line in steep:
        yield f"- not flat: {findings.store}, {describe(kind, line)}"
    for findings in all_findings:
        for mistake in findings.mistakes():
            yield f"- not right: {findings.store}, `{mistake.replace('`', chr(39))}`"
    yield ""


def work(all_findings: Sequence[Findings]) -> Iterator[str]:
    yield "## What the workers did\n"
    yield row(["", *(findings.store for findings in all_findings)])
    yield row(["---"] + ["---:"] * len(all_findings))
    for title, name in (
        ("sessions with a result", "sessions"),
        ("of these cancelled", "sessions cancelled"),
        ("lost", "sessions lost"),
        ("calls interrupted", "calls interrupted"),
        ("waits that timed out", "waits that timed out"),
        ("calls made again after an error", "calls repeated"),
        ("errors made on purpose", "errors expected"),
        ("forks", "forks"),
    ):
        yield row([title, *(f"{findings.counts.get(name, 0):,}" for findings in all_findings)])
    yield row(["calls of the library", *(f"{findings.calls:,}" for findings in all_findings)])
    for title, name in (
        ("calls that the service counted", "requests"),
        ("sessions that ran at the service", "ran"),
        ("ran twice", "twice"),
        ("limits of the service broken", "broken_limits"),
    ):
        yield row([title, *(f"{findings.service[name]:,}" for findings in all_findings)])
    yield ""


def slopes(all_findings: Sequence[Findings]) -> Iterator[str]:
    yield "## What they held\n"
    yield "After the first quarter. Slopes and bounds are per hour.\n"
    yield row(["", "store", "start", "end", "smallest", "largest", "slope", "bound"])
    yield row(["---", "---"] + ["---:"] * 6)
    for kind in KINDS:
        for findings in all_findings:
            line = findings.lines().get(kind)
            if line is None:
                continue
            values = (line.start, line.end, line.smallest, line.largest)
            slope = show_slope(kind, line.slope)
            yield row(
                [
                    kind.title,
                    findings.store,
                    *(show(kind, value) for value in values),
                    slope if line.is_flat else f"**{slope}**",
                    show_slope(kind, line.bound),
                ]
            )
    yield ""


def show(kind: Kind, value: float) -> str:
    return f"{value / 1e6:.2f} MB" if kind.unit == MB else f"{value:,.0f}"


def show_slope(kind: Kind, value: float) -> str:
    return f"{value / 1e6:+.2f} MB" if kind.unit == MB else f"{value:+,.1f}"


def describe(kind: Kind, line: Line) -> str:
    slope, bound = show_slope(kind, line.slope), show_slope(kind, line.bound)
    return (
        f"{kind.title}: from {show(kind, line.start)} to {show(kind, line.end)}, "
        f"{slope} an hour, bound {bound}"
    )


def row(entries: Sequence[str]) -> str:
    return "| " + " | ".join(entries) + " |"
