"""Writes docs/reliability.md from what a run found. Nobody edits that page."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import known, rules
from .cells import Cell, Operation, StoreKind
from .faults import FAULTS
from .steps import Step
from .system import SystemCell
from .wording import without_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .runner import Verdict

INTRODUCTION = """# Reliability

What happens if the network, the service, the state store or the machine fails while commands run? \
This page shows it. `make chaos` makes each fault happen and writes this page; nobody edits it.

A *cell* is one fault, at one step of one call, with one state store, once or for good. A cell \
*holds* if all of this is true, while the fault lasts and once it is gone:

- Each command runs exactly once: the emulator counts the sessions of each machine, and the script \
counts its own runs.
- Nothing is lost: the call brings the result, or its error does not stop the same call, \
`find_session`, `session(...)` or `resume` from bringing it later, whole.
- An error is a `LiveResponseError` with a message, and names what failed: the machine, the action \
or the run; for a token the application; for the library the library or the file. An error of an \
outage is `retryable`. A full disk and a limit of the system may be an `OSError`.
- A fault that passes is survived: the call brings its result, unless the service said no (403, \
404, 409, a redirect; 401 from a host that takes no token).
- The call ends: within {bound:.0f} s of real time.
- No secret, token, result link or signature is in logs, errors, tracebacks, reprs or pickles, and \
no redirect is followed with the token.
- No limit of the service is broken.

"For good" means until the fault is removed. Then the caller does what \
[errors.md](errors.md) says, and all of the result must come.

The service here is the [emulator](emulator.md), not a tenant: what Microsoft's service does that \
nobody has documented or observed is not on this page. A cell that holds was run once; that it \
held does not prove that it always does.
"""

HOW = """## How it is done

The client talks over real HTTP on loopback to a proxy, which makes the faults, and behind it to \
the [emulator](emulator.md), which counts. The emulator's clock runs {speed:.0f} times as fast as \
real time, with the limits of the service, and one session at a time: of two machines, the second \
waits for the slot of the first. Store faults are real: a small file system that is full, a server \
that is killed, a file that is put back. Processes are killed, stopped, and run with another clock.

