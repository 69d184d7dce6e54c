"""Check what this project is built from: `python tools/supply/supply.py TOOLS`, as `make supply`.

TOOLS is the folder with cargo-deny, cargo-machete and pip-audit. A finding ends it with 1. Two
checks ask services outside: without an answer they say so, and do not fail.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MINUTES = 60


@dataclass
class Done:
    """How one command ended."""

    code: int
    output: str

    @property
    def last_line(self) -> str:
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else "it printed nothing"


def run(*command: str) -> Done:
    """Run a command in the project's folder. One that does not end is one that failed."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=10 * MINUTES,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Done(1, "there was no answer within ten minutes")
    return Done(done.returncode, done.stdout)


def report(title: str, done: Done, asked: bool = True) -> bool:
    """Print how a check ended, and return whether it found nothing."""
    if not asked:
        print(f"----  {title}: could not ask: {done.last_line}")
        return True
    print(f"{'ok  ' if done.code == 0 else 'FAIL'}  {title}: {done.last_line}")
    if done.code:
        print(done.output, file=sys.stderr)
    return done.code == 0


def crates(tools: Path) -> bool:
    """Check licences, duplicates and sources by deny.toml, and that every crate is used."""
    deny = [str(tools / "cargo-deny"), "--locked", "--all-features"]
    kinds = ["licenses", "bans", "sources"]
    fine = report("licences, duplicates, sources", run(*deny, "check", *kinds))
    fine &= report("unused crates", run(str(tools / "cargo-machete"), "--with-metadata", "."))
    fetched = run(*deny, "fetch", "db")
    if fetched.code:
        return report("known vulnerabilities of crates", fetched, asked=False) and fine
    return report("known vulnerabilities of crates", run(*deny, "check", "advisories")) and fine


def packages(tools: Path) -> bool:
    """Look for known vulnerabilities of the packages that build and check this project."""
    audit = [str(tools / "pip-audit"), "--no-deps", "--disable-pip", "--format=json"]
    fine = True
    for name in requirements():
        done = run(*audit, "--progress-spinner=off", "--requirement", name)
        done, asked = read_audit(done)
        fine &= report(f"known vulnerabilities of {name}", done, asked)
    return fine


def read_audit(done: Done) -> tuple[Done, bool]:
    """Return what pip-audit found, and whether its service answered for each package."""
    line = next((line for line in done.output.splitlines() if line.startswith("{")), "")
    if not line:
        return done, False
    found = json.loads(line)["dependencies"]
    skipped = [each["name"] for each in found if "skip_reason" in each]
    bad = [f"{each['name']} has {each['vulns']}" for each in found if each.get("vulns")]
    if bad:
        return Done(1, "\n".join(bad)), True
    if skipped:
        return Done(0, f"the service does not know {len(skipped)} of {len(found)}"), False
    return Done(0, f"{len(found)} packages"), True


def requirements() -> list[str]:
    """Return the files that name the tools."""
    files = [ROOT / "requirements-dev.txt", *sorted((ROOT / "tools").glob("*/requirements.txt"))]
    return [path.relative_to(ROOT).as_posix() for path in files]


def main() -> int:
    """Run every check, also after one that fails."""
    tools = Path(sys.argv[1]).resolve()
    results = [crates(tools), packages(tools)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
