"""Check the wheels that were built, and install each of them: `make check-wheels`.

`python tools/wheels/check.py [TARGET...]` writes what it found to `target/wheels/results.json`.
With targets, it checks only those and keeps the other rows. A wheel that fails ends it with 1. A
wheel that was not built is left out.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from zipfile import ZipFile

from matrix import PYTHONS, RESULTS, WHEELS, WORK, ZIG, Wheel
from smoke import find_python, smoke, version_of

BIN = Path(sys.executable).parent


def run(*command: str) -> str:
    """Run a tool and return what it printed. If it fails, the check ends."""
    done = subprocess.run(
        command,
        env={**os.environ, "ZIG": str(ZIG)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def stable_abi(file: Path) -> str:
    """Return which ABI abi3audit found. It fails if the module uses what 3.10 does not have."""
    output = run(str(BIN / "abi3audit"), "--strict", "--verbose", "--report", str(file))
    # A summary follows the report.
    report, _ = json.JSONDecoder().raw_decode(output[output.index('{"specs"') :])
    (wheel,) = report["specs"].values()
    (module,) = wheel["wheel"]
    result = module["result"]
    assert result["is_abi3"], module
    assert result["is_abi3_baseline_compatible"], module
    assert not result["non_abi3_symbols"], module
    return f"abi3 of {result['baseline']}"


def oldest_system(wheel: Wheel, file: Path) -> str:
    """Return the oldest system that auditwheel finds the wheel fit for."""
    show = (str(BIN / "auditwheel"), "show")
    if wheel.target.endswith("-musl"):
        # auditwheel knows musl by its name on Alpine. zig names it libc.so, which each musl takes
        # for itself. Without a folder to look in, auditwheel only lists what the wheel needs.
        shown = run(*show, "--ldpaths", str(WORK / "none"), str(file))
        assert re.findall(r'"(\S+)": null', shown) == ["libc.so"], shown
        return "needs libc.so of musl only"
    shown = run(*show, str(file))
    found: list[str] = re.findall(r'platform tag:?\s+"?(\w+?)_(?:x86_64|aarch64)', shown)
    assert found, shown
    assert found[0] == wheel.tag, shown
    return found[0]


def unwinder(wheel: Wheel, file: Path) -> str:
    """Return whose unwinder the module has. With glibc it must be the system's: see build.py."""
    with ZipFile(file) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".so")]
        is_shared = b"\0libgcc_s.so.1\0" in archive.read(name)
    assert is_shared == wheel.target.endswith("-gnu"), name
    return "of the system" if is_shared else "its own"


def pythons(wheel: Wheel) -> list[Path]:
    """Return the interpreters that can load the wheel here."""
    architecture, libc = wheel.target.split("-")[0], wheel.target.rpartition("-")[2]
    if (architecture, libc) == ("x86_64", "gnu"):
        return [find_python(version) for version in PYTHONS]
    folder = WORK / "python" / f"{architecture}-{libc}"
    script = Path(__file__).with_name(f"{architecture}_{libc}_python.sh")
    if not script.exists():
        return []
    if not (folder / "python").exists():
        run("sh", str(script), str(folder))
    return [folder / "python"]


def check(wheel: Wheel, file: Path) -> dict[str, object]:
    """Check one wheel, and return the row of the results."""
    row: dict[str, object] = {
        "file": file.name,
        "bytes": file.stat().st_size,
        "abi": stable_abi(file),
        "system": oldest_system(wheel, file),
        "unwinder": unwinder(wheel, file),
    }
    installed = {}
    for python in pythons(wheel):
        started = time.monotonic()
        line = smoke(python, file)
        version = version_of(python)
        print(f"{wheel.target}, CPython {version}: {line} ({time.monotonic() - started:.0f} s)")
        installed[version] = line
    row["installed"] = installed
    if installed and wheel.target == WHEELS[0].target:
        script = str(Path(__file__).with_name("slim.sh"))
        row["slim"] = run("sh", script, str(WORK / "slim"), str(file)).splitlines()[-1]
        print(f"{wheel.target}, {row['slim']}")
    return row


def main() -> int:
    """Check every wheel that was built, or those that are named."""
    names = sys.argv[1:]
    results: dict[str, dict[str, object]] = {}
    if names and RESULTS.exists():
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for wheel in WHEELS:
        if wheel.file and (not names or wheel.target in names):
            results[wheel.target] = row = check(wheel, wheel.file)
            print(f"{wheel.target}: {row['file']}, {row['abi']}, {row['system']}")
            RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if not results:
        sys.exit("There is no wheel: run `make wheels`.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
