"""Run the tests of the package with a wheel, in a fresh environment.

`python tools/wheels/suite.py DIST FOLDER [--python VERSION] [OPTION...]` makes the environment in
FOLDER, and passes the options to pytest. Without a version, it is for the Python that runs this.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from matrix import ROOT
from smoke import find_python, version_of


def packages() -> list[str]:
    """Return the packages of the tests: the newest versions up to those that we use.

    An older Python needs older versions of some.
    """
    lines = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    return [line.replace("==", "<=") for line in lines if "==" in line]


def main() -> int:
    """Return the exit code of pytest."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("dist", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python")
    arguments, options = parser.parse_known_args()
    folder: Path = arguments.folder.resolve()
    base = find_python(arguments.python) if arguments.python else Path(sys.executable)
    subprocess.run([str(base), "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    # This pip runs itself in the other Python, which may have none.
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    pip += ["--disable-pip-version-check"]
    subprocess.run([*pip, *packages()], check=True)
    only_ours = ["--no-index", "--no-deps", "--find-links", str(arguments.dist.resolve())]
    subprocess.run([*pip, *only_ours, "mde-live-response"], check=True)
    (folder / "version").write_text(version_of(python), encoding="utf-8")
    # The package in the folder `python` has no native module of this interpreter.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    report = folder / "report.xml"
    tests = [str(python), "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={report}"]
    return subprocess.run([*tests, *options], cwd=ROOT, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
