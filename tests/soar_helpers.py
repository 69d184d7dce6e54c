"""Helpers for the tests of `examples/soar`: each step of a platform is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mde_live_response
from mde_live_response.emulator import Emulator

TESTS = Path(__file__).parent
EXAMPLES = TESTS.parent / "examples/soar"
PLATFORMS = TESTS / "soar_platforms"
PACKAGE = Path(mde_live_response.__file__).parent.parent
MACHINE = "ws-0001.example.test"

HAS_PLATFORMS = bool(os.environ.get("MDE_LIVE_RESPONSE_PLATFORMS"))
"""Set by `make test-examples`: the packages of the platforms are installed."""


def environment(emulator: Emulator, **more: str) -> dict[str, str]:
    """Return the environment of a process that reaches the emulator and imports the examples."""
    path = os.pathsep.join(str(folder) for folder in (PACKAGE, EXAMPLES, PLATFORMS))
    return {**os.environ, **emulator.env, "PYTHONPATH": path, **more}


def run_file(
    path: Path, *arguments: str, env: dict[str, str], content: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a Python file, and return what it printed."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(path), *arguments],
        env=env,
        input=content,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def assert_ran_once(emulator: Emulator, sessions: int = 1) -> None:
    """Assert that the service got one submit for each session, and that no rule was broken."""
    assert emulator.counters["runliveresponse"] == sessions
    assert not any(emulator.violations.values())


def script_output(result: dict[str, Any]) -> str:
    """Return what the first script of a result printed, without PowerShell's own line."""
    text: str = result["commands"][0]["script"]["stdout"]
    return text.splitlines()[-1]
