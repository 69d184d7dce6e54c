"""Count the instructions of single calls with valgrind, and compare them with the kept counts.

`make test-counts` fails if a count is more than a tenth over the kept one. `make counts` keeps the
counts of today. Both set how this crate is compiled. A count is the difference between many and
twice as many rounds, divided by the rounds, so that it has neither the start of the program nor its
end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "benches" / "instructions"
KEPT = BENCH / "counts.json"
#: The C library copies with other instructions on each processor: this fixes them. What else asks
#: for the processor gets the same answer from valgrind on each x86-64 with AVX2.
TUNABLES = ":".join(
    f"glibc.cpu.x86_{name}_threshold=0x40000000"
    for name in ("rep_movsb", "rep_stosb", "non_temporal")
)
#: A count that has risen by more than this part fails; one that has fallen by half of it is named.
TOLERANCE = 0.1

#: The cases of the Rust program, and their rounds.
CASES = {
    "encode_submit": 500,
    "decode_action": 500,
    "decode_list": 2,
    "admission_memory": 1000,
    "admission_sqlite": 50,
    "status_read": 200,
}
#: The case of the Python program, which has CPython's instructions too. The library is the one of
#: the tests, so this crate's part of it is not optimised: another build would take minutes.
PYTHON_CASE = "blocking_call"
PYTHON_ROUNDS = 200


@dataclass
class Row:
    """One case: its kept count, if there is one, and its count today."""

    name: str
    kept: int | None
    found: int

    @property
    def change(self) -> float | None:
        return None if self.kept is None else self.found / self.kept - 1.0

    @property
    def verdict(self) -> str:
        if self.change is None:
            return "FAILED: no count is kept"
        if self.change > TOLERANCE:
            return f"FAILED: costs over {TOLERANCE:.0%} more"
        if self.change < -TOLERANCE / 2:
            return "costs less: keep it with `make counts`"
        return ""

    @property
    def failed(self) -> bool:
        return self.verdict.startswith("FAILED")


def build_program() -> Path:
    """Build what is counted in Rust."""
    cargo = [os.environ.get("CARGO", "cargo"), "build", "--locked", "--no-default-features"]
    done = subprocess.run(
        [*cargo, "--message-format=json-render-diagnostics", "--bench", "instructions"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    files = [Path(name) for message in messages for name in message.get("filenames", [])]
    return next(file for file in files if file.name.startswith("instructions-"))


def instructions(command: list[str], env: dict[str, str]) -> int:
    """Run the command under valgrind, and return how many instructions it executed."""
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        [*valgrind, *command],
        env={**env, "GLIBC_TUNABLES": TUNABLES},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"{' '.join(command)} failed under valgrind:\n{done.stdout}{done.stderr}")
    return int(found[1])


def per_round(command: list[str], rounds: int, env: dict[str, str]) -> int:
    """Return the instructions of one round of the command."""
    once = instructions([*command, str(rounds)], env)
    twice = instructions([*command, str(2 * rounds)], env)
    return round((twice - once) / rounds)


@contextlib.contextmanager
def python_environment() -> Iterator[dict[str, str]]:
    """Start the emulator, and yield the environment in which Python reads from it."""
    # A random seed would give each process other dictionaries.
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "PYTHONHASHSEED": "0"}
    command = [sys.executable, str(BENCH / "blocking_call.py"), "serve"]
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield {**env, **json.loads(server.stdout.readline())}
        finally:
            server.stdin.close()


def count(only: str | None) -> dict[str, int]:
    """Return the instructions of each case, or of the only one."""
    counts: dict[str, int] = {}
    cases = {name: rounds for name, rounds in CASES.items() if only in (None, name)}
    if cases:
        program = str(build_program())
        for name, rounds in cases.items():
            counts[name] = per_round([program, name], rounds, dict(os.environ))
    if only in (None, PYTHON_CASE):
        command = [sys.executable, str(BENCH / "blocking_call.py")]
        with python_environment() as env:
            counts[PYTHON_CASE] = per_round(command, PYTHON_ROUNDS, env)
    return counts


def tools() -> dict[str, str]:
    """Return what a count depends on besides the sources."""

    def version(command: str) -> str:
        done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "python": "Python " + ".".join(platform.python_version_tuple()[:2]),
        "rustc": version("rustc"),
        "valgrind": version("valgrind"),
    }


def rows_of(kept: dict[str, dict[str, int]], found: dict[str, int]) -> list[Row]:
    return [Row(name, kept["instructions"].get(name), number) for name, number in found.items()]


def print_table(rows: list[Row]) -> None:
    print(f"{'instructions of':18} {'kept':>12} {'today':>12} {'change':>8}")
    for row in rows:
        kept = "-" if row.kept is None else f"{row.kept:,}"
        change = "-" if row.change is None else f"{row.change:+.1%}"
        print(f"{row.name:18} {kept:>12} {row.found:>12,} {change:>8}  {row.verdict}".rstrip())


def explain(kept: dict[str, str], today: dict[str, str]) -> str:
    """Return which tools differ from those that the kept counts were made with."""
    others = [f"{kept[name]}, now {it}" for name, it in today.items() if kept[name] != it]
    return f"the kept counts are of other tools: {'; '.join(others)}" if others else ""


def check(rows: list[Row]) -> int:
    """Return 1 if a count is too high, and say what to do, or else 0."""
    if not any(row.failed for row in rows):
        return 0
    print("find what costs more (CONTRIBUTING.md), or keep the counts of today with `make counts`")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="write the counts of today")
    parser.add_argument("--only", choices=[*CASES, PYTHON_CASE], help="count one case")
    arguments = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("valgrind is missing: apt install valgrind")
    today = tools()
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    if arguments.keep:
        found = count(arguments.only)
        print_table(rows_of(kept, found))
        new = {"tools": today, "instructions": {**kept["instructions"], **found}}
        KEPT.write_text(json.dumps(new, indent=2) + "\n", encoding="utf-8")
        return 0
    if kept["tools"]["machine"] != today["machine"]:
        print(f"not compared: the counts are of {kept['tools']['machine']}")
        return 0
    found = count(arguments.only)
    if kept["tools"]["python"] != today["python"] and found.pop(PYTHON_CASE, None):
        print(f"{PYTHON_CASE} is not compared: its count is of {kept['tools']['python']}")
    if others := explain(kept["tools"], today):
        print(others)
    rows = rows_of(kept, found)
    print_table(rows)
    return check(rows)


if __name__ == "__main__":
    sys.exit(main())
