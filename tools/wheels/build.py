"""Build the wheels that this machine can build, and the source archive: `make wheels`.

`python tools/wheels/build.py [TARGET...]` builds some of them. maturin and zig come from the
environment of this Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from matrix import DIST, ROOT, WHEELS, WORK, Wheel

SCRIPTS = Path(__file__).parent
MATURIN = Path(sys.executable).with_name("maturin")


def environment() -> dict[str, str]:
    """Return the variables that make cargo use the toolchain of `toolchain.sh`."""
    env = dict(os.environ)
    env.pop("RUSTUP_TOOLCHAIN", None)
    env["PATH"] = f"{WORK / 'toolchain/rust/bin'}:{MATURIN.parent}:{env['PATH']}"
    # What the wheels are built from differs from what `make test` builds, so it is kept apart.
    env["CARGO_TARGET_DIR"] = str(WORK / "build")
    # One moment for all files, so that a second build makes the same wheel.
    env.setdefault("SOURCE_DATE_EPOCH", last_commit())
    return env


def last_commit() -> str:
    """Return the time of the last commit, in seconds."""
    log = ["git", "log", "-1", "--format=%ct"]
    return subprocess.run(log, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def unwinder(wheel: Wheel) -> list[str]:
    """Return the arguments for rustc that link the unwinder of the system.

    zig would link one of its own into the library. CPython before 3.14 ends a thread by unwinding
    it with the system's, and the two do not understand each other: the process dies by SIGSEGV.
    musl ends a thread without unwinding it.
    """
    if "gnu" not in wheel.target:
        return []
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[wheel.target.partition("-")[0]]
    script = ["sh", str(SCRIPTS / "libgcc.sh"), str(WORK / "libgcc" / architecture), architecture]
    found = subprocess.run(script, stdout=subprocess.PIPE, text=True, check=True)
    return ["--", "-C", f"link-arg={found.stdout.strip()}"]


def build(wheel: Wheel) -> None:
    """Build one wheel. It has the stable ABI, so one interpreter stands for all."""
    started = time.monotonic()
    compatibility = "manylinux2014" if "gnu" in wheel.target else wheel.tag
    command = [str(MATURIN), "build", "--release", "--locked", "--zig", "--target", wheel.target]
    command += ["--compatibility", compatibility, "--interpreter", "python3.10"]
    command += ["--out", str(DIST), *unwinder(wheel)]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True)
    print(f"{wheel.target}: {time.monotonic() - started:.0f} seconds")


def main() -> int:
    """Build what is named, or everything."""
    names = sys.argv[1:]
    wheels = [wheel for wheel in WHEELS if wheel.here and (not names or wheel.target in names)]
    targets = [wheel.target for wheel in wheels]
    toolchain = ["sh", str(SCRIPTS / "toolchain.sh"), str(WORK / "toolchain"), *targets]
    subprocess.run(toolchain, check=True)
    for wheel in wheels:
        build(wheel)
    command = [str(MATURIN), "sdist", "--out", str(DIST)]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
