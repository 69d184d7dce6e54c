"""Write docs/platforms.md from what `make check-wheels` and the suites found."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from matrix import RESULTS, ROOT, SYSTEMS, WHEELS, WORK

PAGE = ROOT / "docs" / "platforms.md"
HEAD = """\
# Platforms

Which wheels a release has, and where each was installed. `make check-wheels` writes this page.

A wheel has the stable ABI of CPython 3.10, so one wheel is for 3.10 and all later versions. \
"Installed" means: in a fresh environment without a compiler, `pip install` of the wheel, and then \
`python -m mde_live_response demo`, which starts the emulator, runs a script and collects a file.

## Wheels

| system | wheel | size | checks | installed in CPython |
|---|---|---|---|---|
"""
NOT_BUILT = "was not built"
NOT_HERE = "not here: the CI builds it and runs the suite"
COMPILES = "`{}` compiles, but is not linked or run here: the CI builds it and runs the suite"
SUITE = """
## The test suite

The whole suite of the package, with the x86-64 wheel in place of the sources.

| CPython | passed | skipped | failed | minutes |
|---|---|---|---|---|
"""
SOURCE = """
## Without a wheel

On another system, `pip install` builds the source archive, which needs Rust and a C compiler. Its \
`Cargo.lock` fixes each crate. With the crates fetched before, it builds without a network.
"""

DIFFERENCES = """
## What differs by system

| what | Linux | macOS | Windows |
|---|---|---|---|
| who can read a new store, key or collected file | its owner | its owner | as its folder |
| a state store on a network file system | refused | not recognised | not recognised |
| the clock of a state store in a file | since boot | the wall clock | the wall clock |
| a store file is another one by its | device, inode and birth | device, inode and birth | birth |
| a link in place of the manifest | refused | refused | refused, but not while it is opened |
| authorities of the system | the paths of OpenSSL | the keychain | the certificate store |
| a daemon thread at the end of the interpreter | parked | parked | ended by the system |
| a child made by fork | works | works | there is none |
"""


def wheels(results: dict[str, dict[str, object]]) -> str:
    """Return the rows of the wheels."""
    rows = []
    for wheel in WHEELS:
        row = results.get(wheel.target)
        if row is None:
            # zig has no headers for MSVC; the sources differ by the system only.
            checked = wheel.target.replace("msvc", "gnu")
            not_here = COMPILES.format(checked) if checked in compiled() else NOT_HERE
            why = NOT_BUILT if wheel.here else not_here
            rows.append(f"| {wheel.system} | `{wheel.tag}` | | {why} | |")
            continue
        size = f"{int(str(row['bytes'])) / 1e6:.1f} MB"
        checks = f"auditwheel: {row['system']}; abi3audit: {row['abi']}"
        installed = row["installed"]
        assert isinstance(installed, dict)
        versions = ", ".join(installed) or "none: no interpreter for it here"
        rows.append(f"| {wheel.system} | `{wheel.tag}` | {size} | {checks} | {versions} |")
    return "\n".join(rows) + "\n"


def compiled() -> list[str]:
    """Return the other systems that the sources compile for: `make check-systems`."""
    found: list[str] = json.loads(SYSTEMS.read_text(encoding="utf-8")) if SYSTEMS.exists() else []
    return found


def slim(results: dict[str, dict[str, object]]) -> str:
    """Return what was seen in Debian's slim set."""
    (row,) = [row for row in results.values() if "slim" in row] or [{}]
    return f"\nIn Debian's slim set: {row['slim']}.\n" if row else ""


def suites() -> str:
    """Return the rows of the test suites, from the reports that pytest wrote."""
    rows = []
    for path in sorted(WORK.glob("suite/*/report.xml")):
        # Written by this project's own pytest.
        suite = ElementTree.parse(path).getroot()[0].attrib
        total, skipped = int(suite["tests"]), int(suite["skipped"])
        failed = int(suite["failures"]) + int(suite["errors"])
        version = (path.parent / "version").read_text(encoding="utf-8").strip()
        minutes = f"{float(suite['time']) / 60:.0f}"
        passed = total - skipped - failed
        rows.append(f"| {version} | {passed} | {skipped} | {failed} | {minutes} |")
    return SUITE + "\n".join(rows) + "\n" if rows else ""


def main() -> int:
    """Write the page."""
    if not RESULTS.exists():
        sys.exit("There are no results: run `make check-wheels`.")
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    page = HEAD + wheels(results) + slim(results) + suites() + DIFFERENCES + SOURCE
    PAGE.write_text(page, encoding="utf-8")
    print(f"{Path(PAGE).relative_to(ROOT)}: {len(results)} wheels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
