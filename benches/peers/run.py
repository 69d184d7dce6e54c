"""Compares this library with its peers, prints one table and writes docs/performance.md.

Each measurement runs in a process of its own. The contenders of a row take turns, so that what
else the machine does affects all of them alike: compare figures of one row only.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from statistics import median

from common import serving
from goals import ROWS
from page import write_page

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
PEERS = ["requests", "httpx", "aiohttp", "pyreqwest", "orjson", "msgspec"]


def measure_one(row_at, name):
    """In a child: print one measurement."""
    print(json.dumps(ROWS[int(row_at)].contenders[name](json.loads(os.environ["THERE"]))))
    sys.stdout.flush()
    # Not through the interpreter's end, where a contender may abort.
    os._exit(0)


def measure(there, at, name):
    command = [sys.executable, __file__, str(at), name]
    env = {**os.environ, "THERE": json.dumps(there)}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def measure_row(there, at, known):
    """Return the figures of each contender. Rows that share their contenders share a run."""
    row = ROWS[at]
    both = known.get(id(row.contenders))
    if both is None:
        both = known[id(row.contenders)] = measure_contenders(there, at)
    return {
        name: [it if row.part is None else it[row.part] for it in measured]
        for name, measured in both.items()
    }


def measure_contenders(there, at):
    row = ROWS[at]
    names = [
        name for name in row.contenders if name != "reqwest alone" or "BARE_REQWEST" in os.environ
    ]
    figures = {name: [] for name in names}
    for _ in range(min(ROUNDS, row.rounds)):
        for name in names:
            figures[name].append(measure(there, at, name))
    return figures


def print_row(row, figures):
    medians = {name: median(measured) for name, measured in figures.items()}
    ours = medians[next(iter(medians))]
    met = ours <= row.limit(medians)
    print(f"\n{row.name}, {row.unit} (goal: {row.goal}; {'met' if met else 'missed'})")
    for name, measured in figures.items():
        spread = f"{min(measured):.3g} to {max(measured):.3g}"
        print(f"  {name:20} {medians[name]:10.4g}   {spread:22} x {medians[name] / ours:.2f}")
    return {"row": row, "figures": figures, "medians": medians, "met": met}


def main():
    chosen = os.environ.get("BENCH_ROWS")
    rows = range(len(ROWS)) if chosen is None else [int(at) for at in chosen.split(",")]
    with serving() as there:
        measured, known = [], {}
        for at in rows:
            measured.append(print_row(ROWS[at], measure_row(there, at, known)))
            sys.stdout.flush()
    # A part of the table must not replace the whole.
    if chosen is None:
        write_page(measured, {peer: version(peer) for peer in PEERS}, ROUNDS)


if sys.argv[1:]:
    measure_one(*sys.argv[1:])
else:
    main()
