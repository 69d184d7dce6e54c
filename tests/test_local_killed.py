"""`kill -9` around an upload: with the same id, the content is uploaded and runs exactly once."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from runtime_helpers import requests_of, wait_until

from mde_live_response import Command
from mde_live_response.emulator import Emulator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")

SUBMIT = """
import os
from mde_live_response import Command, LiveResponseClient

command = Command.run_inline(os.environ["CODE"])
with LiveResponseClient() as client:
    client.submit("ws-0001", command, "why", correlation_id="once")
"""
LATE: dict[str, Any] = {"seconds": 60.0}
STEPS = {
    # The fault, and the route whose call hangs when the process is killed.
    "before the upload arrives": ("upload", LATE),
    "when the upload has arrived": ("upload", {**LATE, "acts": True}),
    "between the upload and the post": ("machineactions", LATE),
}


def kill_and_repeat(step: str, folder: Path) -> None:
    code = f"'{step}'"
    command = Command.run_inline(code)
    state = f"sqlite:///{folder / step.replace(' ', '-')}.db"
    route, details = STEPS[step]
    with Emulator(speed=20.0) as emulator:
        emulator.fault("*", route, "delay", **details)
        env = {**os.environ, **emulator.env, "MDE_LIVE_RESPONSE_STATE": state, "CODE": code}
        process = subprocess.Popen([sys.executable, "-c", SUBMIT], env=env)
        try:
            wait_until(lambda: requests_of(emulator, route), f"{step}: the call")
        finally:
            process.kill()
            process.wait()
        with emulator.client(state=state) as client:
            session = client.submit("ws-0001", command, "why", correlation_id="once")
            assert session.result(60).ok, step
            assert len(client.list_machine_actions()) == 1, step
            names = [file.file_name for file in client.library.list_files()]
        assert names == [command.params["ScriptName"]], step
        expected = 2 if step == "before the upload arrives" else 1
        assert len(requests_of(emulator, "upload")) == expected, step


def test_a_killed_submit_is_repeated(tmp_path: Path) -> None:
    # At once: the last one waits 15 s until the lease of the dead process expires.
    with ThreadPoolExecutor(len(STEPS)) as pool:
        list(pool.map(lambda step: kill_and_repeat(step, tmp_path), STEPS))
