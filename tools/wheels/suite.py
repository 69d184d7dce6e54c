"""Run the tests of the package with a wheel, in a fresh environment of this Python.

`python tools/wheels/suite.py DIST FOLDER [OPTION...]` makes the environment in FOLDER, and passes
the options to pytest.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def packages() -> list[str]:
    """Return the packages of the tests: the newest versions up to those that we use.

    An older Python needs older versions of some.
    """
    lines = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    return [line.replace("==", "<=") for line in lines if "==" in line]


def main() -> int:
    """Return the exit code of pytest."""
    wheels, folder, options = Path(sys.argv[1]).resolve(), Path(sys.argv[2]), sys.argv[3:]
    venv.create(folder, clear=True, with_pip=True)
    python = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *packages()], check=True)
    only_ours = ["--no-index", "--no-deps", "--find-links", str(wheels), "mde-live-response"]
    subprocess.run([*pip, *only_ours], check=True)
    # The package in the folder `python` has no native module of this interpreter.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    (folder / "version").write_text(platform.python_version(), encoding="utf-8")
    report = folder.resolve() / "report.xml"
    tests = [python, "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={report}", *options]
    return subprocess.run(tests, cwd=ROOT, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