A cell that cannot occur is left out by a rule. For each call, one run without a fault shows of \
which steps it makes requests.
"""


@dataclass
class Report:
    """What a run found."""

    verdicts: list[Verdict]
    left_out: dict[str, int]
    facts: dict[str, str]
    not_made: Counter[str] = field(default_factory=Counter)
    """Cells of the system that this machine cannot make, by reason."""

    @property
    def matrix(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if isinstance(verdict.cell, Cell)]

    @property
    def system(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if isinstance(verdict.cell, SystemCell)]


def write(report: Report, bound: float, speed: float) -> str:
    parts = [
        INTRODUCTION.format(bound=bound),
        "\n".join(summary(report)),
        HOW.format(speed=speed),
        "\n".join(run_facts(report)),
        "## By step and fault\n\nEach entry is the number of cells that held, of those that were "
        "tried: all calls and stores, once and for good. An empty entry cannot occur.\n",
        table(report.matrix),
        "## By call and store\n",
        by_operation(report.matrix),
        "## By rule\n",
        by_rule(report.verdicts),
        "## Faults of the process, the store and the disk\n\nThe call is `run`, in a process of "
        "its own. The columns count cells by store. What the process got is its result or its "
        "error, while the fault lasted; once it was gone, the same id brought the result.\n",
        system_table(report.system),
        "\n".join(failures(report.verdicts)),
        "\n".join(second_tries(report.verdicts)),
        "\n".join(omissions(report)),
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts if part)


def summary(report: Report) -> Iterator[str]:
    tried, held = len(report.verdicts), sum(it.held for it in report.verdicts)
    bad = tried - held
    yield "## The result\n"
    yield f"{held:,} of {tried:,} cells hold."
    if bad:
        yield f"{bad} do not: [what did not hold](#what-did-not-hold) lists each one."
    wrong = Counter(rule for it in report.verdicts for rule in {rule for rule, _ in it.problems})
    once, lost = wrong[rules.ONCE], wrong[rules.LOST]
    again = sum(bool(it.first) for it in report.verdicts)
    if again:
        yield (
            f"{again} of the cells that hold did so only when they were tried again, alone: "
            "[tried again](#tried-again)."
        )
    yield (
        f"In {once} cells commands ran twice or not at all, in {lost} a result was lost, "
        f"in {wrong[rules.LEAK]} a secret leaked, in {wrong[rules.HANG]} a call did not end.\n"
    )


def run_facts(report: Report) -> Iterator[str]:
    yield "| this run | |"
    yield "|---|---|"
    for name, value in report.facts.items():
        yield f"| {name} | {value} |"
    yield ""


def share(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return ""
    held = sum(verdict.held for verdict in verdicts)
    text = f"{held}/{len(verdicts)}"
    return text if held == len(verdicts) else f"**{text}**"


def table(verdicts: Sequence[Verdict]) -> str:
    groups: dict[tuple[str, Step], list[Verdict]] = {}
    for verdict in verdicts:
        assert isinstance(verdict.cell, Cell)
        groups.setdefault((verdict.cell.fault.name, verdict.cell.step), []).append(verdict)
    lines = [row(["fault", *(step.value for step in Step)]), row(["---"] * (len(Step) + 1))]
    for fault in FAULTS:
        found = [share(groups.get((fault.name, step), [])) for step in Step]
        if any(found):
            lines.append(row([fault.name, *found]))
    return "\n".join(lines) + "\n"


def by_operation(verdicts: Sequence[Verdict]) -> str:
    lines = [row(["call", *(store.value for store in StoreKind)]), row(["---"] * 4)]
    for operation in Operation:
        entries = [
            share([it for it in verdicts if of(it, operation, store)]) for store in StoreKind
        ]
        lines.append(row([f"`{operation.value}`", *entries]))
    return "\n".join(lines) + "\n"


def of(verdict: Verdict, operation: Operation, store: StoreKind) -> bool:
    cell = verdict.cell
    return isinstance(cell, Cell) and (cell.operation, cell.store) == (operation, store)


def by_rule(verdicts: Sequence[Verdict]) -> str:
    broken = Counter(rule for it in verdicts for rule in {rule for rule, _ in it.problems})
    lines = [row(["rule", "cells that broke it"]), row(["---", "---"])]
    lines += [row([rule, str(broken[rule])]) for rule in rules.RULES]
    return "\n".join(lines) + "\n"


def system_table(verdicts: Sequence[Verdict]) -> str:
    names = list(dict.fromkeys(cell.fault.name for cell in system_cells_of(verdicts)))
    head = ["fault", *(store.value for store in StoreKind), "what the process got"]
    lines = [row(head), row(["---"] * 5)]
    for name in names:
        own = [it for it in verdicts if named(it, name)]
        entries = [share([it for it in own if stored(it, store)]) for store in StoreKind]
        got = Counter(it.got for it in own if it.got)
        texts = [f"{count} times {text}" for text, count in sorted(got.items())]
        lines.append(row([name, *entries, ", ".join(texts)]))
    return "\n".join(lines) + "\n"


def system_cells_of(verdicts: Iterable[Verdict]) -> Iterator[SystemCell]:
    for verdict in verdicts:
        if isinstance(verdict.cell, SystemCell):
            yield verdict.cell


def named(verdict: Verdict, name: str) -> bool:
    return isinstance(verdict.cell, SystemCell) and verdict.cell.fault.name == name


def stored(verdict: Verdict, store: StoreKind) -> bool:
    return verdict.cell.store is store


def failures(verdicts: Sequence[Verdict]) -> Iterator[str]:
    bad = [verdict for verdict in verdicts if not verdict.held]
    yield "## What did not hold\n"
    if not bad:
        yield "Nothing.\n"
        return
    reasons: dict[str, list[str]] = {}
    for verdict in bad:
        for rule, what in verdict.problems:
            why = known.reason_of(verdict.cell, rule) or "Not explained."
            text = shorten(what)
            reasons.setdefault(why, []).append(f"- {verdict.cell}. Rule: {rule}. {text}")
    for why, lines in reasons.items():
        yield f"{why}\n"
        yield "\n".join(lines) + "\n"


def second_tries(verdicts: Sequence[Verdict]) -> Iterator[str]:
    again = [verdict for verdict in verdicts if verdict.first]
    if not again:
        return
    yield "## Tried again\n"
    yield (
        "These cells did not hold beside others, and held alone. The machine was too slow for the "
        "time-outs of the cell, or the fault is rare.\n"
    )
    for verdict in again:
        for rule, what in verdict.first:
            yield f"- {verdict.cell}. Rule: {rule}. {shorten(what)}"
    yield ""


def shorten(text: str, limit: int = 300) -> str:
    """Return one line without what differs from run to run, safe in Markdown."""
    line = " ".join(without_ids(text).split())
    return "`" + line[:limit].replace("`", "'") + "`"


def omissions(report: Report) -> Iterator[str]:
    yield "## What was left out\n"
    yield "| why | cells |"
    yield "|---|---|"
    for why, count in {**report.left_out, **report.not_made}.items():
        yield f"| {why} | {count} |"
    yield ""


def row(entries: Sequence[str]) -> str:
    return "| " + " | ".join(entries) + " |"


def machine_kind() -> str:
    return f"{platform.system()} {platform.machine()}"
