"""Helpers for clients with built-in hosts, each a process that knows only `Emulator.env`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mde_live_response.emulator import Emulator

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/emulator-clients.md").read_text(encoding="utf-8")
BLOCKS: dict[str, str] = dict(
    re.findall(r'^```\w+ title="([\w.]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
)
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@contextmanager
def proxied_emulator(folder: Path) -> Iterator[Emulator]:
    """Start an emulator with a proxy, one machine, and the script that the clients run."""
    with Emulator(machines=1, speed=20.0, proxy=True, ca_folder=folder / "ca") as emulator:
        emulator.on_script("triage.ps1", stdout="found it")
        yield emulator


def environment(emulator: Emulator) -> dict[str, str]:
    """Return the environment of a child process, without the proxies of this machine."""
    inherited = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
    return {**inherited, **emulator.env}


def run(emulator: Emulator, command: list[str], content: str | None = None, **more: str) -> str:
    """Run a client, with `more` variables, and return what it printed."""
    done = subprocess.run(
        command,
        env={**environment(emulator), **more},
        input=content,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_python(emulator: Emulator, code: str) -> str:
    """Run code in this interpreter, and return what it printed."""
    return run(emulator, [sys.executable, "-W", "error", "-"], code)


def assert_one_session(emulator: Emulator) -> None:
    """Check that the emulator saw one session, no mistake, and no request for another host."""
    assert emulator.counters["runliveresponse"] == 1
    assert emulator.counters["blob"] == 1
    # A request for another host would be one of these.
    assert "other" not in emulator.counters
    assert not any(emulator.violations.values())
