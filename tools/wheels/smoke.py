"""Install a wheel into a fresh environment, and run the demonstration in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from matrix import ROOT, WORK

#: The demonstration collects a file, and `verify` compares it with its manifest.
STEPS = (("demo", "--save-to", "out"), ("verify", "out"))
COMPILERS = ("cc", "gcc", "clang", "rustc", "cargo", "zig")


def find_python(version: str) -> Path:
    """Return a version of CPython: the machine's, or that of Debian testing."""
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    program = str(found[-1]) if found else shutil.which(f"python{version}")
    if program and subprocess.run([program, "-c", ""], check=False).returncode == 0:
        return Path(program)
    folder = WORK / "python" / version
    if not (folder / "python").exists():
        subprocess.run(["sh", str(ROOT / "tools/python.sh"), str(folder), version], check=True)
    return folder / "python"


def version_of(python: Path) -> str:
    """Return the full version, as `3.10.13`."""
    code = "import platform; print(platform.python_version())"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def run(command: list[str], folder: Path, **variables: str) -> str:
    """Run a command with no compiler on its PATH, and return what it printed."""
    env = {"PATH": str(folder / "nothing"), "HOME": str(folder), "TMPDIR": str(folder)}
    assert not any(shutil.which(name, path=env["PATH"]) for name in COMPILERS)
    env.update({"PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "error", **variables})
    done = subprocess.run(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def smoke(python: Path, wheel: Path) -> str:
    """Install the wheel into a new environment, run the demonstration, and return its last line."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([str(python), "-m", "venv", "--without-pip", "env"], folder)
        inside = str(folder / "env/bin/python")
        # This pip runs itself in the other Python, which then says what fits it.
        pip = [sys.executable, "-m", "pip", "--python", inside, "install", "--quiet"]
        pip += ["--no-index", "--no-deps", "--disable-pip-version-check", str(wheel)]
        run(pip, folder, PYTHONWARNINGS="")
        output = ""
        for step in STEPS:
            output = run([inside, "-m", "mde_live_response", *step], folder)
        return output.strip().splitlines()[-1]
