"""Compile for the systems whose wheels are not built here, without linking: `make check-systems`.

`python tools/wheels/systems.py [TARGET...]` checks all Rust code with clippy, so also what only
these systems have, and compiles the C code of the crates with zig. It cannot link or run: that
needs parts of the systems, and the CI does it. What passed is in `target/wheels/systems.json`.
"""

from __future__ import annotations

import json
import subprocess
import sys

from build import SCRIPTS, environment
from matrix import ROOT, SYSTEMS, WORK, ZIG

#: How zig names the targets. It has no headers for MSVC.
TARGETS = {
    "x86_64-apple-darwin": "x86_64-macos",
    "aarch64-apple-darwin": "aarch64-macos",
    "x86_64-pc-windows-gnu": "x86_64-windows-gnu",
}


def check(target: str) -> None:
    """Compile for one target. The first thing that fails ends it."""
    toolchain = ["sh", str(SCRIPTS / "toolchain.sh"), str(WORK / "toolchain"), target]
    subprocess.run(toolchain, check=True)
    name = target.replace("-", "_")
    env = environment()
    env |= {"ZIG": str(ZIG), "ZIG_TARGET": TARGETS[target]}
    env |= {f"CC_{name}": str(SCRIPTS / "zig_cc.sh"), f"AR_{name}": "ar"}
    # The stable ABI needs no interpreter, and zig has the headers of the system.
    env |= {"PYO3_NO_PYTHON": "1", "SDKROOT": str(ZIG.parent)}
    clippy = ["cargo", "clippy", "--locked", "--target", target, "--", "-D", "warnings"]
    subprocess.run(clippy, cwd=ROOT, env=env, check=True)


def main() -> int:
    """Check what is named, or every system."""
    targets = sys.argv[1:] or list(TARGETS)
    passed = set(json.loads(SYSTEMS.read_text(encoding="utf-8"))) if SYSTEMS.exists() else set()
    for target in targets:
        # A target that fails now must not count as it did before.
        save(passed - {target})
        check(target)
        print(f"{target}: compiles")
        passed.add(target)
        save(passed)
    return 0


def save(passed: set[str]) -> None:
    SYSTEMS.write_text(json.dumps(sorted(passed)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
